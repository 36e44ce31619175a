"""Bytes from the server to handlers, at once: no queue, no task and no object per message.

Stands in for nats-py's parser (`parse` and `reset`). Messages go by subscription id straight to our handlers; every
other line (INFO, PING, PONG, +OK, -ERR) goes whole to the parser of nats-py, whose client answers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from nats.errors import ProtocolError

MAX_LINE_BYTES: Final = 64 * 1024
"""A control line is never longer: the server's own bound is 4 KiB, and an INFO that names many servers needs more."""
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The most that `max_payload` of a server may be."""

Handler = Callable[[bytes, bytes, bytes | None, bytes], None]
"""Takes subject, reply, header block (None when there is none) and payload. Called synchronously; must not block."""


class ControlParser(Protocol):
    """What is used of nats-py's parser."""

    buf: bytearray
    """What it has not worked yet."""

    async def parse(self, data: bytes) -> None:
        """Work a whole control line."""
        ...

    def reset(self) -> None:
        """Forget what was begun."""
        ...


class Parser:
    """Finds messages in the stream of one connection, however it is cut. Holds at most one unfinished message."""

    __slots__ = ("_broken", "_chunks", "_control", "_failed", "_missing", "_rest", "handlers")

    def __init__(
        self,
        control: ControlParser,
        *,
        failed: Callable[[Exception], None],
        broken: Callable[[str], None],
    ) -> None:
        self.handlers: dict[bytes, Handler] = {}
        """By subscription id, as the server writes it. A message of an unknown one is passed over."""
        self._control = control
        self._failed = failed
        self._broken = broken
        self._rest = b""
        self._chunks: list[bytes] = []
        self._missing = 0

    def reset(self) -> None:
        """Forget what was begun."""
        self._rest, self._chunks, self._missing = b"", [], 0
        self._control.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Take the next bytes. Raises nats-py's `ProtocolError`, after `broken` was told why."""
        line = self.feed(data)
        while line:
            try:
                await self._control.parse(line)
            except Exception as error:  # noqa: BLE001 - nats-py's parser raises anything for a line that it cannot read
                self._give_up(f"{type(error).__name__} on a control line")
            if self._control.buf:
                self._give_up("unknown control line")
            line = self.feed(b"")

    def feed(self, data: bytes) -> bytes:
        """Hand over every whole message up to the next control line; return that line, or nothing without one."""
        if self._missing:
            self._missing -= len(data)
            self._chunks.append(data)
            if self._missing > 0:
                return b""
            data, self._chunks, self._missing = b"".join(self._chunks), [], 0
        elif self._rest:
            data, self._rest = self._rest + data, b""
        try:
            return self._messages(data)
        except (ValueError, IndexError):
            self._give_up("unreadable message line")

    def _messages(self, data: bytes) -> bytes:  # noqa: C901, PLR0912, PLR0915 - a call a message costs as much as the rest
        handlers, find = self.handlers, data.find
        at, end = 0, len(data)
        while at < end:
            line_end = find(b"\r\n", at)
            if line_end < 0 or line_end - at > MAX_LINE_BYTES:
                if end - at > MAX_LINE_BYTES:
                    self._give_up("overlong control line")
                break
            words = data[at:line_end].split()
            count = len(words)
            word = words[0]
            start = line_end + 2
            if word == b"MSG":
                reply = words[3] if count == 5 else b""
                size, head = int(words[-1]), -1
                fits = 4 <= count <= 5
            elif word == b"HMSG":
                reply = words[3] if count == 6 else b""
                size, head = int(words[-1]), int(words[-2])
                fits = 5 <= count <= 6 and 0 <= head <= size
            else:
                self._rest = data[start:]
                return data[at:start]
            if not fits or not 0 <= size <= MAX_MESSAGE_BYTES:
                self._give_up("message line of a wrong form or size")
            stop = start + size
            if stop + 2 > end:
                self._wait_for(data[at:], stop + 2 - end)
                return b""
            if data[stop] != 13 or data[stop + 1] != 10:
                self._give_up("message longer or shorter than it says")
            handler = handlers.get(words[2])
            at = stop + 2
            if handler is None:
                continue
            try:
                if head < 0:
                    handler(words[1], reply, None, data[start:stop])
                else:
                    body = start + head
                    handler(words[1], reply, data[start:body], data[body:stop])
            except Exception as error:  # noqa: BLE001 - a handler's outermost edge: the next message must come
                self._failed(error)
        self._rest = data[at:]
        return b""

    def _wait_for(self, begun: bytes, missing: int) -> None:
        self._chunks, self._missing = [begun], missing

    def _give_up(self, reason: str) -> NoReturn:
        self.handlers.clear()
        self._rest, self._chunks, self._missing = b"", [], 0
        self._broken(reason)
        raise ProtocolError


__all__ = ["MAX_LINE_BYTES", "MAX_MESSAGE_BYTES", "ControlParser", "Handler", "Parser"]
