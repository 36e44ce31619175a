"""Storing a batch: pipelined, as one atomic batch, and one by one where anything is in doubt.

Order rule: a message is sent again only while no later message of its batch is known to be stored. Sending everything
again in the same order is harmless: the server knows the ids, and the first copy of each message keeps its place.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from bus.transport.nats import headers as blocks
from bus.transport.nats.api import Json, read_answer
from bus.transport.nats.connection import Connection
from bus.transport.nats.requests import Requests
from bus.transport.nats.waves import Wave, Word
from bus.transport.nats.wire import Wire
from bus.transport.protocol import (
    NoResponders,
    Outgoing,
    PayloadTooLarge,
    Stored,
    StreamFull,
)
from schemas.errors import DeadlineExceeded, MeshError, Unavailable

Result = Stored | MeshError
MAX_ATOMIC: Final = 1000
"""Most messages of one atomic batch (ADR-50)."""
_AGAIN_S: Final = 0.05
_AGAIN_MOST_S: Final = 1.0
_HEADER_BYTES: Final = 512
"""Room for our own headers under `max_payload`, which counts them."""
_PLAIN_ANSWER: Final = re.compile(
    rb'\{"stream":"([\w.-]+)", ?(?:"domain":"[^"\\]*", ?)?"seq":(\d+)(,"duplicate": ?true)?\}'
)
"""How the server writes the answer to a single message; any other is read as JSON."""


class Doubt(Exception):
    """Whether the message is stored is not known; `cause` says why."""

    def __init__(self, cause: MeshError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Batch:
    """One call of `store`: its messages, their results, its deadline."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        messages: Sequence[Outgoing],
        end: float,
        explain: Callable[[str, MeshError], Awaitable[MeshError | None]],
        settled: Callable[[int, Result], None] | None = None,
        stored: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._messages = messages
        self.end = end
        self._explain = explain
        self._settled = settled
        self._stored = stored
        """Called once, when the first message is known to be stored."""
        self._loop = asyncio.get_running_loop()
        self._results: list[Result | None] = [None] * len(messages)
        self.left = len(messages)
        """How many messages have no result yet."""
        self._verdict: MeshError | None = None
        """Why the server stores nothing at all now: no need to try the rest of the batch."""

    def results(self) -> list[Result]:
        """One result each, in the order given."""
        return [result for result in self._results if result is not None]

    @property
    def stuck(self) -> bool:
        """Whether a message's fate stayed unknown: nothing may be sent after it."""
        return any(isinstance(result, _Unknown) for result in self._results)

    def settle(self, index: int, result: Result) -> None:
        """Give a message its result, and tell who waits for it."""
        if self._results[index] is None:
            self.left -= 1
        self._results[index] = result
        if self._stored is not None and isinstance(result, Stored):
            stored, self._stored = self._stored, None
            stored()
        if self._settled is not None:
            self._settled(index, result)

    def open(self) -> list[int]:
        """Which messages have no result yet."""
        if not self.left:
            return []
        return [i for i, result in enumerate(self._results) if result is None]

    def fail(self, error: MeshError) -> None:
        """End every open message with one error."""
        for index in self.open():
            self.settle(index, error)

    def refuse_oversized(self) -> None:
        """Settle what the server would break the connection for."""
        most = self._connection.max_payload - _HEADER_BYTES
        for index, message in enumerate(self._messages):
            size = len(message.payload)
            if message.headers:
                size += sum([len(k) + len(v) + 4 for k, v in message.headers.items()])
            if size > most:
                said = f"message of {size} bytes; at most {most} can be stored (max_payload)"
                self.settle(index, PayloadTooLarge(said))

    # -- the three ways ------------------------------------------------------------------------

    async def pipeline(self, indexes: list[int], sent: Callable[[], None]) -> None:
        """Send all, then wait for all. What stays open afterwards is in doubt and may be sent again, in order.

        `sent` is called when everything is on its way, unless something could not be sent.
        """
        wave = Wave(self._requests, self._take_early)
        try:
            at = self._send_from(wave, indexes, 0)
            while at < len(indexes) and self._results[indexes[at]] is None:
                if not await self._has_room():
                    break
                at = self._send_from(wave, indexes, at)
            if at == len(indexes):
                sent()
            await wave.wait(self._patience())
        finally:
            wave.forget()
        if self.left:
            for index, word in wave.words.items():
                self._take(index, word)
            self._keep_order(indexes)

    def _send_from(self, wave: Wave, indexes: list[int], at: int) -> int:
        """Send until the wire is full or something cannot be sent; return how far that went."""
        wire = self._connection.wire
        try:
            while at < len(indexes) and wire is not None and not wire.full:
                message = self._messages[indexes[at]]
                block = _headers(message)
                wave.send(wire, indexes[at], message.subject, message.payload, block)
                at += 1
        except MeshError as error:
            self.settle(indexes[at], error)
        return at

    def _take_early(self, index: int, word: bytes) -> bool:
        """A message that is stored is answered at once; everything else is judged with the whole batch."""
        plain = _PLAIN_ANSWER.fullmatch(word)
        if plain is None:
            return False
        self.settle(index, _from_plain(plain))
        return True

    def _take(self, index: int, word: Word) -> None:
        try:
            self.settle(index, _stored(word))
        except Doubt:
            return
        except MeshError as error:
            self.settle(index, error)

    def _keep_order(self, indexes: list[int]) -> None:
        """Do not store a doubtful message behind a later one: its caller is told that its fate is unknown."""
        later_is_stored = False
        for index in reversed(indexes):
            result = self._results[index]
            if result is None and later_is_stored:
                self.settle(
                    index,
                    DeadlineExceeded("the store answered for later messages but not for this one"),
                )
            later_is_stored = later_is_stored or isinstance(result, Stored)

    async def atomic(self, indexes: list[int]) -> Json | None:
        """Store messages as one batch: all or none. Returns the error when none was stored, None when all were.

        Raises `Doubt`.
        """
        batch = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: " % secrets.token_hex(12).encode()
        wave = Wave(self._requests)
        last = len(indexes)
        try:
            for position, index in enumerate(indexes[:-1], 1):
                message = self._messages[index]
                block = _headers(message, b"%b%d\r\n" % (batch, position))
                wire = self._connection.live_wire()
                if wire.full:
                    wire = await self._wire()
                wire.send(message.subject, message.payload, b"", block)
            await self._send(wave, indexes[-1], b"%b%d\r\nNats-Batch-Commit: 1\r\n" % (batch, last))
            word = await self._word(wave, indexes[-1])
        except MeshError as error:
            raise Doubt(error) from None
        fields = _json(word)
        if fields.get("error"):
            refused: Json = fields["error"]
            return refused
        if fields.get("count") != len(indexes) or not fields.get("stream"):
            raise Doubt(MeshError("the store's answer does not fit the batch"))
        first = int(fields["seq"]) - len(indexes) + 1
        for offset, index in enumerate(indexes):
            self.settle(index, Stored(stream=fields["stream"], seq=first + offset))
        return None

    async def one_by_one(self, indexes: list[int]) -> None:
        """Send each until it has an answer, and the next only then."""
        for index in indexes:
            if self._results[index] is None:
                self.settle(index, await self._insist(index))
            if isinstance(self._results[index], _Unknown):
                break  # nothing may overtake it
            if self._verdict is not None:
                self.fail(self._verdict)

    async def _insist(self, index: int) -> Result:
        wait_s = _AGAIN_S
        cause: MeshError = Unavailable("no answer from the store")
        while self._loop.time() < self.end:
            try:
                await self._connection.ready(max(0.0, self.end - self._loop.time()))
                wave = Wave(self._requests)
                await self._send(wave, index)
                return _stored(await self._word(wave, index))
            except Doubt as doubt:
                cause = doubt.cause
            except (Unavailable, DeadlineExceeded) as error:
                cause = error
            except MeshError as error:
                return error
            explained = await self._explain(self._messages[index].subject, cause)
            if explained is not None:
                self._verdict = explained if isinstance(explained, StreamFull) else None
                return explained
            await asyncio.sleep(min(wait_s, max(0.0, self.end - self._loop.time())))
            wait_s = min(wait_s * 2, _AGAIN_MOST_S)
        return _Unknown(f"the store did not answer before the deadline: {cause}")

    # -- one message ---------------------------------------------------------------------------

    async def _has_room(self) -> bool:
        """Wait until there is room; False when there is no connection to wait for, or no time."""
        try:
            await self._wire()
        except (Unavailable, DeadlineExceeded):
            return False  # what was not sent stays open
        return True

    async def _wire(self) -> Wire:
        """What to send by; waits at the bound `pending_bytes`. Raises `Unavailable`, `DeadlineExceeded`."""
        wire = self._connection.live_wire()
        if not wire.full:
            return wire
        try:
            async with asyncio.timeout_at(self.end):
                await wire.room()
        except TimeoutError:
            raise DeadlineExceeded("not sent: the connection was full") from None
        return self._connection.live_wire()

    async def _send(self, wave: Wave, index: int, more: bytes = b"") -> None:
        message = self._messages[index]
        wire = await self._wire()
        wave.send(wire, index, message.subject, message.payload, _headers(message, more))

    async def _word(self, wave: Wave, index: int) -> Word:
        await wave.wait(self._patience())
        word = wave.words.get(index)
        if word is None:
            raise DeadlineExceeded("no answer from the store")
        return word

    def _patience(self) -> float:
        left_s = self.end - self._loop.time()
        patience_s = self._connection.options.ack_timeout_s
        return patience_s if patience_s < left_s else max(0.0, left_s)


class _Unknown(DeadlineExceeded):
    """The deadline passed with the message's fate unknown: what comes after it was not sent."""


def _headers(message: Outgoing, more: bytes = b"") -> bytes | None:
    """The header block of a message: its own, its id, and `more`."""
    own = blocks.lines(message.headers) if message.headers else b""
    if message.message_id:
        own += blocks.message_id(message.message_id)
    own += more
    return blocks.block(own) if own else None


def _json(word: Word) -> Json:
    """The answer's fields with its `error` left in. Raises `Doubt` for an answer that is no answer."""
    if isinstance(word, MeshError):
        raise Doubt(word)
    try:
        fields = json.loads(word)
    except ValueError:
        raise Doubt(MeshError("the store's answer is not JSON")) from None
    return fields if isinstance(fields, dict) else {}


def _stored(word: Word) -> Stored:
    """Raises `Doubt` where nothing is known, any other `MeshError` where the message is surely not stored."""
    match word:
        case NoResponders() | Unavailable() | DeadlineExceeded():
            raise Doubt(word)
        case MeshError():
            raise word
        case bytes():
            plain = _PLAIN_ANSWER.fullmatch(word)
            return _from_plain(plain) if plain is not None else _read_stored(word)


# Stored is frozen: its own __init__ takes three times as long
_set_stream, _set_seq, _set_duplicate = (
    Stored.__dict__[name].__set__ for name in ("stream", "seq", "duplicate")
)


def _from_plain(plain: re.Match[bytes]) -> Stored:
    stream, seq, duplicate = plain.groups()
    stored = object.__new__(Stored)
    _set_stream(stored, stream.decode())
    _set_seq(stored, int(seq))
    _set_duplicate(stored, duplicate is not None)
    return stored


def _read_stored(payload: bytes) -> Stored:
    try:
        fields = read_answer(payload, what="store")
    except Unavailable as not_now:
        raise Doubt(not_now) from None
    return Stored(
        stream=fields["stream"], seq=fields["seq"], duplicate=bool(fields.get("duplicate"))
    )


__all__ = ["MAX_ATOMIC", "Batch", "Doubt", "Result"]
