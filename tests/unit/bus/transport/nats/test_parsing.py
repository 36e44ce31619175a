"""Dispatch of messages: who gets them, what a failing or leaving handler does, where a connection is given up."""

from __future__ import annotations

import pytest
from nats.errors import ProtocolError

from bus.transport.nats.parsing import MAX_MESSAGE_BYTES, Parser


class Control:
    """Stands in for nats-py's parser."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.buf = bytearray()
        self.error: Exception | None = None

    async def parse(self, data: bytes) -> None:
        self.lines.append(data)
        if self.error is not None:
            raise self.error

    def reset(self) -> None:
        self.lines.clear()


class Setup:
    def __init__(self) -> None:
        self.control = Control()
        self.failed: list[Exception] = []
        self.broken: list[str] = []
        self.parser = Parser(self.control, failed=self.failed.append, broken=self.broken.append)
        self.got: list[bytes] = []
        self.parser.handlers[b"1"] = lambda s, r, h, payload: self.got.append(payload)


async def test_failing_handler_is_told_and_the_next_message_comes() -> None:
    setup = Setup()

    def fails(subject: bytes, reply: bytes, headers: bytes | None, payload: bytes) -> None:
        raise RuntimeError("on order")

    setup.parser.handlers[b"2"] = fails
    await setup.parser.parse(b"MSG a 2 1\r\nx\r\nMSG a 1 1\r\ny\r\n")
    assert [type(error) for error in setup.failed] == [RuntimeError]
    assert setup.got == [b"y"]


async def test_failing_handler_with_an_error_of_reading_does_not_end_the_connection() -> None:
    setup = Setup()

    def fails(subject: bytes, reply: bytes, headers: bytes | None, payload: bytes) -> None:
        raise IndexError("on order")

    setup.parser.handlers[b"2"] = fails
    await setup.parser.parse(b"MSG a 2 1\r\nx\r\nMSG a 1 1\r\ny\r\n")
    assert setup.got == [b"y"]
    assert setup.broken == []


async def test_nothing_is_handed_over_once_the_handlers_are_gone() -> None:
    setup = Setup()
    setup.parser.handlers[b"2"] = lambda *_: setup.parser.handlers.clear()
    await setup.parser.parse(b"MSG a 2 1\r\nx\r\nMSG a 1 1\r\ny\r\n")
    assert setup.got == []


async def test_control_lines_go_whole_and_in_their_place_to_nats_py() -> None:
    setup = Setup()
    await setup.parser.parse(b"PING\r\nMSG a 1 1\r\nx\r\nPO")
    await setup.parser.parse(b"NG\r\n")
    assert setup.control.lines == [b"PING\r\n", b"PONG\r\n"]
    assert setup.got == [b"x"]


async def test_large_message_is_put_together_once() -> None:
    setup = Setup()
    payload = bytes(range(256)) * 4096
    stream = b"MSG a 1 %d\r\n%b\r\nMSG a 1 1\r\nz\r\n" % (len(payload), payload)
    for at in range(0, len(stream), 32768):
        await setup.parser.parse(stream[at : at + 32768])
    assert setup.got == [payload, b"z"]


@pytest.mark.parametrize(
    "harmful",
    [
        b"MSG a 1 %d\r\n" % (MAX_MESSAGE_BYTES + 1),
        b"MSG a 1 -1\r\n",
        b"MSG a 1 many\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 r r 1\r\n",
        b"HMSG a 1 5\r\n",
        b"HMSG a 1 9 4\r\n",
        b"HMSG a 1 -1 4\r\nabcd\r\n",
        b"MSG a 1 1\r\nlonger\r\n",
        b"\r\n",
    ],
)
async def test_line_that_cannot_be_right_ends_the_connection(harmful: bytes) -> None:
    setup = Setup()
    with pytest.raises(ProtocolError):
        await setup.parser.parse(b"MSG a 1 1\r\nx\r\n" + harmful + b"MSG a 1 1\r\ny\r\n")
    assert setup.got == [b"x"]
    assert len(setup.broken) == 1


@pytest.mark.parametrize("error", [ProtocolError(), AttributeError("x"), ValueError("x")])
async def test_control_line_that_nats_py_cannot_read_ends_the_connection(error: Exception) -> None:
    setup = Setup()
    setup.control.error = error
    with pytest.raises(ProtocolError):
        await setup.parser.parse(b"-ERR\r\nMSG a 1 1\r\ny\r\n")
    assert setup.broken == [f"{type(error).__name__} on a control line"]
    assert setup.got == []


async def test_control_line_that_nats_py_keeps_for_later_ends_the_connection() -> None:
    setup = Setup()
    setup.control.buf += b"left"
    with pytest.raises(ProtocolError):
        await setup.parser.parse(b"WHAT\r\n")
    assert setup.broken == ["unknown control line"]


async def test_reset_forgets_what_was_begun() -> None:
    setup = Setup()
    await setup.parser.parse(b"MSG a 1 100\r\nhalf of")
    setup.parser.reset()
    await setup.parser.parse(b"MSG a 1 1\r\nx\r\n")
    assert setup.got == [b"x"]
