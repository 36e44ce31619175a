"""A sending system: messages over MLLP, one under way on each connection, and what became of each.

`medmesh send` and the simulated EMR of the demo are this. An open-loop rate measures from the moment a message was due,
so that a slow receiver cannot hide the wait of those behind it.
"""

from __future__ import annotations

import asyncio
import ssl
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from adapters.hl7v2.codec.acknowledgement import parse_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import Header, peek
from adapters.hl7v2.config import ClientTls
from adapters.hl7v2.link import Link, LinkState, Target
from adapters.hl7v2.tls import client_context
from schemas.clock import Clock
from schemas.errors import ConfigurationError, MeshError, Unavailable

_CONTROL_ID: Final = 9
"""Where MSH-10 stands when MSH is split at its field separator, which is MSH-1 itself."""


class Fate(Enum):
    """What became of one message."""

    ACCEPTED = "accepted"
    """AA or CA, with its own control id."""
    REJECTED = "rejected"
    """AE, AR, CE or CR."""
    LOST = "lost"
    """No answer: the connection ended or the time was up. The receiver may have it."""


@dataclass
class Report:
    """Running totals of a sender; latencies in seconds."""

    sent: int = 0
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    codes: dict[str, int] = field(default_factory=dict)
    latencies_s: array[float] = field(default_factory=lambda: array("d"), repr=False)
    last_trouble: str = ""
    """Why the last message was lost; never content."""
    unreachable: str = ""
    """Why the run ended early; empty when it did not."""

    def add(self, fate: Fate, *, code: str = "", latency_s: float | None = None) -> None:
        """Count one message."""
        self.sent += 1
        self.fates[fate] += 1
        if code:
            self.codes[code] = self.codes.get(code, 0) + 1
        if latency_s is not None:
            self.latencies_s.append(latency_s)

    @property
    def accepted(self) -> int:
        """Messages with a positive answer."""
        return self.fates[Fate.ACCEPTED]

    @property
    def rejected(self) -> int:
        """Messages with a negative answer."""
        return self.fates[Fate.REJECTED]

    @property
    def lost(self) -> int:
        """Messages without an answer."""
        return self.fates[Fate.LOST]

    def percentile_ms(self, share: float) -> float:
        """Latency below which `share` (0 to 1) of the answers came, in milliseconds; 0 without answers."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def target(
    url: str,
    *,
    tls: ClientTls | None = None,
    timeout_s: float = 30.0,
) -> Target:
    """Where `mllp://host:port` or `mllps://host:port` is. Raises `ConfigurationError`."""
    wrong = ConfigurationError(
        f"{url!r} is no address: write mllp://host:port or mllps://host:port"
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("mllp", "mllps") or not host or not port or parts.path not in ("", "/"):
        raise wrong
    context: ssl.SSLContext | None = None
    if parts.scheme == "mllps":
        context = client_context(tls or ClientTls(), name=url)
    elif tls is not None:
        raise ConfigurationError(f"{url}: certificates belong to mllps://, this is mllp://")
    return Target(
        host=host,
        port=port,
        tls=context,
        server_name=tls.server_name if tls is not None else None,
        connect_timeout_s=min(10.0, timeout_s),
        reopen_after_idle_s=600.0,
        max_answer_bytes=1 << 20,
    )


class Lane:
    """One connection: messages one after the other, each with its own answer."""

    def __init__(self, where: Target, clock: Clock, *, answer_timeout_s: float = 30.0) -> None:
        self._clock = clock
        self._timeout_s = answer_timeout_s
        self._link = Link(where, lambda name, reason: None, clock.monotonic_s, answer_timeout_s)

    async def send(self, message: bytes) -> tuple[Fate, str]:
        """Send and wait for the answer: its fate and the code of the answer, or why there is none."""
        try:
            header = peek(message)
            await self._link.send(message)
            return await self._answer(header)
        except Unavailable as error:
            return Fate.LOST, str(error)
        except MeshError as error:
            return Fate.LOST, f"cannot be sent: {error}"

    async def _answer(self, header: Header) -> tuple[Fate, str]:
        """Read until the answer to this very message comes; late answers to others are passed over."""
        deadline_s = self._link.deadline(self._timeout_s)
        while True:
            try:
                answer = parse_acknowledgement(await self._link.answer(deadline_s=deadline_s))
            except Hl7Error:
                continue
            if answer.answers(header) or not header.raw(10):
                fate = Fate.ACCEPTED if answer.code.is_accepted else Fate.REJECTED
                return fate, answer.code.value

    @property
    def is_refused(self) -> bool:
        """Whether the receiver could not be reached at all: nothing of the last message was sent."""
        return self._link.state is LinkState.REFUSED

    def close(self) -> None:
        """Drop the connection."""
        self._link.close()


async def send_all(
    messages: Iterator[bytes],
    where: Target,
    report: Report,
    clock: Clock,
    *,
    connections: int = 1,
    rate: float = 0.0,
    answer_timeout_s: float = 30.0,
    changed: Callable[[], None] = lambda: None,
) -> None:
    """Send every message; the connections take the next one as they become free.

    One connection keeps the order. `rate` in messages a second over all connections, 0 for as fast as answers come.
    A receiver that cannot be reached ends the run: `report.unreachable` says why, and the rest is not sent.
    """
    schedule = _Schedule(messages, clock, rate)

    async def run() -> None:
        lane = Lane(where, clock, answer_timeout_s=answer_timeout_s)
        try:
            async for message, due_s in schedule:
                fate, word = await lane.send(message)
                if lane.is_refused:
                    report.unreachable = word
                    schedule.stop()
                    return
                answered = fate is not Fate.LOST
                report.add(
                    fate,
                    code=word if answered else "",
                    latency_s=clock.monotonic_s() - due_s if answered else None,
                )
                if not answered:
                    report.last_trouble = word
                changed()
        finally:
            lane.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(run())


class _Schedule:
    """The next message and when it was due."""

    def __init__(self, messages: Iterator[bytes], clock: Clock, rate: float) -> None:
        self._messages = messages
        self._clock = clock
        self._gap_s = 1 / rate if rate > 0 else 0.0
        self._next_s = clock.monotonic_s()
        self._stopped = False

    def stop(self) -> None:
        """Give out no more messages."""
        self._stopped = True

    def __aiter__(self) -> _Schedule:
        return self

    async def __anext__(self) -> tuple[bytes, float]:
        message = None if self._stopped else next(self._messages, None)
        if message is None:
            raise StopAsyncIteration
        now_s = self._clock.monotonic_s()
        if not self._gap_s:
            return message, now_s
        due_s, self._next_s = self._next_s, self._next_s + self._gap_s
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        return message, due_s


def with_control_id(message: bytes, header: Header, control_id: str) -> bytes:
    """The message with another MSH-10; every other byte as it was. UTF-16 is left alone: no MLLP frame holds it."""
    if header.wide:
        return message
    line = message[header.start : header.end]
    charset = header.transcoded
    if charset is not None:
        line = line.decode(charset.codec).encode()
    fields = line.split(header.delimiters.field)
    fields += [b""] * (_CONTROL_ID + 1 - len(fields))
    fields[_CONTROL_ID] = control_id.encode("ascii")
    line = header.delimiters.field.join(fields)
    if charset is not None:
        line = line.decode().encode(charset.codec)
    return message[: header.start] + line + message[header.end :]


__all__ = ["Fate", "Lane", "Report", "send_all", "target", "with_control_id"]
