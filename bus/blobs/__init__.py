"""Blobs: large objects beside the mesh, encrypted at rest and named by their content; events carry the claim check."""
