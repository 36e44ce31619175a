"""Messages that a stream holds back until they are due, shown for each carrier."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bus.transport.protocol import (
    ConsumerSpec,
    NotFound,
    Outgoing,
    Stored,
    StreamSpec,
    Transport,
    schedule_headers,
)
from tests.contract.carriers import DEADLINE_S, Reader

if TYPE_CHECKING:
    from tests.contract.carriers import Carrier

SCHEDULED = StreamSpec(name="SCH", subjects=("set.>", "due.>"), allow_schedules=True)
DUE = ConsumerSpec(stream="SCH", name="due", patterns=("due.>",))


async def place(transport: Transport, name: str, payload: bytes, in_s: float) -> None:
    at_ms = round((time.time() + in_s) * 1000)
    message = Outgoing(
        subject=f"set.{name}",
        payload=payload,
        message_id=f"{name}-{payload.decode()}",
        headers=schedule_headers(at_ms, f"due.{name}"),
    )
    (result,) = await transport.store.store([message], timeout_s=DEADLINE_S)
    assert isinstance(result, Stored)


async def test_message_is_stored_on_its_target_when_it_is_due(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(SCHEDULED)
    reader = Reader()
    consumer = await transport.store.consume(DUE, reader)
    consumer.credit(10)
    begun = time.time()
    await place(transport, "a", b"later", 1.0)
    (delivery,) = await reader.get(1)
    assert (delivery.subject, delivery.payload) == ("due.a", b"later")
    assert time.time() - begun > 0.5, "it came before it was due"
    with pytest.raises(NotFound):
        await transport.administration.last_for_subject("SCH", "set.a")


async def test_later_schedule_of_a_subject_takes_the_place_of_the_earlier(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(SCHEDULED)
    reader = Reader()
    consumer = await transport.store.consume(DUE, reader)
    consumer.credit(10)
    await place(transport, "a", b"first", 3600)
    await place(transport, "a", b"second", 0.5)
    (delivery,) = await reader.get(1)
    assert delivery.payload == b"second"


async def test_deleted_schedule_never_comes(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(SCHEDULED)
    reader = Reader()
    consumer = await transport.store.consume(DUE, reader)
    consumer.credit(10)
    await place(transport, "gone", b"gone", 1.0)
    held = await transport.administration.last_for_subject("SCH", "set.gone")
    await transport.store.delete("SCH", held.seq)
    await place(transport, "stays", b"stays", 2.0)
    assert [d.payload for d in await reader.get(1)] == [b"stays"]


async def test_what_was_due_while_the_stream_was_away_comes_at_once(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(SCHEDULED)
    await place(transport, "a", b"overdue", -60)
    reader = Reader()
    consumer = await transport.store.consume(DUE, reader)
    consumer.credit(10)
    assert [d.payload for d in await reader.get(1)] == [b"overdue"]
