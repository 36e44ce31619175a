"""What an acknowledgement says: its code, and the conditions that an error is one of (HL7 tables 0008, 0357, 0516)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from adapters.hl7v2.codec.errors import (
    CharsetError,
    DelimitersRefused,
    HeaderMissing,
    Hl7Error,
    LimitExceeded,
)


class AckCode(StrEnum):
    """MSA-1, table 0008. A for the application's answer (original mode), C for the accept answer (enhanced mode)."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    CA = "CA"
    CE = "CE"
    CR = "CR"

    @property
    def is_accepted(self) -> bool:
        """AA or CA."""
        return self in (AckCode.AA, AckCode.CA)


class Condition(Enum):
    """ERR-3, table 0357: code and text."""

    SEGMENT_SEQUENCE = ("100", "Segment sequence error")
    REQUIRED_FIELD_MISSING = ("101", "Required field missing")
    DATA_TYPE = ("102", "Data type error")
    TABLE_VALUE_NOT_FOUND = ("103", "Table value not found")
    VALUE_TOO_LONG = ("104", "Value too long")
    UNSUPPORTED_MESSAGE_TYPE = ("200", "Unsupported message type")
    UNSUPPORTED_EVENT = ("201", "Unsupported event code")
    UNSUPPORTED_PROCESSING_ID = ("202", "Unsupported processing id")
    UNSUPPORTED_VERSION = ("203", "Unsupported version id")
    UNKNOWN_KEY = ("204", "Unknown key identifier")
    DUPLICATE_KEY = ("205", "Duplicate key identifier")
    RECORD_LOCKED = ("206", "Application record locked")
    INTERNAL = ("207", "Application internal error")


@dataclass(frozen=True, slots=True, kw_only=True)
class AckError:
    """One ERR segment. `location` is a path (`PID[1]-5.2`) or empty; `text` goes to the peer: no patient data."""

    condition: Condition
    location: str = ""
    text: str = ""
    severity: str = "E"
    """ERR-4, table 0516: E error, W warning, I information."""

    @staticmethod
    def of(error: Hl7Error) -> AckError:
        """The ERR segment that tells a peer about an error of ours."""
        return AckError(condition=_condition(error), location=error.location, text=str(error))


def _condition(error: Hl7Error) -> Condition:
    match error:
        case HeaderMissing():
            return Condition.SEGMENT_SEQUENCE
        case LimitExceeded():
            return Condition.VALUE_TOO_LONG
        case CharsetError() | DelimitersRefused():
            return Condition.DATA_TYPE
        case _:
            return Condition.INTERNAL


__all__ = ["AckCode", "AckError", "Condition"]
