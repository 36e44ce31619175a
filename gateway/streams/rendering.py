"""How an event looks to a client. Each form of an event is made once, however many streams give it out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson

from bus.events.following import Followed
from bus.events.protocol import ReceivedEvent
from gateway.streams.positions import Positions

Render: TypeAlias = Callable[[Followed, Positions], bytes]
"""A step as bytes; of a step without event only the position."""


def as_sse(step: Followed, positions: Positions) -> bytes:
    """A server-sent event (HTML Standard §9.2). One that has only an id is not shown to scripts, and remembered."""
    position = positions.text(step.seq)
    if step.event is None:
        return f"id: {position}\n\n".encode()
    return _once(
        step,
        "sse",
        lambda event: b"id: %b\ndata: %b\n\n" % (position.encode(), _json(event, position)),
    )


def as_line(step: Followed, positions: Positions) -> bytes:
    """A line of JSON."""
    position = positions.text(step.seq)
    if step.event is None:
        return orjson.dumps({"position": position}) + b"\n"
    return _once(step, "line", lambda event: _json(event, position) + b"\n")


def last_words_sse(code: str, words: str, more: dict[str, Any]) -> bytes:
    """Why a stream of server-sent events ends, as an event of type `end`."""
    return b"event: end\ndata: %b\n\n" % orjson.dumps({"code": code, "detail": words, **more})


def last_words_line(code: str, words: str, more: dict[str, Any]) -> bytes:
    """Why a stream of lines ends."""
    return orjson.dumps({"end": {"code": code, "detail": words, **more}}) + b"\n"


def _once(step: Followed, form: str, make: Callable[[ReceivedEvent], bytes]) -> bytes:
    found = step.rendered.get(form)
    if found is None and step.event is not None:
        found = step.rendered[form] = make(step.event)
    return found or b""


def _json(event: ReceivedEvent, position: str) -> bytes:
    return orjson.dumps(
        {
            "id": position,
            "subject": event.subject,
            "type": event.type,
            "message_id": event.message_id.hex(),
            "source": event.source,
            "received_ms": event.received_ms,
            "stored_ms": event.stored_ms,
            **({"traceparent": event.traceparent} if event.traceparent else {}),
            **({"schema_id": event.schema_id.hex()} if event.schema_id else {}),
            **_body(event.body),
        }
    )


def _body(body: bytes) -> dict[str, str]:
    """Text as text where it is UTF-8, else base64."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


__all__ = ["Render", "as_line", "as_sse", "last_words_line", "last_words_sse"]
