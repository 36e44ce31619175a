"""Bounds of a store, as its configuration gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one interaction may ask for."""

    body_bytes: int = 16 << 20
    """Longest body of a request, and longest resource."""
    usual_count: int = 50
    max_count: int = 500
    """Entries of a page."""
    max_includes: int = 1000
    max_entries: int = 1000
    """Entries of a transaction."""
    answer_bytes: int = 32 << 20
    """Longest answer."""


__all__ = ["Limits"]
