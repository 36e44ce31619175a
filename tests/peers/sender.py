"""An MLLP sender that behaves as a careful EMR: one message under way, sent again until it is accepted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

START, END = b"\x0b", b"\x1c\r"


def synthetic(number: int, *, patient: int | None = None, note: str = "") -> bytes:
    """A small synthetic ADT^A08; its control id is `T<number>`, its patient `P<patient>`."""
    who = number % 50 if patient is None else patient
    return (
        "MSH|^~\\&|EMR|TESTHOSP|HIS|TESTHOSP|20260101120000||ADT^A08^ADT_A01"
        f"|T{number:07d}|P|2.5.1|||AL|NE||UNICODE UTF-8\r"
        "EVN|A08|20260101120000\r"
        f"PID|1||P{who:05d}^^^TESTHOSP^MR||EXAMPLE^PATIENT^{who}||19700101|U\r"
        f"PV1|1|I|WARD^{number % 30}^1^TESTHOSP\r"
        f"ZTS|{note}\r"
    ).encode()


def control_id(message: bytes) -> bytes:
    """MSH-10, whatever ends the segments."""
    start = message.find(b"MSH")
    header = (
        message[start:]
        .replace(b"\n", b"\r")
        .split(b"\r", 1)[0]
        .split(message[start + 3 : start + 4])
    )
    return header[9] if len(header) > 9 else b""


@dataclass
class Tally:
    """What senders were told."""

    accepted: list[bytes] = field(default_factory=list)
    """Control ids in the order of their positive answers."""
    refused: list[tuple[bytes, str]] = field(default_factory=list)
    mismatched: int = 0
    reconnects: int = 0

    def changed(self) -> None:
        """Called after each answer; tests hang their events here."""


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    """Send one message and read one answer: its bytes without the frame."""
    writer.write(START + message + END)
    answer = await reader.readuntil(END)
    return answer[answer.find(START) + 1 : -len(END)]


def read_answer(answer: bytes) -> tuple[str, bytes]:
    """(code, MSA-2) of an acknowledgement, in its frame or out of it."""
    segments = answer[answer.find(START) + 1 :].split(b"\r")
    separator = segments[0][3:4]
    msa = next(segment for segment in segments if segment.startswith(b"MSA")).split(separator)
    return msa[1].decode(), msa[2]


@dataclass
class Sender:
    """One connection of a sending system, opened again whenever it is in doubt."""

    port: int
    tally: Tally
    answer_timeout_s: float = 30.0
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    last_answer: bytes = b""

    async def attempt(self, message: bytes) -> str | None:
        """The code of the answer, or None when it is unknown what became of the message."""
        try:
            if self.connection is None:
                self.connection = await asyncio.open_connection(
                    "127.0.0.1", self.port, limit=1 << 24
                )
            async with asyncio.timeout(self.answer_timeout_s):
                self.last_answer = await ask(*self.connection, message)
        except (OSError, EOFError, TimeoutError):
            self.tally.reconnects += 1
            await self.close()
            return None
        code, answered = read_answer(self.last_answer)
        self.tally.mismatched += answered != control_id(message)
        return code

    async def send(self, message: bytes) -> None:
        """Send one message until it is accepted."""
        while (code := await self.attempt(message)) not in ("AA", "CA"):
            if code is not None:
                self.tally.refused.append((control_id(message), code))
                self.tally.changed()
            await pause(0.05)
        self.tally.accepted.append(control_id(message))
        self.tally.changed()

    async def close(self) -> None:
        """Drop the connection and wait until it is gone."""
        if self.connection is not None:
            _, writer = self.connection
            self.connection = None
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def send_all(
    port: int, messages: Sequence[bytes], tally: Tally, *, answer_timeout_s: float = 30.0
) -> None:
    """Send messages in order over one connection, each until it is accepted."""
    sender = Sender(port, tally, answer_timeout_s)
    try:
        for message in messages:
            await sender.send(message)
    finally:
        await sender.close()


async def pause(seconds: float) -> None:
    """A sender's own pause between attempts."""
    done = asyncio.get_running_loop().create_future()
    handle = asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    try:
        await done
    finally:
        handle.cancel()
