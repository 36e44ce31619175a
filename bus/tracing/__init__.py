"""What became of a message: hops, what it is looked for by, and the index that finds it."""
