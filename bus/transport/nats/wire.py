"""What a connection does with one client of nats-py, on either path: send, listen, and know how full it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from bus.transport.nats.headers import Headers
from bus.transport.nats.parsing import Handler
from bus.transport.protocol import Incoming
from schemas.errors import SubjectError

_UNSAFE: Final = re.compile(r"[ \t\r\n]")


@dataclass(eq=False, slots=True)
class Registration:
    """A subscription that outlives clients."""

    subject: str
    queue: str
    take: Handler
    live: object | None = None
    """What the wire that carries it knows it by."""


class Wire(Protocol):
    """One client of nats-py. Whatever it is told after its end is dropped."""

    @property
    def full(self) -> bool:
        """Whether more is under way than `pending_bytes` allows."""
        ...

    def send(
        self, subject: str, payload: bytes, reply: bytes = b"", headers: bytes | None = None
    ) -> None:
        """Hand over one message; never waits. `reply` and `headers` are believed to be well-formed.

        Raises `SubjectError`, `PayloadTooLarge`.
        """
        ...

    def answer(self, subject: bytes, payload: bytes) -> None:
        """Send to a subject that the server itself has written; never waits."""
        ...

    async def room(self) -> None:
        """Return when the bound leaves room, or the client has ended."""
        ...

    async def settle(self) -> None:
        """Return when everything sent so far was handed to the socket. Raises `Unavailable`."""
        ...

    async def subscribe(self, registration: Registration) -> None:
        """Begin. Raises `SubjectError`, `Unavailable`."""
        ...

    async def unsubscribe(self, live: object, *, hand_over: bool) -> None:
        """Stop; with `hand_over` what the server sent before it knew is handled first."""
        ...

    def end(self) -> None:
        """Deliver nothing more and wake who waits."""
        ...


def check_subject(subject: str) -> None:
    """Raise `SubjectError` where a subject could not stand in a protocol line."""
    if subject and subject.isprintable() and " " not in subject:
        return
    if not subject or _UNSAFE.search(subject):
        raise SubjectError(f"{subject!r} is no subject: it is empty or has a blank in it")


def check_pattern(pattern: str, queue: str) -> None:
    """Raise `SubjectError` where the server would refuse to subscribe."""
    check_subject(pattern)
    if queue:
        check_subject(queue)
    parts = pattern.split(".")
    for place, part in enumerate(parts, 1):
        stray = (">" in part or "*" in part) and part not in ("*", ">")
        if not part or stray or (part == ">" and place != len(parts)):
            raise SubjectError(f"{pattern!r} is no pattern: token {place} is {part!r}")


_new: Final = object.__new__
# Incoming is frozen: its own __init__ takes three times as long
_set_subject, _set_payload, _set_reply, _set_headers = (
    Incoming.__dict__[name].__set__ for name in ("subject", "payload", "reply", "headers")
)


def incoming(subject: bytes, reply: bytes, headers: bytes | None, payload: bytes) -> Incoming:
    """A message from the wire as the seam has it."""
    message = _new(Incoming)
    _set_subject(message, subject.decode())
    _set_payload(message, payload)
    _set_reply(message, reply.decode() if reply else "")
    _set_headers(message, None if headers is None else Headers(headers))
    return message


def taking(handler: Callable[[Incoming], None]) -> Handler:
    """What calls a handler of the seam with what came from the wire."""

    def take(subject: bytes, reply: bytes, headers: bytes | None, payload: bytes) -> None:
        handler(incoming(subject, reply, headers, payload))

    return take


__all__ = ["Registration", "Wire", "check_pattern", "check_subject", "incoming", "taking"]
