"""What an error says: about the instance, and about trying again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bus.services.protocol import BadAnswer, CallFailed, Outcome, Overloaded
from bus.services.wire import INTERNAL
from bus.transport.protocol import NoResponders
from schemas.errors import DeadlineExceeded, MeshError, Unavailable


@dataclass(frozen=True, slots=True)
class Verdict:
    """One try's end."""

    outcome: Outcome
    reason: str
    """Stable code for counters."""
    was_nothing_done: bool = False
    """Surely no work began: any call may be tried again."""
    may_pass: bool = True
    """Another try can go better."""


_MISSING: Final = Verdict(Outcome.MISSING, "missing", was_nothing_done=True)
_OVERLOADED: Final = Verdict(Outcome.OVERLOADED, "overloaded", was_nothing_done=True)
_TIMED_OUT: Final = Verdict(Outcome.TIMED_OUT, "timed_out")
_BAD_ANSWER: Final = Verdict(Outcome.FAILED, "bad_answer")
_INTERNAL: Final = Verdict(Outcome.FAILED, "failed")
_LOST: Final = Verdict(Outcome.CANCELLED, "connection_lost")
"""The carrier went away: no instance is to blame."""
_ANSWERED: Final = Verdict(Outcome.ANSWERED, "answered", may_pass=False)
_OURS: Final = Verdict(Outcome.CANCELLED, "refused", may_pass=False)
"""Refused on this side of the wire: permission, size, configuration."""


def verdict(error: MeshError) -> Verdict:
    """Judge the error of one try."""
    found = _OURS
    match error:
        case NoResponders():
            found = _MISSING
        case Overloaded():
            found = _OVERLOADED
        case DeadlineExceeded():
            found = _TIMED_OUT
        case BadAnswer():
            found = _BAD_ANSWER
        case CallFailed():
            found = _INTERNAL if error.reason == INTERNAL else _ANSWERED
        case Unavailable():
            found = _LOST
        case _:
            pass
    return found


__all__ = ["Verdict", "verdict"]
