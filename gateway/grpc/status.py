"""How an RPC ends other than well: gRPC's status codes, and which error of the mesh becomes which. Pure.

Each failure carries a `google.rpc.Status` with an `ErrorInfo` (domain `medmesh`, the mesh's stable code as reason), and
where trying again later helps also a `RetryInfo` and gRPC's own push-back, which client libraries obey.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final

from google.protobuf.message import Message

from bus.envelope.types import ContentTooLarge, NobodyMayRead
from bus.services.protocol import (
    CallFailed,
    CallRefused,
    InvalidRequest,
    NotFoundThere,
    Overloaded,
)
from bus.services.wire import INTERNAL
from bus.transport.protocol import NoResponders, NotFound, PayloadTooLarge
from gateway.access.protocol import Forbidden, TooMany, Unauthenticated
from schemas.errors import (
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    ResourceExhausted,
    Unavailable,
)
from schemas.fhir import UnknownFhirType
from schemas.generated.medmesh.gateway.v1 import status_pb2 as pb

NO_SUCH_METHOD: Final = "no_such_method"
"""What a service of the mesh says to a method that it does not have."""
DOMAIN: Final = "medmesh"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
CODE_KEY: Final = "medmesh-code"
_STOPPED: Final = "stopped"
"""What an instance says of a call that its own end cut short."""
_URL: Final = "type.googleapis.com/google.rpc."
_MAX_MESSAGE_CHARS: Final = 1000
_NANOS: Final = 1_000_000_000

Trailers = tuple[tuple[str, str | bytes], ...]


class Status(IntEnum):
    """Status codes of gRPC that we use."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class RpcFailed(MeshError):
    """The end of an RPC: a status, words for the client, and trailing metadata."""

    code: ClassVar[str] = "rpc_failed"

    def __init__(
        self,
        status: Status,
        detail: str,
        *,
        reason: str,
        retry_after_s: float | None = None,
        trailers: Trailers = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        """Stable code, also for counters."""
        self.retry_after_s = retry_after_s
        """Seconds after which another try is welcome; None: nothing is said."""
        self._trailers = trailers

    @property
    def message(self) -> str:
        """Words for the client: one line, bounded."""
        text = str(self)[:_MAX_MESSAGE_CHARS]
        return "".join(c if c.isprintable() else " " for c in text)

    def trailers(self) -> Trailers:
        """Metadata that goes with the status."""
        told: list[tuple[str, str | bytes]] = [(CODE_KEY, self.reason), *self._trailers]
        if self.retry_after_s is not None:
            told.append((PUSHBACK_KEY, str(max(0, round(self.retry_after_s * 1000)))))
        return (*told, (DETAILS_KEY, self._details()))

    def _details(self) -> bytes:
        details = [_boxed("ErrorInfo", pb.RpcErrorInfo(reason=self.reason, domain=DOMAIN))]
        if self.retry_after_s is not None:
            delay = max(0, round(self.retry_after_s * _NANOS))
            after = pb.RpcDuration(seconds=delay // _NANOS, nanos=delay % _NANOS)
            details.append(_boxed("RetryInfo", pb.RpcRetryInfo(retry_delay=after)))
        status = pb.RpcStatus(code=self.status.value, message=self.message, details=details)
        return status.SerializeToString()


def _boxed(name: str, message: Message) -> pb.RpcAny:
    return pb.RpcAny(type_url=_URL + name, value=message.SerializeToString())


def unimplemented(detail: str, *, reason: str = NO_SUCH_METHOD) -> RpcFailed:
    """There is no such method, or not in this form."""
    return RpcFailed(Status.UNIMPLEMENTED, detail, reason=reason)


def invalid(detail: str, *, reason: str = "invalid_request") -> RpcFailed:
    """The client sent what no client may."""
    return RpcFailed(Status.INVALID_ARGUMENT, detail, reason=reason)


def unavailable(detail: str, *, reason: str, retry_after_s: float | None = None) -> RpcFailed:
    """It cannot be done now, and nothing was."""
    return RpcFailed(Status.UNAVAILABLE, detail, reason=reason, retry_after_s=retry_after_s)


def draining() -> RpcFailed:
    """What whoever comes, or stays on, is told while the gateway stops."""
    return unavailable(
        "this gateway stops: another one goes on", reason="draining", retry_after_s=0.0
    )


def failure_of(error: BaseException) -> RpcFailed:
    """What a client is told of an error. An error that is none of ours is told without its words."""
    if isinstance(error, RpcFailed):
        return error
    if isinstance(error, CallFailed):
        return _of_call(error)
    if not isinstance(error, MeshError):
        return RpcFailed(Status.INTERNAL, "the gateway failed at this call", reason=INTERNAL)
    after_s = error.retry_after_s if isinstance(error, Overloaded | TooMany) else None
    status = _status_of(error)
    words = str(error) if status is not Status.INTERNAL else f"it failed ({error.code})"
    return RpcFailed(status, words, reason=error.code, retry_after_s=after_s)


def _of_call(error: CallFailed) -> RpcFailed:
    """An error of the service's own, in its words: they are meant for its callers."""
    status = Status.FAILED_PRECONDITION
    match error:
        case InvalidRequest():
            status = Status.INVALID_ARGUMENT
        case CallRefused():
            status = Status.PERMISSION_DENIED
        case NotFoundThere():
            is_method = error.reason == NO_SUCH_METHOD
            status = Status.UNIMPLEMENTED if is_method else Status.NOT_FOUND
        case _ if error.reason == INTERNAL:
            status = Status.INTERNAL
        case _ if error.reason == _STOPPED:
            status = Status.UNAVAILABLE
        case _:
            pass
    return RpcFailed(status, str(error), reason=error.reason)


_STATUSES: Final[tuple[tuple[type[BaseException], Status], ...]] = (
    (Unauthenticated, Status.UNAUTHENTICATED),
    (Forbidden, Status.PERMISSION_DENIED),
    (PermissionRefused, Status.PERMISSION_DENIED),
    (DeadlineExceeded, Status.DEADLINE_EXCEEDED),
    (Overloaded, Status.UNAVAILABLE),  # shed before any work: clients may try again, and do
    (ResourceExhausted, Status.RESOURCE_EXHAUSTED),
    (PayloadTooLarge, Status.RESOURCE_EXHAUSTED),
    (ContentTooLarge, Status.RESOURCE_EXHAUSTED),
    (Unavailable, Status.UNAVAILABLE),
    (NoResponders, Status.UNAVAILABLE),
    (Closed, Status.UNAVAILABLE),
    (NobodyMayRead, Status.FAILED_PRECONDITION),
    (NotFound, Status.NOT_FOUND),
    (UnknownFhirType, Status.INVALID_ARGUMENT),
    (ConfigurationError, Status.INTERNAL),
    (ValueError, Status.INVALID_ARGUMENT),  # subjects, schemas, FHIR: what was sent does not fit
)
"""The first that fits."""


def _status_of(error: MeshError) -> Status:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), Status.INTERNAL)


__all__ = [
    "CODE_KEY",
    "DETAILS_KEY",
    "NO_SUCH_METHOD",
    "PUSHBACK_KEY",
    "RpcFailed",
    "Status",
    "Trailers",
    "draining",
    "failure_of",
    "invalid",
    "unavailable",
    "unimplemented",
]
