"""The folder writer's promises."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.contract import Condition
from adapters.files import WRITER
from adapters.files.config import WriterConfig
from adapters.files.writer import FolderWriter
from bus.events.protocol import NewEvent
from schemas import subjects
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, SITE, received, runtime


def config(folder: Path, **more: object) -> WriterConfig:
    return WriterConfig.model_validate(
        {
            "name": "archive",
            "kind": "files.writer",
            "folder": folder,
            "subscribe": "evt.north.raw.>",
        }
        | more
    )


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_each_event_is_one_file_with_exactly_its_bytes(tmp_path: Path) -> None:
    events = MemoryEvents()
    writer = FolderWriter(config(tmp_path / "out", lanes=3), runtime(events, tmp_path))
    await writer.start()
    bodies = [b"MSH|one\r", b"\0\xff binary \r\n", b""]
    for n, body in enumerate(bodies):
        subject = subjects.event(SITE, subjects.Domain.RAW, "hl7v2", n)
        await events.publish(
            NewEvent(subject=subject, type="hl7v2/ADT^A01", body=body, received_ms=n)
        )
    async with asyncio.timeout(DEADLINE_S):
        await events.until(lambda: len(events.receipts) == len(bodies))
    await writer.drain(timeout_s=1)
    await writer.stop()
    files = files_in(tmp_path / "out")
    assert [f.read_bytes() for f in files] == bodies
    assert all(f.suffix == ".hl7" for f in files)


async def test_event_that_comes_twice_is_one_file(tmp_path: Path) -> None:
    r = runtime(MemoryEvents(), tmp_path)
    writer = FolderWriter(config(tmp_path, daily_folders=True), r)
    await writer.write(received(b"x"))
    await writer.write(received(b"x"))
    (day,) = files_in(tmp_path)
    assert day.name == "2027-01-15"
    assert len(files_in(day)) == 1
    assert r.counters.get("file_written") == 2
    assert r.counters.get("file_written", reason="already_there") == 1


async def test_full_disk_waits_and_is_seen_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = MemoryEvents()
    writer = FolderWriter(config(tmp_path / "out"), runtime(events, tmp_path))
    await writer.start()

    def full(_descriptor: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        await events.publish(NewEvent(subject="evt.north.raw.hl7v2.1", type="x", body=b"content"))
        (consumption,) = events.consumptions
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: consumption.away > 0)
        assert writer.health().condition is Condition.DEGRADED
        assert "No space left" in writer.health().detail
    async with asyncio.timeout(DEADLINE_S):
        await events.until(lambda: bool(events.receipts))
    assert writer.health().condition is Condition.HEALTHY
    assert [p.read_bytes() for p in files_in(tmp_path / "out")] == [b"content"]
    assert not events.dead_letters
    await writer.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"file_name": "{seq}"},
        {"subscribe": "evt..x"},
        {"subscribe": []},
        {"extension": "hl7/.."},
        {"foldr": "x"},
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        config(tmp_path, **wrong)


def test_rights_cover_what_it_does(tmp_path: Path) -> None:
    rights = WRITER.rights(config(tmp_path), SITE)
    assert "evt.north.raw.>" in rights.subscribe
    assert any(
        subjects.matches(p, subjects.receipt(SITE, b"\1" * 16, "archive")) for p in rights.publish
    )
