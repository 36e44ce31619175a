"""The parts of the gateway, in the order in which they start. Each states what it needs; none knows another."""

from __future__ import annotations

from typing import Final

from gateway.fhir.part import FHIR
from gateway.part import PartKind

PARTS: Final[tuple[PartKind, ...]] = (FHIR,)

__all__ = ["PARTS"]
