"""The pages, one module each: what they need of the mesh, and which template shows it."""
