"""An MLLP receiver that keeps evidence. Run: python sink.py --port N --journal FILE [options].

Each line of the journal is written with one system call, so that it survives kill -9:
`R <control id> <sha256 of the message> <connection>` when a message is complete, before anything is answered;
`A <control id> <code>` once its acknowledgement has been handed to the operating system.
Prints `ready <port>` when it listens. Shares no code with medmesh on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path

START, END = b"\x0b", b"\x1c\r"


@dataclass
class Behaviour:
    """How the receiver answers."""

    delay_s: float = 0.0
    code: str = "AA"
    code_for_first: int = 0
    """Answer `code` to that many messages, and AA afterwards; 0: to all."""
    silent_for_first: int = 0
    """Do not answer that many messages at all, and close the connection instead."""
    whims: random.Random | None = None
    """Given: one message in twenty is met by hanging up, one in ten by AE or AR; delays go up to twice `delay_s`."""
    journal: int = -1
    messages: int = 0
    connections: int = 0
    pending: set[asyncio.TimerHandle] = field(default_factory=set)


class Receiver(asyncio.Protocol):
    """One connection of a sender."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.behaviour.connections += 1
        self.number = self.behaviour.connections

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(END)) >= 0:
            frame = bytes(self.buffer[:end])
            del self.buffer[: end + len(END)]
            self.message(frame[frame.find(START) + 1 :])

    def message(self, raw: bytes) -> None:
        b = self.behaviour
        b.messages += 1
        number = b.messages
        separator = raw[3:4]
        header = raw.split(b"\r", 1)[0].split(b"\n", 1)[0].split(separator)
        control = header[9] if len(header) > 9 else b""
        digest = hashlib.sha256(raw).hexdigest().encode()
        os.write(b.journal, b"R %s %s %d\n" % (control or b"-", digest, self.number))
        code = b.code if not b.code_for_first or number <= b.code_for_first else "AA"
        delay_s, silent = b.delay_s, number <= b.silent_for_first
        if b.whims is not None:
            silent |= b.whims.random() < 0.05
            code = b.whims.choice(("AE", "AR")) if b.whims.random() < 0.1 else code
            delay_s *= b.whims.uniform(0, 2)
        if silent:
            self.transport.abort()
            return
        answer = (
            START
            + b"MSH|^~\\&|SINK|HIS|MESH|X|20260101000000||ACK|S%d|P|2.5.1\rMSA|%s|"
            % (number, code.encode())
            + control
            + b"\r"
            + END
        )
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self.answer, answer, control, code)
        else:
            self.answer(answer, control, code)

    def answer(self, answer: bytes, control: bytes, code: str) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        os.write(self.behaviour.journal, b"A %s %s\n" % (control or b"-", code.encode()))


async def serve(arguments: argparse.Namespace) -> None:
    journal = os.open(arguments.journal, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    behaviour = Behaviour(
        delay_s=arguments.delay,
        code=arguments.code,
        code_for_first=arguments.code_for_first,
        silent_for_first=arguments.silent_for_first,
        whims=None if arguments.whims is None else random.Random(arguments.whims),
        journal=journal,
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(behaviour), "127.0.0.1", arguments.port)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()


@dataclass(frozen=True)
class Journal:
    """What a receiver wrote down: messages in the order of their arrival, and which of them it answered."""

    received: tuple[tuple[str, str], ...]
    """(control id, sha256 of the message)"""
    answered: tuple[tuple[str, str], ...]
    """(control id, code)"""

    @staticmethod
    def read(path: Path) -> Journal:
        received, answered = [], []
        for line in path.read_bytes().decode("latin-1").splitlines() if path.exists() else []:
            kind, _, rest = line.partition(" ")
            if kind == "R":
                control, digest, _ = rest.rsplit(" ", 2)
                received.append((control, digest))
            elif kind == "A":
                control, code = rest.rsplit(" ", 1)
                answered.append((control, code))
        return Journal(tuple(received), tuple(answered))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--code", default="AA")
    parser.add_argument("--code-for-first", type=int, default=0)
    parser.add_argument("--silent-for-first", type=int, default=0)
    parser.add_argument("--whims", type=int, help="seed")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
