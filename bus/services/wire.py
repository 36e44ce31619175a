"""What a call says inside its envelope: contents of requests and responses, and how errors travel. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from bus.events.content import MESSAGE_ID_BYTES, UnreadableContent, body_of
from bus.services.protocol import (
    BadAnswer,
    CallFailed,
    CallRefused,
    InvalidRequest,
    Load,
    NotFoundThere,
    Overloaded,
    Priority,
    Request,
    Response,
)
from schemas.errors import DeadlineExceeded, MeshError, Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

MAX_DETAIL_CHARS: Final = 500
MAX_RETRY_AFTER_S: Final = 60.0
"""A longer pause than this is not believed."""
CANCEL: Final = "Medmesh-Cancel"
"""Header of a message that takes a request back: the hash of its envelope, in hex. Who knows it is the caller, the
service or the carrier, which could stop the call anyway; so it is not signed."""
INTERNAL: Final = "internal"
"""The code of an error that is none of ours: neither its words nor its type leave the process."""

_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_MAX_TYPE_CHARS: Final = 255
_MAX_U32: Final = (1 << 32) - 1
_NUMBERS: Final = {priority: pb.Priority.ValueType(priority.value) for priority in Priority}
_PRIORITIES: Final = {priority.value: priority for priority in Priority}


class BadRequest(MeshError, ValueError):
    """The request is authentic, but says what no request of ours says."""

    code: ClassVar[str] = "bad_request"


class Asked(NamedTuple):
    """One request as the server reads it."""

    id: bytes
    type: str
    body: bytes
    timeout_s: float
    """How long its caller waits, counted from the sealing."""
    attempt: int = 1
    priority: Priority = Priority.ROUTINE
    traceparent: str = ""

    def __repr__(self) -> str:
        """Without the body, which is protected data."""
        return f"Asked(id={self.id.hex()!r}, type={self.type!r}, {len(self.body)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server says to a request: a body, or why there is none."""

    status: pb.ReplyStatus.ValueType = pb.REPLY_STATUS_OK
    type: str = ""
    body: bytes = field(default=b"", repr=False)
    code: str = ""
    detail: str = ""
    retry_after_s: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether the call did what was asked."""
        return self.status == pb.REPLY_STATUS_OK


def request_content(request: Request, *, timeout_s: float) -> pb.Content:
    """The content of a request whose caller waits `timeout_s` from now; `request.id` is set."""
    return pb.Content(
        id=request.id,
        type=request.type,
        encoding=pb.BODY_ENCODING_IDENTITY,
        raw_size=len(request.body),
        body=request.body,
        traceparent=request.traceparent,
        call=pb.Call(
            timeout_ms=min(max(1, round(timeout_s * 1000)), _MAX_U32),
            attempt=request.attempt,
            priority=_NUMBERS[request.priority],
        ),
    )


def read_request(content: pb.Content) -> Asked:
    """What a request says. Raises `BadRequest`, and `UnreadableContent` for a body that cannot be decoded here."""
    if len(content.id) != MESSAGE_ID_BYTES:
        raise BadRequest(f"the id has {len(content.id)} bytes; {MESSAGE_ID_BYTES} are needed")
    call = content.call
    timeout_ms = call.timeout_ms
    if not timeout_ms:  # 0 as well when there is no `call` at all
        raise BadRequest("it does not say how long its caller waits")
    kind = content.type
    if len(kind) > _MAX_TYPE_CHARS:
        raise BadRequest(f"the type has {len(kind)} characters")
    return Asked(
        id=content.id,
        type=kind,
        body=body_of(content),
        timeout_s=timeout_ms / 1000,
        attempt=max(1, call.attempt),
        # a class that a later version adds is worked as routine
        priority=_PRIORITIES.get(call.priority, Priority.ROUTINE),
        traceparent=content.traceparent,
    )


def answer_content(answer: Answer, *, request_id: bytes, instance: str, load: Load) -> pb.Content:
    """The content of a response."""
    return pb.Content(
        id=request_id,
        type=answer.type,
        encoding=pb.BODY_ENCODING_IDENTITY,
        raw_size=len(answer.body),
        body=answer.body,
        reply=pb.Reply(
            status=answer.status,
            code=answer.code,
            detail=answer.detail,
            retry_after_ms=round(min(answer.retry_after_s, MAX_RETRY_AFTER_S) * 1000),
            instance=instance,
            load=pb.Load(
                in_flight=load.in_flight,
                limit=load.limit,
                oldest_ms=min(round(load.oldest_s * 1000), _MAX_U32),
                answered=load.answered,
            ),
        ),
    )


def read_load(reply: pb.Reply) -> Load:
    """How busy the instance that answered is."""
    load = reply.load
    return Load(
        in_flight=load.in_flight,
        limit=load.limit,
        oldest_s=load.oldest_ms / 1000,
        answered=load.answered,
    )


def read_response(content: pb.Content) -> Response:
    """The response of a call that went well. Raises the error that the service told, or `BadAnswer`."""
    if not content.HasField("reply"):
        raise BadAnswer("the content is no response")
    reply = content.reply
    if reply.status != pb.REPLY_STATUS_OK:
        raise error_of(reply)
    try:
        body = body_of(content)
    except UnreadableContent as error:
        raise BadAnswer(str(error)) from None
    return Response(type=content.type, body=body, instance=reply.instance, load=read_load(reply))


def error_of(reply: pb.Reply) -> MeshError:
    """The error that a response tells."""
    status, detail = reply.status, reply.detail[:MAX_DETAIL_CHARS]
    code = reply.code if _CODE.match(reply.code) else "unnamed"
    if status == pb.REPLY_STATUS_OVERLOADED:
        pause_s = min(reply.retry_after_ms / 1000, MAX_RETRY_AFTER_S)
        return Overloaded(detail or code, retry_after_s=pause_s)
    if status == pb.REPLY_STATUS_DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"the service gave up at the deadline ({code})")
    if status == pb.REPLY_STATUS_UNAVAILABLE:
        return Unavailable(f"the service cannot do it now ({code})")
    return _CALL_ERRORS.get(status, CallFailed)(code, detail)


_CALL_ERRORS: Final[dict[int, type[CallFailed]]] = {
    pb.REPLY_STATUS_INVALID: InvalidRequest,
    pb.REPLY_STATUS_REFUSED: CallRefused,
    pb.REPLY_STATUS_NOT_FOUND: NotFoundThere,
}


def answer_to(error: BaseException, *, may_repeat: bool) -> Answer:
    """How a handler's error is told: `CallFailed` and its kin and `Overloaded` in their words, others by their code.

    `Overloaded` and `Unavailable` promise that nothing was done. A handler may have got them from another service in
    the middle of its work, so that promise is passed on only for a method that `may_repeat`.
    """
    if isinstance(error, Overloaded):
        status = pb.REPLY_STATUS_OVERLOADED if may_repeat else pb.REPLY_STATUS_FAILED
        return Answer(
            status=status,
            code=Overloaded.code,
            detail=_clean(str(error)),
            retry_after_s=max(0.0, error.retry_after_s),
        )
    if isinstance(error, CallFailed):
        return _told(error)
    if isinstance(error, DeadlineExceeded):
        return Answer(status=pb.REPLY_STATUS_DEADLINE_EXCEEDED, code=error.code)
    if isinstance(error, Unavailable) and may_repeat:
        return Answer(status=pb.REPLY_STATUS_UNAVAILABLE, code=error.code)
    code = error.code if isinstance(error, MeshError) else INTERNAL
    return Answer(status=pb.REPLY_STATUS_FAILED, code=code)


def _told(error: CallFailed) -> Answer:
    status = pb.REPLY_STATUS_FAILED
    if isinstance(error, InvalidRequest):
        status = pb.REPLY_STATUS_INVALID
    elif isinstance(error, CallRefused):
        status = pb.REPLY_STATUS_REFUSED
    elif isinstance(error, NotFoundThere):
        status = pb.REPLY_STATUS_NOT_FOUND
    code = error.reason if _CODE.match(error.reason) else error.code
    words = str(error)
    detail = "" if words == error.reason else words.removeprefix(f"{error.reason}: ")
    return Answer(status=status, code=code, detail=_clean(detail))


def _clean(words: str) -> str:
    """One line, bounded: it goes into logs and headers."""
    return "".join(c if c.isprintable() else " " for c in words[:MAX_DETAIL_CHARS])


__all__ = [
    "INTERNAL",
    "MAX_DETAIL_CHARS",
    "MAX_RETRY_AFTER_S",
    "Answer",
    "Asked",
    "BadRequest",
    "answer_content",
    "answer_to",
    "error_of",
    "read_load",
    "read_request",
    "read_response",
    "request_content",
]
