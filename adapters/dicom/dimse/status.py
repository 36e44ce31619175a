"""Status codes of DIMSE responses (DICOM PS3.7 annex C; PS3.4 for each service)."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final


class Status(IntEnum):
    """Codes that medmesh gives."""

    SUCCESS = 0x0000
    CANCEL = 0xFE00
    PENDING = 0xFF00
    PENDING_WITH_WARNING = 0xFF01
    """Some optional keys were not supported."""

    ATTRIBUTE_LIST_ERROR = 0x0107
    CLASS_INSTANCE_CONFLICT = 0x0119
    DUPLICATE_INSTANCE = 0x0111
    DUPLICATE_INVOCATION = 0x0210
    INVALID_ARGUMENT = 0x0115
    INVALID_ATTRIBUTE_VALUE = 0x0106
    INVALID_INSTANCE = 0x0117
    MISSING_ATTRIBUTE = 0x0120
    MISTYPED_ARGUMENT = 0x0212
    NO_SUCH_ACTION = 0x0123
    NO_SUCH_ATTRIBUTE = 0x0105
    NO_SUCH_CLASS = 0x0118
    NO_SUCH_EVENT = 0x0113
    NO_SUCH_INSTANCE = 0x0112
    NOT_AUTHORIZED = 0x0124
    PROCESSING_FAILURE = 0x0110
    RESOURCE_LIMITATION = 0x0213
    UNRECOGNIZED_OPERATION = 0x0211
    CLASS_NOT_SUPPORTED = 0x0122

    OUT_OF_RESOURCES = 0xA700
    """The sender should try again later."""
    CANNOT_COUNT_MATCHES = 0xA701
    CANNOT_PERFORM_SUBOPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH_CLASS = 0xA900
    SUBOPERATIONS_WITH_FAILURES = 0xB000
    CANNOT_UNDERSTAND = 0xC000


class Outcome(Enum):
    """What a status code means, whatever the service (PS3.7 §C.1 to C.5)."""

    SUCCESS = "success"
    WARNING = "warning"
    PENDING = "pending"
    CANCEL = "cancel"
    FAILURE = "failure"


_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
_TRY_LATER: Final = range(0xA700, 0xA800)


def outcome(status: int) -> Outcome:
    """The kind of a status code, also of one that medmesh does not know."""
    if status == Status.SUCCESS:
        return Outcome.SUCCESS
    if status in (Status.PENDING, Status.PENDING_WITH_WARNING):
        return Outcome.PENDING
    if status == Status.CANCEL:
        return Outcome.CANCEL
    if status in _WARNINGS or 0xB000 <= status <= 0xBFFF:
        return Outcome.WARNING
    return Outcome.FAILURE


def may_succeed_later(status: int) -> bool:
    """Whether the peer says that it lacked resources: the same request can succeed later."""
    return status in _TRY_LATER or status == Status.RESOURCE_LIMITATION


__all__ = ["Outcome", "Status", "may_succeed_later", "outcome"]
