"""Cuts at any moment: what was acknowledged is there, the rest is sent again, nothing is invented or reordered."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from adapters.hl7v2.codec.acknowledgement import AckCode
from bus.clock import SystemClock
from bus.transport.memory import MemoryBroker
from tests.integration.adapters.hl7v2.sockets import (
    END,
    START,
    Receiver,
    Sender,
    accept,
    control_id,
    mllp_client,
    mllp_server,
    receiving,
)
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, eventually, message
from tests.unit.bus.events.kit import Bench


async def persistent_sender(port: int, messages: list[bytes], chance: random.Random) -> None:
    """Send each message until it is accepted, over a connection that is cut at random moments."""
    sender = await Sender.connect(port)
    for raw in messages:
        while True:
            if chance.random() < 0.3:
                wire = START + raw + END
                sender.writer.write(wire[: chance.randrange(len(wire) + 1)])
                if chance.random() < 0.5:
                    await sender.writer.drain()
                sender.close()
                sender = await Sender.connect(port)
                continue
            if (await sender.ask(raw)).code is AckCode.AA:
                break
    sender.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_senders_that_are_cut_anywhere_lose_and_double_nothing(
    tmp_path: Path, seed: int
) -> None:
    events = MemoryEvents()
    chance = random.Random(seed)
    batches = [[message(f"S{s}-{n}", patient=f"P{s}") for n in range(30)] for s in range(4)]
    async with mllp_server(events, tmp_path) as (server, _):
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(persistent_sender(server.bound_port, batch, chance))
        stored = events.bodies()
        assert len(stored) == 120
        for s, batch in enumerate(batches):
            assert [b for b in stored if control_id(b).startswith(b"S%d-" % s)] == batch


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_receiver_that_dies_at_random_gets_everything_and_repeats_only_what_it_did_not_answer(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    unanswered = 0

    async def moody(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal unanswered
        mood = chance.random()
        if mood < 0.2:
            unanswered += 1
            writer.transport.abort()
        elif mood < 0.3:
            unanswered += 1
            writer.write(START + b"MSH|^~\\&|half an answer")
            writer.close()
        else:
            await accept(receiver, raw, writer)

    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    inward, outward = [await bench.service(n) for n in ("emr-in", "his-out")]
    messages = [message(f"C{n}", patient=f"P{n % 5}") for n in range(60)]
    async with (
        receiving(moody) as receiver,
        mllp_server(inward.events, tmp_path) as (server, _),
        mllp_client(outward.events, tmp_path, receiver.port) as (_, counters),
    ):
        sender = await Sender.connect(server.bound_port)
        for raw in messages:
            assert (await sender.ask(raw)).code is AckCode.AA
        sender.close()
        await eventually(lambda: counters.get("message_delivered") == 60, what="all delivered")
        assert len(receiver.received) == 60 + unanswered
        assert counters.get("message_sent_again") == unanswered
        once: list[bytes] = []
        for raw in receiver.received:
            if not once or once[-1] != raw:
                once.append(raw)
        assert once == messages
    for service in (inward, outward):
        await service.events.stop()


async def test_server_that_stops_in_mid_load_has_stored_all_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    events = MemoryEvents()
    acknowledged: list[bytes] = []

    async def load(port: int, number: int) -> None:
        sender = await Sender.connect(port)
        try:
            for n in range(10_000):
                raw = message(f"S{number}-{n}")
                if (await sender.ask(raw)).code is AckCode.AA:
                    acknowledged.append(raw)
        except (EOFError, OSError):
            pass
        finally:
            sender.close()

    async with mllp_server(events, tmp_path) as (server, _):
        tasks = [asyncio.create_task(load(server.bound_port, n)) for n in range(8)]
        await eventually(lambda: len(acknowledged) > 200, what="some are acknowledged")
        await server.stop()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks)
    assert set(acknowledged) <= set(events.bodies())
    assert len(events.bodies()) == len(set(events.bodies()))


async def test_draining_server_answers_each_message_that_it_stored(tmp_path: Path) -> None:
    events = MemoryEvents()
    answered: list[str] = []

    async def load(port: int, number: int) -> None:
        sender = await Sender.connect(port)
        try:
            for n in range(10_000):
                sender.write(message(f"S{number}-{n}"))
                answered.append((await sender.answer()).control_id)
        except (EOFError, OSError):
            pass
        finally:
            sender.close()

    async with mllp_server(events, tmp_path) as (server, _):
        tasks = [asyncio.create_task(load(server.bound_port, n)) for n in range(8)]
        await eventually(lambda: len(answered) > 200, what="some are answered")
        await server.drain(timeout_s=DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks)
    assert sorted(answered) == sorted(control_id(b).decode() for b in events.bodies())
