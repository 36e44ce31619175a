"""Which acknowledgement code says what: the table between what is true and what the sender asked to hear. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from adapters.hl7v2.codec.acknowledgement import AckCode, Condition


class VerdictKind(Enum):
    """What became of a message."""

    POSITIVE = "positive"
    ERROR = "error"
    """Not now: the sender should send it again."""
    REJECT = "reject"
    """Not this message: sending it again changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a message, and how to say so. `text` goes to the sender: no content of the message."""

    kind: VerdictKind
    text: str = ""
    condition: Condition = Condition.INTERNAL
    location: str = ""
    reason: str = ""
    """A code to count by."""
    relayed: bytes = field(default=b"", repr=False)
    """The destination's own acknowledgement, to be passed on as it is."""

    @property
    def is_positive(self) -> bool:
        """Whether the declared level holds."""
        return self.kind is VerdictKind.POSITIVE


ACCEPTED: Final = Verdict(kind=VerdictKind.POSITIVE)

_APPLICATION: Final = {
    VerdictKind.POSITIVE: AckCode.AA,
    VerdictKind.ERROR: AckCode.AE,
    VerdictKind.REJECT: AckCode.AR,
}
_ACCEPT: Final = {
    VerdictKind.POSITIVE: AckCode.CA,
    VerdictKind.ERROR: AckCode.CE,
    VerdictKind.REJECT: AckCode.CR,
}
# HL7 table 0155: which answers a condition asks for, by whether they are positive
_WANTED: Final = {
    "AL": (True, False),
    "ER": (False,),
    "SU": (True,),
}


def accept_code(condition: str, verdict: Verdict) -> AckCode | None:
    """The accept acknowledgement for MSH-15 (HL7 v2.5.1 section 2.9.3); None when the sender wants none."""
    return _ACCEPT[verdict.kind] if _is_wanted(condition, verdict) else None


def application_code(condition: str, verdict: Verdict) -> AckCode | None:
    """The application acknowledgement for MSH-16; None when the sender wants none."""
    return _APPLICATION[verdict.kind] if _is_wanted(condition, verdict) else None


def is_condition(text: str) -> bool:
    """Whether MSH-15 or MSH-16 asks for an answer in some case."""
    return text.strip().upper() in _WANTED


def _is_wanted(condition: str, verdict: Verdict) -> bool:
    return verdict.is_positive in _WANTED.get(condition.strip().upper(), ())


__all__ = ["ACCEPTED", "Verdict", "VerdictKind", "accept_code", "application_code", "is_condition"]
