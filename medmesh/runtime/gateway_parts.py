"""The parts of the gateway, in the order in which they start. Each states what it needs; none knows another."""

from __future__ import annotations

from typing import Final

from gateway.part import PartKind

PARTS: Final[tuple[PartKind, ...]] = ()

__all__ = ["PARTS"]
