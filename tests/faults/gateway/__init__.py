"""Gateways under abuse, and several of them."""
