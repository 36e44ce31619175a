"""Sender to receiver and folder through real events on the in-memory broker: byte for byte, once, in order."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from adapters.files import WRITER
from adapters.hl7v2.codec.acknowledgement import AckCode
from bus.clock import SystemClock
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import StreamFull
from tests.integration.adapters.hl7v2.sockets import (
    Receiver,
    Sender,
    accept,
    control_id,
    mllp_client,
    mllp_server,
    receiving,
)
from tests.integration.test_main_job import corpus
from tests.ports import free_port
from tests.unit.adapters.parts import eventually, message, runtime
from tests.unit.bus.events.kit import Bench

SECRETS = ("ZEBRAFISH", "QUOKKA", "MRN998877", "19331122")


def files_below(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


async def send_all(port: int, messages: list[bytes]) -> int:
    """Send in order over one connection; how many were accepted."""
    sender = await Sender.connect(port)
    accepted = 0
    for raw in messages:
        sender.write(raw)
        accepted += b"MSA" in (answer := await sender.answer_bytes()) and (
            b"|AA|" in answer or b"|CA|" in answer
        )
    sender.close()
    return accepted


def sendable(messages: list[bytes]) -> list[bytes]:
    """Those whose header names usable delimiters: some samples are no messages but descriptions of them."""
    return [raw for raw in messages if raw[3:4] == b"|"]


@pytest.mark.parametrize("connections", [1, 32])
async def test_every_sample_message_arrives_at_both_ends_as_it_was_sent(
    tmp_path: Path, connections: int
) -> None:
    messages = sendable(corpus())
    assert len(messages) > 350
    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    inward, outward, archive = [await bench.service(n) for n in ("emr-in", "his-out", "archive")]
    config = WRITER.config.model_validate(
        {
            "name": "archive",
            "kind": "files.writer",
            "folder": tmp_path / "archive",
            "subscribe": "evt.north.raw.>",
        }
    )
    writer = WRITER.build(config, runtime(archive.events, tmp_path, clock=SystemClock()))
    await writer.start()
    async with (
        receiving() as receiver,
        mllp_server(inward.events, tmp_path) as (server, _),
        mllp_client(outward.events, tmp_path, receiver.port, lanes=4),
    ):
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(send_all(server.bound_port, messages[lane::connections]))
                for lane in range(connections)
            ]
        assert sum(task.result() for task in tasks) == len(messages)
        await receiver.until(lambda: len(receiver.received) >= len(messages))
        await eventually(
            lambda: len(files_below(tmp_path / "archive")) >= len(messages), what="archive is whole"
        )
        wanted = Counter(hashlib.sha256(m).digest() for m in messages)
        assert Counter(hashlib.sha256(m).digest() for m in receiver.received) == wanted
        stored = [path.read_bytes() for path in files_below(tmp_path / "archive")]
        assert Counter(hashlib.sha256(m).digest() for m in stored) == wanted
        await writer.drain(timeout_s=5)
        await writer.stop()
    for service in (inward, outward, archive):
        await service.events.stop()


async def test_applied_is_said_only_once_the_receiver_applied_it(tmp_path: Path) -> None:
    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    inward, outward = [await bench.service(n) for n in ("emr-in", "his-out")]
    go = asyncio.Event()

    async def held(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await accept(receiver, raw, writer)

    async with (
        receiving(held) as receiver,
        mllp_server(
            inward.events, tmp_path, ack="applied", receipts_from=["his-out"], ack_timeout_s=15.0
        ) as (server, _),
        mllp_client(outward.events, tmp_path, receiver.port),
    ):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        await receiver.until(lambda: len(receiver.received) == 1)
        assert not sender.reader._buffer  # type: ignore[attr-defined]  # applied nowhere, said nowhere
        go.set()
        answer = await sender.answer()
        assert (answer.code, answer.control_id) == (AckCode.AA, "C1")
        assert (await sender.ask(message("C1"))).code is AckCode.AA
        assert len(receiver.received) == 1
        sender.close()
    for service in (inward, outward):
        await service.events.stop()


async def test_receiver_down_from_the_first_message_gets_each_once_and_in_order(
    tmp_path: Path,
) -> None:
    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    inward, outward = [await bench.service(n) for n in ("emr-in", "his-out")]
    port = free_port()
    messages = [message(f"C{n}", patient=f"P{n % 7}") for n in range(20)]
    async with (
        mllp_server(inward.events, tmp_path) as (server, _),
        mllp_client(outward.events, tmp_path, port) as (_, counters),
    ):
        assert await send_all(server.bound_port, messages) == 20
        await eventually(lambda: counters.get("destination_away") > 1, what="receiver is away")
        receiver = Receiver(port=port)
        await receiver.start()
        await receiver.until(lambda: len(receiver.received) == 20)
        assert receiver.received == messages
        await receiver.stop()
    for service in (inward, outward):
        await service.events.stop()


async def test_no_patient_data_leaves_by_subjects_counters_logs_or_health(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(MemoryBroker(clock=SystemClock()), tmp_path / "mesh")
    inward = await bench.service("emr-in")
    subjects_seen: list[str] = []
    watcher = await bench.broker.connect(name="watcher")
    await watcher.messenger.subscribe(">", lambda seen: subjects_seen.append(seen.subject))
    body = message("C1", patient=SECRETS[2], note="^".join(SECRETS))
    async with mllp_server(
        inward.events, tmp_path, max_message_bytes=2048, processing_ids=["P"]
    ) as (
        server,
        counters,
    ):
        sender = await Sender.connect(server.bound_port)
        assert (await sender.ask(body)).code is AckCode.AA
        spoiled = [
            message("C2", note="^".join(SECRETS) * 100),
            message("C3", patient=SECRETS[2], processing_id="T"),
        ]
        answers = [await answer_to(sender, raw) for raw in spoiled]
        sender.writer.write(
            "^".join(SECRETS).encode() + b"\x0b" + body + b"\x0b" + body + b"\x1c\r"
        )
        answers += [await sender.answer_bytes(), await sender.answer_bytes()]
        sender.close()
        health = server.health().detail
        counted = str(counters.snapshot()) + str(bench.counters.snapshot())
    captured = capfd.readouterr()
    said = captured.out + captured.err + health + counted + " ".join(subjects_seen)
    assert "oversized_frame" in said
    for secret in SECRETS:
        assert secret not in said
        assert all(secret.encode() not in answer for answer in answers)
    await inward.events.stop()


async def answer_to(sender: Sender, raw: bytes) -> bytes:
    sender.write(raw)
    return await sender.answer_bytes()


async def test_sender_of_a_full_stream_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    broker = MemoryBroker(clock=SystemClock())
    bench = Bench(broker, tmp_path / "mesh")
    inward, outward = [await bench.service(n) for n in ("emr-in", "his-out")]
    async with (
        receiving() as receiver,
        mllp_server(inward.events, tmp_path) as (server, _),
        mllp_client(outward.events, tmp_path, receiver.port),
    ):
        sender = await Sender.connect(server.bound_port)
        assert (await sender.ask(message("C1"))).code is AckCode.AA
        broker.faults.refuse_stores(StreamFull("disk full"))
        refused = await sender.ask(message("C2"))
        assert refused.code is AckCode.AE
        assert "not stored" in refused.text
        broker.faults.heal()
        assert (await sender.ask(message("C2"))).code is AckCode.AA
        await receiver.until(lambda: len(receiver.received) == 2)
        assert [control_id(m) for m in receiver.received] == [b"C1", b"C2"]
        sender.close()
    for service in (inward, outward):
        await service.events.stop()
