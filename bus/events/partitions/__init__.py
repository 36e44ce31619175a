"""Partitioned consumers: instances share the partitions of their patterns, each worked by one at a time."""
