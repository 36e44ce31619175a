"""What instances say of their methods since their start, asked by the NATS services API (ADR-32)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from bus.services.adr32 import PREFIX, STATS
from bus.transport.protocol import Messenger
from schemas.errors import MeshError

_TIMEOUT_S: Final = 2.0


class BadStatistics(MeshError):
    """An instance answers with something else than statistics."""

    code: ClassVar[str] = "bad_statistics"


class _Data(msgspec.Struct):
    p99_ns: int = 0


class _Endpoint(msgspec.Struct):
    name: str = ""
    num_requests: int = 0
    num_errors: int = 0
    last_error: str = ""
    average_processing_time: int = 0
    data: _Data | None = None


class _Answer(msgspec.Struct):
    endpoints: tuple[_Endpoint, ...] = ()


_DECODER: Final = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodFigures:
    """One method of one instance."""

    name: str
    requests: int
    errors: int
    average_ns: int
    """Mean time in the handler."""
    last_error: str = ""
    """A code."""
    p99_ns: int = 0
    """Of the last requests; 0: none yet, or the service does not tell."""


async def ask_statistics(
    messenger: Messenger, service: str, instance: str, *, timeout_s: float = _TIMEOUT_S
) -> tuple[MethodFigures, ...]:
    """Ask one instance. Unsigned: for operators' eyes, never for decisions.

    Raises `NoResponders`, `DeadlineExceeded`, `BadStatistics`.
    """
    answer = await messenger.request(
        f"{PREFIX}.{STATS}.{service}.{instance}", b"", timeout_s=timeout_s
    )
    try:
        told = _DECODER.decode(answer.payload)
    except msgspec.DecodeError:
        raise BadStatistics(f"{service}/{instance} answered with no statistics") from None
    return tuple(
        MethodFigures(
            name=one.name,
            requests=one.num_requests,
            errors=one.num_errors,
            average_ns=one.average_processing_time,
            last_error=one.last_error,
            p99_ns=one.data.p99_ns if one.data else 0,
        )
        for one in told.endpoints
    )


__all__ = ["BadStatistics", "MethodFigures", "ask_statistics"]
