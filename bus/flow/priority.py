"""How urgent something is."""

from __future__ import annotations

from enum import Enum


class Priority(Enum):
    """Three classes, as in the subjects between sites; the value is the number on the wire."""

    STAT = 1
    """A result that a physician waits for at the bedside."""
    ROUTINE = 2
    BULK = 3
    """Archives, back-filling, statistics."""


__all__ = ["Priority"]
