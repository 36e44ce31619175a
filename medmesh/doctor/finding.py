"""What the doctor says: one finding a check, in plain words, each bad one with what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How serious a finding is."""

    GOOD = "good"
    NOTE = "note"
    """Worth knowing; nothing is wrong now."""
    WRONG = "wrong"
    """Messages are at risk or stand still: act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result."""

    area: str
    """machine, configuration, ports, server, streams, consumers or trust."""
    check: str
    verdict: Verdict
    saw: str
    """What was seen, in words and numbers; no patient data."""
    advice: str = ""
    """What to do; empty when there is nothing to do."""


def good(area: str, check: str, saw: str) -> Finding:
    """All is well."""
    return Finding(area=area, check=check, verdict=Verdict.GOOD, saw=saw)


def note(area: str, check: str, saw: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(area=area, check=check, verdict=Verdict.NOTE, saw=saw, advice=advice)


def wrong(area: str, check: str, saw: str, advice: str) -> Finding:
    """Something to repair, and how."""
    return Finding(area=area, check=check, verdict=Verdict.WRONG, saw=saw, advice=advice)


__all__ = ["Finding", "Verdict", "good", "note", "wrong"]
