"""Peers of the mesh that tests run as processes of their own: they can be killed, and share no code with it."""
