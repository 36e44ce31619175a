"""How errors and requests travel."""

from __future__ import annotations

import pytest

from bus.events.content import UnreadableContent
from bus.services.protocol import (
    BadAnswer,
    CallFailed,
    CallRefused,
    InvalidRequest,
    Load,
    NoInstance,
    NotFoundThere,
    Overloaded,
    Priority,
)
from bus.services.wire import (
    Answer,
    BadRequest,
    answer_content,
    answer_to,
    error_of,
    read_request,
    read_response,
    request_content,
)
from schemas.errors import DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.unit.bus.services.serving import request


def told(error: BaseException, *, may_repeat: bool) -> MeshError:
    """What a caller gets of a handler's error."""
    answer = answer_to(error, may_repeat=may_repeat)
    content = answer_content(answer, request_id=bytes(16), instance="a1", load=Load())
    return error_of(content.reply)


def test_request_survives_the_way() -> None:
    sent = request(
        id=bytes(range(16)), attempt=3, priority=Priority.BULK, traceparent="00-1-2-01", body=b"x"
    )
    asked = read_request(request_content(sent, timeout_s=1.5))
    assert (asked.id, asked.type, asked.body) == (sent.id, sent.type, sent.body)
    assert (asked.timeout_s, asked.attempt) == (1.5, 3)
    assert (asked.priority, asked.traceparent) == (Priority.BULK, "00-1-2-01")


def test_priority_of_a_later_version_is_routine() -> None:
    content = request_content(request(id=bytes(16)), timeout_s=1)
    content.call.priority = pb.Priority.ValueType(9)
    assert read_request(content).priority is Priority.ROUTINE


@pytest.mark.parametrize("spoil", ["id", "call", "timeout", "type", "size", "encoding"])
def test_request_that_says_nonsense_is_refused(spoil: str) -> None:
    content = request_content(request(id=bytes(16)), timeout_s=1)
    match spoil:
        case "id":
            content.id = b"short"
        case "call":
            content.ClearField("call")
        case "timeout":
            content.call.timeout_ms = 0
        case "type":
            content.type = "x" * 256
        case "size":
            content.raw_size += 1
        case _:
            content.encoding = pb.BODY_ENCODING_ZSTD
    with pytest.raises((BadRequest, UnreadableContent)):
        read_request(content)


@pytest.mark.parametrize("kind", [CallFailed, CallRefused, InvalidRequest, NotFoundThere])
@pytest.mark.parametrize("may_repeat", [True, False])
@pytest.mark.parametrize("detail", ["", "two: colons: here"])
def test_errors_of_a_service_keep_class_code_and_words(
    kind: type[CallFailed], may_repeat: bool, detail: str
) -> None:
    error = kind("some_code", detail)
    came = told(error, may_repeat=may_repeat)
    assert type(came) is kind
    assert isinstance(came, CallFailed)
    assert (came.reason, str(came)) == ("some_code", str(error))


def test_overload_of_a_handler_promises_nothing_where_work_may_have_begun() -> None:
    """A handler may have got it from another service after it had begun to act."""
    error = Overloaded("full", retry_after_s=0.5)
    again = told(error, may_repeat=True)
    assert isinstance(again, Overloaded)
    assert (str(again), again.retry_after_s) == ("full", 0.5)
    once = told(error, may_repeat=False)
    assert isinstance(once, CallFailed)
    assert once.reason == "overloaded"


def test_unavailable_promises_nothing_where_work_may_have_begun() -> None:
    assert isinstance(told(NoInstance("gone"), may_repeat=True), Unavailable)
    once = told(NoInstance("gone"), may_repeat=False)
    assert isinstance(once, CallFailed)
    assert once.reason == "no_instance"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ResourceExhausted("stream PATIENT-4711 is full"), "resource_exhausted"),
        (ValueError("4711"), "internal"),
        (TimeoutError("4711"), "internal"),
        (UnicodeDecodeError("utf-8", b"4711", 0, 1, "x"), "internal"),
    ],
)
def test_other_errors_are_told_by_their_code_alone(error: Exception, code: str) -> None:
    came = told(error, may_repeat=False)
    assert isinstance(came, CallFailed)
    assert str(came) == came.reason == code


def test_deadline_of_a_handler_is_a_deadline() -> None:
    assert isinstance(told(DeadlineExceeded("4711"), may_repeat=False), DeadlineExceeded)


def test_words_are_one_line_and_bounded() -> None:
    came = told(CallFailed("Not A Code", "line\r\nline\x00" + "x" * 9000), may_repeat=True)
    assert isinstance(came, CallFailed)
    assert came.reason == "call_failed"
    assert str(came).isprintable()
    assert len(str(came)) < 600


def test_pause_is_bounded() -> None:
    came = told(Overloaded("x", retry_after_s=1e9), may_repeat=True)
    assert isinstance(came, Overloaded)
    assert came.retry_after_s == 60


def test_status_of_a_later_version_is_a_failed_call() -> None:
    reply = pb.Reply(status=pb.ReplyStatus.ValueType(77), code="new_thing")
    came = error_of(reply)
    assert isinstance(came, CallFailed)
    assert came.reason == "new_thing"


def test_event_is_no_response() -> None:
    with pytest.raises(BadAnswer):
        read_response(request_content(request(id=bytes(16)), timeout_s=1))


def test_response_without_a_status_is_no_success() -> None:
    content = answer_content(Answer(), request_id=bytes(16), instance="a", load=Load())
    content.reply.status = pb.REPLY_STATUS_UNSPECIFIED
    with pytest.raises(CallFailed):
        read_response(content)


def test_response_tells_instance_and_load() -> None:
    load = Load(in_flight=3, limit=40, oldest_s=1.25, answered=1 << 40)
    content = answer_content(Answer(body=b"x"), request_id=bytes(16), instance="a", load=load)
    response = read_response(content)
    assert (response.body, response.instance, response.load) == (b"x", "a", load)
