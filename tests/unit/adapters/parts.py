"""What adapter tests are made of: a runtime with a clock of their own, messages, and a wait with a deadline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from adapters.contract import AdapterRuntime, Offered, OpenRecords, Serve
from bus.events.protocol import Events, ReceivedEvent
from bus.services.protocol import Offer
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue
from schemas.clock import Clock, FakeClock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.subjects import site_id

SITE = site_id("north")
SITE_KEY = b"k" * 32
DEADLINE_S = 20.0


async def no_records(bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
    raise AssertionError(f"{bucket} was opened by an adapter that keeps nothing there ({history})")


async def no_service(offer: Offer) -> Offered:
    raise AssertionError(f"{offer.name} was offered by an adapter that serves nothing")


def in_memory(broker: MemoryBroker | None = None) -> OpenRecords:
    """Opens buckets of a broker in this process."""
    inside = broker or MemoryBroker()

    async def opened(bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
        transport = await inside.connect(name="records")
        return await transport.key_value(bucket, history=history, max_age_s=max_age_s)

    return opened


def runtime(
    events: Events,
    folder: Path,
    *,
    clock: Clock | None = None,
    replicated: bool = False,
    records: OpenRecords | None = None,
    serve: Serve = no_service,
) -> AdapterRuntime:
    return AdapterRuntime(
        site=SITE,
        site_key=SITE_KEY,
        events=events,
        counters=Counters(),
        clock=clock or FakeClock(),
        random=random.Random(7),
        folder=folder,
        records=records or no_records,
        replicated=replicated,
        serve=serve,
    )


def message(
    control_id: str = "C1",
    *,
    patient: str = "P1",
    accept: str = "",
    application: str = "",
    note: str = "",
    processing_id: str = "P",
) -> bytes:
    return (
        f"MSH|^~\\&|EMR|TESTHOSP|HIS|TESTHOSP|20260101120000||ADT^A08^ADT_A01|{control_id}|{processing_id}"
        f"|2.5.1|||{accept}|{application}||UNICODE UTF-8\r"
        f"EVN|A08|20260101120000\rPID|1||{patient}^^^TESTHOSP^MR||EXAMPLE^PATIENT\rZTS|{note}\r"
    ).encode()


def received(body: bytes, *, number: int = 1, type: str = "hl7v2/ADT^A08") -> ReceivedEvent:
    return ReceivedEvent(
        subject="evt.north.raw.hl7v2.5",
        message_id=number.to_bytes(16, "big"),
        type=type,
        body=body,
        index=content_pb.Index(),
        source="emr-in",
        received_ms=1_800_000_000_123,
        stored_ms=1_800_000_000_125,
        seq=number,
        partition=5,
        attempt=1,
        replayed=False,
    )


async def eventually(condition: Callable[[], bool], *, what: str) -> None:
    """Turn the loop until the condition holds; for states that no event announces."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while not condition():
        assert loop.time() < deadline, f"not in time: {what}"
        tick = loop.create_future()
        loop.call_later(0.005, tick.set_result, None)
        await tick
