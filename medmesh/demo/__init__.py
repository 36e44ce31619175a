"""The demonstration: a small hospital of synthetic messages on the real runtime."""
