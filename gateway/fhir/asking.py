"""One interaction as a call to its owner, and what a failed call is for a FHIR client."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from google.protobuf.message import DecodeError

from bus.services.codecs import PROTOBUF
from bus.services.protocol import (
    BadAnswer,
    CallFailed,
    CallRefused,
    InvalidRequest,
    NoInstance,
    NotFoundThere,
    Overloaded,
)
from bus.transport.protocol import PayloadTooLarge
from gateway.contract import Call
from gateway.fhir.exchange import Refusal
from gateway.fhir.owners import MAJOR, Owner
from schemas.errors import DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

METHOD: Final = "interaction"
SAFE: Final = frozenset(
    {
        pb.KIND_READ,
        pb.KIND_VREAD,
        pb.KIND_HISTORY,
        pb.KIND_SEARCH,
        pb.KIND_CAPABILITIES,
        pb.KIND_VALIDATE,
    }
)
"""Kinds that change nothing: a try whose fate is unknown is tried again."""
_WAIT: Final = (("retry-after", "1"),)


async def ask(
    call: Call,
    owner: Owner,
    interaction: pb.Interaction,
    *,
    timeout_s: float,
    traceparent: str = "",
) -> pb.Outcome:
    """What the owner says. Raises `Refusal`."""
    try:
        response = await call(
            owner.service,
            METHOD,
            interaction.SerializeToString(),
            type=PROTOBUF,
            version=MAJOR,
            timeout_s=timeout_s,
            idempotent=interaction.kind in SAFE,
            traceparent=traceparent,
        )
        return pb.Outcome.FromString(response.body)
    except MeshError as error:
        raise refusal_of(error, owner.service) from error
    except DecodeError:
        raise _broken(f"{owner.service} answered with something that is no Outcome") from None


def refusal_of(error: MeshError, service: str) -> Refusal:
    """What an error of the mesh is for a FHIR client; its words are ours, never the service's."""
    known = f"{service}: {error.code}"
    match error:
        case Overloaded():
            headers = (("retry-after", str(max(1, round(error.retry_after_s)))),)
            return Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "throttled", f"{service} is busy", headers=headers
            )
        case DeadlineExceeded():
            text = f"{service} did not answer in time (Request-Timeout, gateway.request_timeout_s)"
            return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "timeout", text)
        case PayloadTooLarge():
            text = "the resource is larger than a message of the mesh may be"
            return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-long", text)
        case CallRefused():
            return Refusal(
                HTTPStatus.FORBIDDEN, "forbidden", f"{service} does not let the gateway do that"
            )
        case InvalidRequest() | NotFoundThere() | BadAnswer() | CallFailed():
            return _broken(f"{known}: it cannot work FHIR interactions of this gateway")
        case NoInstance() | ResourceExhausted() | Unavailable():
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "transient", known, headers=_WAIT)
        case _:
            return _broken(known)


def _broken(text: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_GATEWAY, "exception", text)


__all__ = ["METHOD", "SAFE", "ask", "refusal_of"]
