"""What can go wrong on an association, with the codes of DICOM PS3.8 chapter 9."""

from __future__ import annotations

from enum import IntEnum

from schemas.errors import MeshError


class AbortSource(IntEnum):
    """Who aborted (PS3.8 table 9-26)."""

    USER = 0
    PROVIDER = 2


class AbortReason(IntEnum):
    """Why the provider aborted (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class RejectResult(IntEnum):
    """Whether asking again may help (PS3.8 table 9-21)."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """Who rejected (PS3.8 table 9-21)."""

    USER = 1
    ACSE = 2
    PRESENTATION = 3


class ProtocolViolation(MeshError, ValueError):
    """Bytes of a peer that break PS3.8 or PS3.7, or a bound. The association is aborted with `reason`."""

    code = "dicom_protocol_violation"

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


class AssociationRejected(MeshError, ConnectionError):
    """The peer does not want an association; `result` says whether it may want one later."""

    code = "dicom_rejected"

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(
            f"the peer rejected the association: {rejection_words(source, reason)}"
            f" ({'for now' if result == RejectResult.TRANSIENT else 'for good'}; result {result}, source {source},"
            f" reason {reason})"
        )
        self.result, self.source, self.reason = result, source, reason

    @property
    def is_transient(self) -> bool:
        """Whether asking again may help."""
        return self.result == RejectResult.TRANSIENT


class AssociationAborted(MeshError, ConnectionError):
    """The association ended without a release: by an A-ABORT, or with its connection."""

    code = "dicom_aborted"
    retryable = True


_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def rejection_words(source: int, reason: int) -> str:
    """What PS3.8 table 9-21 says of a rejection."""
    return _REJECTIONS.get((source, reason), "a reason that PS3.8 does not define")


__all__ = [
    "AbortReason",
    "AbortSource",
    "AssociationAborted",
    "AssociationRejected",
    "ProtocolViolation",
    "RejectResult",
    "RejectSource",
    "rejection_words",
]
