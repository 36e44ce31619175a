"""Why a document travels as JSON."""

from __future__ import annotations

from enum import Enum


class FallBack(Enum):
    """Why a document travels as JSON: the codes of a counter."""

    UNKNOWN_TYPE = "unknown_type"
    """The release has no such resource type, or the document names none."""
    NEGATIVE_ZERO = "negative_zero"
    """It holds (or seems to hold) the integer -0."""
    TOO_DEEP = "too_deep"
    """It is nested deeper than protobuf's parsers go."""
    TWO_TYPES = "two_types"
    """It names more than one resource type."""
    NOT_IDENTICAL = "not_identical"
    """Verification found a difference, e.g. because of a key that stands twice."""


class CannotCarry(Exception):
    """Protobuf cannot carry the document exactly. Stays within this package: the caller sends JSON."""

    def __init__(self, reason: FallBack) -> None:
        super().__init__(reason.value)
        self.reason = reason


__all__ = ["CannotCarry", "FallBack"]
