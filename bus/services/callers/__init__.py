"""The parts of a caller: what it may be told, what an error means, how many calls at a time."""
