"""Which error of the mesh is which status, and what clients are told of it."""

from __future__ import annotations

import pytest

from bus.envelope.types import ContentTooLarge, NobodyMayRead
from bus.services.protocol import (
    BadAnswer,
    CallFailed,
    CallRefused,
    InvalidRequest,
    NoInstance,
    NotFoundThere,
    Overloaded,
)
from bus.transport.protocol import NoResponders, NotFound, PayloadTooLarge, StreamFull
from gateway.access.protocol import Forbidden, TooMany, Unauthenticated
from gateway.grpc.status import DETAILS_KEY, PUSHBACK_KEY, RpcFailed, Status, failure_of, invalid
from schemas.errors import (
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    ResourceExhausted,
    SubjectError,
    Unavailable,
)
from schemas.fhir import MalformedFhir
from schemas.generated.medmesh.gateway.v1 import status_pb2 as pb


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unauthenticated("x"), Status.UNAUTHENTICATED),
        (Forbidden("x"), Status.PERMISSION_DENIED),
        (PermissionRefused("x"), Status.PERMISSION_DENIED),
        (TooMany("x", retry_after_s=1), Status.RESOURCE_EXHAUSTED),
        (ResourceExhausted("x"), Status.RESOURCE_EXHAUSTED),
        (StreamFull("x"), Status.RESOURCE_EXHAUSTED),
        (PayloadTooLarge("x"), Status.RESOURCE_EXHAUSTED),
        (NobodyMayRead("x"), Status.FAILED_PRECONDITION),
        (ContentTooLarge("x"), Status.RESOURCE_EXHAUSTED),
        (Overloaded("x"), Status.UNAVAILABLE),
        (NoInstance("x"), Status.UNAVAILABLE),
        (NoResponders("x"), Status.UNAVAILABLE),
        (Unavailable("x"), Status.UNAVAILABLE),
        (Closed("x"), Status.UNAVAILABLE),
        (DeadlineExceeded("x"), Status.DEADLINE_EXCEEDED),
        (InvalidRequest("bad", ""), Status.INVALID_ARGUMENT),
        (CallRefused("no", ""), Status.PERMISSION_DENIED),
        (NotFoundThere("no_such_patient", ""), Status.NOT_FOUND),
        (NotFoundThere("no_such_method", ""), Status.UNIMPLEMENTED),
        (CallFailed("no_bed_free", ""), Status.FAILED_PRECONDITION),
        (CallFailed("internal", ""), Status.INTERNAL),
        (CallFailed("stopped", ""), Status.UNAVAILABLE),
        (BadAnswer("x"), Status.INTERNAL),
        (NotFound("x"), Status.NOT_FOUND),
        (SubjectError("x"), Status.INVALID_ARGUMENT),
        (ConfigurationError("x"), Status.INTERNAL),
        (MalformedFhir("x"), Status.INVALID_ARGUMENT),
        (MeshError("x"), Status.INTERNAL),
        (RuntimeError("x"), Status.INTERNAL),
    ],
)
def test_each_error_has_its_status(error: Exception, status: Status) -> None:
    assert failure_of(error).status is status


@pytest.mark.parametrize(
    "error", [RuntimeError("Jane Doe"), BadAnswer("Jane Doe"), KeyError("Jane")]
)
def test_words_of_what_went_wrong_inside_stay_inside(error: Exception) -> None:
    failure = failure_of(error)
    assert "Jane" not in failure.message
    assert not any(b"Jane" in part for _, part in failure.trailers() if isinstance(part, bytes))


def test_a_failure_is_told_as_it_is() -> None:
    one = invalid("no")
    assert failure_of(one) is one


def test_details_are_those_of_google_rpc() -> None:
    failure = failure_of(Overloaded("busy", retry_after_s=1.25))
    told = dict(failure.trailers())
    assert told[PUSHBACK_KEY] == "1250"
    raw = told[DETAILS_KEY]
    assert isinstance(raw, bytes)
    status = pb.RpcStatus.FromString(raw)
    assert (status.code, status.message) == (Status.UNAVAILABLE, "busy")
    info, retry = status.details
    assert pb.RpcErrorInfo.FromString(info.value).reason == "overloaded"
    delay = pb.RpcRetryInfo.FromString(retry.value).retry_delay
    assert (delay.seconds, delay.nanos) == (1, 250_000_000)
    assert retry.type_url == "type.googleapis.com/google.rpc.RetryInfo"


def test_a_message_is_one_bounded_line() -> None:
    failure = RpcFailed(Status.UNKNOWN, "a\r\nb\x00" + "c" * 5000, reason="x")
    assert failure.message.startswith("a  b c")
    assert len(failure.message) == 1000
