"""The order rule of `store`, with a server that answers as the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import cast

import pytest

from bus.transport.nats.connection import Connection
from bus.transport.nats.deadlines import Deadlines
from bus.transport.nats.headers import Headers
from bus.transport.nats.options import NatsOptions
from bus.transport.nats.requests import Asker, Requests, Sleeper
from bus.transport.nats.storing import Batch, Doubt
from bus.transport.nats.waves import Word
from bus.transport.protocol import NotFound, Outgoing, PayloadTooLarge, Stored, StreamFull
from schemas.errors import DeadlineExceeded, MeshError, Unavailable

LOST = Unavailable("the connection was lost")
FULL = {"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}}
NOT_NOW = {"error": {"code": 503, "err_code": 10008, "description": "temporarily unavailable"}}


def answer(fields: object) -> bytes:
    return json.dumps(fields).encode()


class Server:
    """Stands in for connection, wire and requests: keeps what was sent, answers by script, else stores."""

    def __init__(self) -> None:
        self.options = NatsOptions(ack_timeout_s=0.02)
        self.max_payload = 1000
        self.full = False
        self.wire = self
        self.waves: Deadlines[Sleeper] = Deadlines(lambda sleeper: sleeper.wake())
        self.sent: list[str] = []
        self.stored: list[str] = []
        self.say: list[Word | None] = []
        """What to answer to the next messages instead of storing them; None says nothing."""

    async def ready(self, timeout_s: float) -> None:
        return

    def live_wire(self) -> Server:
        return self

    def send(self, subject: str, payload: bytes, reply: bytes, block: bytes) -> None:
        headers = Headers(block)
        self.sent.append(f"{headers['Nats-Msg-Id']}/{headers.get('Nats-Batch-Sequence', '')}")

    def put(
        self, wire: Server, subject: str, payload: bytes, block: bytes, asker: Asker, place: int
    ) -> bytes:
        self.send(subject, payload, b"", block)
        said = self.say.pop(0) if self.say else self._store(Headers(block)["Nats-Msg-Id"])
        loop = asyncio.get_running_loop()
        if isinstance(said, bytes):
            loop.call_soon(asker.answered, place, said)
        elif said is not None:
            loop.call_soon(asker.failed, place, said)
        return b""

    def forget(self, token: bytes) -> None:
        return

    def _store(self, message_id: str) -> bytes:
        known = message_id in self.stored
        if not known:
            self.stored.append(message_id)
        seq = self.stored.index(message_id) + 1
        return answer({"stream": "S", "seq": seq, "duplicate": known})


async def no_reason(subject: str, cause: MeshError) -> MeshError | None:
    return None


def batch_of(
    server: Server,
    count: int,
    *,
    seconds: float = 5.0,
    explain: Callable[[str, MeshError], object] = no_reason,
) -> Batch:
    messages = [Outgoing(subject="evt.a", payload=b"x", message_id=f"m{i}") for i in range(count)]
    return Batch(
        cast("Connection", server),
        cast("Requests", server),
        messages,
        asyncio.get_running_loop().time() + seconds,
        explain,  # type: ignore[arg-type] # returns an awaitable
    )


async def store(batch: Batch) -> list[Stored | MeshError]:
    todo = batch.open()
    await batch.pipeline(todo, lambda: None)
    await batch.one_by_one(todo)
    batch.fail(DeadlineExceeded("not sent"))
    return batch.results()


def seqs(results: list[Stored | MeshError]) -> list[int | str]:
    return [r.seq if isinstance(r, Stored) else r.code for r in results]


async def test_all_answered_is_sent_once() -> None:
    server = Server()
    assert seqs(await store(batch_of(server, 3))) == [1, 2, 3]
    assert server.sent == ["m0/", "m1/", "m2/"]


async def test_lost_tail_is_sent_again_one_by_one_in_order() -> None:
    server = Server()
    server.say = [answer({"stream": "S", "seq": 1}), LOST, LOST]
    server.stored = ["m0"]
    assert seqs(await store(batch_of(server, 3))) == [1, 2, 3]
    assert server.sent == ["m0/", "m1/", "m2/", "m1/", "m2/"]


async def test_doubtful_message_before_a_stored_one_is_not_sent_again() -> None:
    server = Server()
    server.say = [None, answer({"stream": "S", "seq": 1})]
    assert seqs(await store(batch_of(server, 2))) == ["deadline_exceeded", 1]
    assert server.sent == ["m0/", "m1/"]


async def test_refused_message_is_not_sent_again_and_its_neighbours_are_stored() -> None:
    server = Server()
    server.say = [answer(FULL)]
    assert seqs(await store(batch_of(server, 2))) == ["stream_full", 1]


async def test_message_that_the_server_cannot_take_now_is_sent_again() -> None:
    server = Server()
    server.say = [answer(NOT_NOW), answer(NOT_NOW)]
    assert seqs(await store(batch_of(server, 1))) == [1]
    assert server.sent == ["m0/"] * 3


async def test_nothing_is_sent_behind_a_message_whose_fate_stays_unknown() -> None:
    server = Server()
    server.say = [LOST] * 1000
    results = await store(batch_of(server, 3, seconds=0.1))
    assert seqs(results) == ["deadline_exceeded"] * 3
    again = server.sent[3:]
    assert again
    assert set(again) == {"m0/"}


async def test_explained_silence_ends_the_waiting_of_the_whole_batch() -> None:
    async def disk_full(subject: str, cause: MeshError) -> MeshError | None:
        return StreamFull("no space left")

    server = Server()
    server.say = [None] * 10
    results = await store(batch_of(server, 5, explain=disk_full))
    assert seqs(results) == ["stream_full"] * 5
    assert len(server.sent) == 6


async def test_missing_stream_is_said_for_its_message_only() -> None:
    async def missing(subject: str, cause: MeshError) -> MeshError | None:
        return NotFound("no stream")

    server = Server()
    server.say = [LOST, LOST, LOST]
    results = await store(batch_of(server, 2, explain=missing))
    assert seqs(results) == ["not_found", 1]


async def test_atomic_batch_numbers_its_messages_and_reads_its_places() -> None:
    server, batch = Server(), None
    batch = batch_of(server, 4)
    server.say = [answer({"stream": "S", "seq": 14, "count": 4, "batch": "b"})]
    assert await batch.atomic(batch.open()) is None
    assert seqs(batch.results()) == [11, 12, 13, 14]
    assert server.sent == ["m0/1", "m1/2", "m2/3", "m3/4"]


async def test_refused_atomic_batch_says_why_and_settles_nothing() -> None:
    server = Server()
    batch = batch_of(server, 3)
    server.say = [answer({"error": {"code": 400, "err_code": 10201, "description": "duplicate"}})]
    refused = await batch.atomic(batch.open())
    assert refused is not None
    assert refused["err_code"] == 10201
    assert batch.open() == [0, 1, 2]


@pytest.mark.parametrize(
    "said", [LOST, None, answer({"stream": "S", "seq": 2, "count": 2}), answer([]), answer({})]
)
async def test_atomic_batch_without_a_fitting_answer_is_in_doubt(said: Word | None) -> None:
    server = Server()
    batch = batch_of(server, 3)
    server.say = [said]
    with pytest.raises(Doubt):
        await batch.atomic(batch.open())
    assert batch.open() == [0, 1, 2]


async def test_oversized_message_counts_its_headers() -> None:
    server = Server()
    messages = [
        Outgoing(subject="a", payload=bytes(480), message_id="0"),
        Outgoing(subject="a", payload=bytes(480), message_id="1", headers={"K": "v" * 100}),
    ]
    end = asyncio.get_running_loop().time() + 1
    batch = Batch(cast("Connection", server), cast("Requests", server), messages, end, no_reason)
    batch.refuse_oversized()
    assert batch.open() == [0]
    batch.settle(0, Stored(stream="S", seq=1))
    assert isinstance(batch.results()[1], PayloadTooLarge)
