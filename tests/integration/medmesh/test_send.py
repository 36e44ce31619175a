"""`medmesh send` against the simulated HIS: what is reported is what became of the messages."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.hl7v2.codec.header import peek
from bus.clock import SystemClock
from medmesh.demo.his import HisSimulator
from medmesh.demo.messages import day
from tests.hospital import Process, start
from tests.ports import free_port


@pytest.fixture
async def his() -> AsyncIterator[tuple[HisSimulator, list[bytes]]]:
    received: list[bytes] = []
    simulator = HisSimulator(SystemClock(), received=received.append)
    await simulator.start()
    yield simulator, received
    await simulator.stop()


async def send(*arguments: str) -> tuple[int | None, str, Process]:
    child = await start(["-m", "medmesh", "send", *arguments])
    await child.ended()
    return child.process.returncode, "".join(child.lines), child


async def test_messages_of_a_file_arrive_as_they_are_and_in_order(
    his: tuple[HisSimulator, list[bytes]], tmp_path: Path
) -> None:
    simulator, received = his
    messages = [message.raw for message in day(50) if message.raw.endswith(b"\r")]
    (tmp_path / "many.hl7").write_bytes(b"".join(messages))
    code, output, _ = await send(
        str(tmp_path / "many.hl7"), "--to", f"mllp://127.0.0.1:{simulator.port}", "--json"
    )
    summary = json.loads(output)
    assert code == 0
    assert received == messages
    assert (summary["sent"], summary["accepted"], summary["rejected"], summary["lost"]) == (
        len(messages), len(messages), 0, 0,
    )  # fmt: skip
    assert summary["p99_ms"] >= summary["p50_ms"] > 0
    assert set(summary["codes"]) == {"AA", "CA"}


async def test_a_batch_is_sent_message_by_message(
    his: tuple[HisSimulator, list[bytes]], tmp_path: Path
) -> None:
    simulator, received = his
    messages = [message.raw for message in day(10) if message.raw.endswith(b"\r")]
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + b"".join(messages) + b"BTS|%d\rFTS|1\r" % len(messages)
    (tmp_path / "batch.hl7").write_bytes(batch)
    code, _, _ = await send(
        str(tmp_path / "batch.hl7"), "--to", f"mllp://127.0.0.1:{simulator.port}"
    )
    assert code == 0
    assert received == messages


@pytest.mark.parametrize("keep", [False, True])
async def test_repetitions_get_fresh_control_ids_unless_they_are_kept(
    his: tuple[HisSimulator, list[bytes]], tmp_path: Path, keep: bool
) -> None:
    simulator, received = his
    (tmp_path / "one.hl7").write_bytes(day(1)[0].raw)
    options = ["--repeat", "20", "--connections", "4", *(["--keep-control-id"] if keep else [])]
    url = f"mllp://127.0.0.1:{simulator.port}"
    code, _, _ = await send(str(tmp_path / "one.hl7"), "--to", url, *options)
    assert code == 0
    assert len(received) == 20
    assert len({peek(raw).control_id for raw in received}) == (1 if keep else 20)


async def test_nobody_listening_is_a_failure_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "one.hl7").write_bytes(day(1)[0].raw)
    port = free_port()
    code, output, _ = await send(
        str(tmp_path / "one.hl7"), "--to", f"mllp://127.0.0.1:{port}", "--json"
    )
    assert code == 1
    assert json.loads(output)["accepted"] == 0
    assert f"127.0.0.1:{port}: connection refused" in json.loads(output)["trouble"]


async def test_a_file_without_messages_is_named(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_bytes(b"Dear colleague,\r\n")
    code, _, child = await send(str(tmp_path / "letter.txt"), "--to", "mllp://127.0.0.1:1")
    assert code == 1
    assert "letter.txt: holds no HL7 v2 message" in "".join(child.errors)


async def test_some_rejected_is_partial(tmp_path: Path) -> None:
    rejecting = await start(
        [
            str(Path(__file__).parents[2] / "peers/sink.py"),
            "--port",
            str(port := free_port()),
            "--journal",
            str(tmp_path / "journal"),
            "--code",
            "AE",
            "--code-for-first",
            "3",
        ]
    )
    assert sys.executable
    try:
        from tests.hospital import eventually

        await eventually(lambda: bool(rejecting.lines), within_s=30, what="the sink listens")
        raw = [message.raw for message in day(10) if message.raw.endswith(b"\r")]
        (tmp_path / "many.hl7").write_bytes(b"".join(raw))
        code, output, _ = await send(
            str(tmp_path / "many.hl7"), "--to", f"mllp://127.0.0.1:{port}", "--json"
        )
    finally:
        rejecting.kill()
        await rejecting.ended()
    summary = json.loads(output)
    assert code == 6
    assert (summary["rejected"], summary["accepted"]) == (3, len(raw) - 3)
