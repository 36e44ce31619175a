"""The folder reader's promises."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from adapters.contract import AdapterRuntime, Condition
from adapters.files.config import ReaderConfig
from adapters.files.reader import FolderReader
from bus.transport.protocol import StreamFull
from schemas.clock import FakeClock
from schemas.errors import PermissionRefused
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import runtime


class Bench:
    """A reader that looks only when it is told to."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.clock = FakeClock()
        self.events = MemoryEvents()
        self.folder = folder
        for name in ("done", "failed"):
            (folder / name).mkdir(exist_ok=True)
        settings = {"name": "inbox", "kind": "files.reader", "folder": folder, "pattern": "*.pdf"}
        self.config = ReaderConfig.model_validate(settings | more)
        self.runtime: AdapterRuntime = runtime(self.events, folder, clock=self.clock)
        self.reader = FolderReader(self.config, self.runtime)

    def files(self, sub: str = ".") -> list[str]:
        return sorted(p.name for p in (self.folder / sub).iterdir() if p.is_file())


async def test_stable_file_becomes_one_event_and_moves(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    assert await bench.reader.look() == 0
    bench.clock.advance(2.0)
    assert await bench.reader.look() == 1
    assert bench.events.bodies() == [b"%PDF"]
    assert bench.files("done") == ["a.pdf"]
    assert bench.files() == []


async def test_growing_file_is_left_until_it_rests(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for size in (1, 2, 3):
        (tmp_path / "a.pdf").write_bytes(b"x" * size)
        assert await bench.reader.look() == 0
        bench.clock.advance(1.9)
    assert await bench.reader.look() == 0
    bench.clock.advance(2.0)
    assert await bench.reader.look() == 1
    assert bench.events.bodies() == [b"xxx"]


async def test_resting_file_that_its_writer_holds_open_is_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with (tmp_path / "a.pdf").open("wb") as writer:
        writer.write(b"half")
        writer.flush()
        await bench.reader.look()
        bench.clock.advance(60)
        assert await bench.reader.look() == 0
        writer.write(b" whole")
    await bench.reader.look()
    bench.clock.advance(2.0)
    assert await bench.reader.look() == 1
    assert bench.events.bodies() == [b"half whole"]


async def test_marked_file_is_read_when_its_marker_is_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="marker", pattern="*")
    (tmp_path / "a.pdf").write_bytes(b"x")
    assert await bench.reader.look() == 0
    (tmp_path / "a.pdf.done").touch()
    assert await bench.reader.look() == 1
    assert bench.files() == []
    assert bench.files("done") == ["a.pdf"]


async def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="renamed")
    for name in ("c", "a", "b"):
        (tmp_path / f"{name}.pdf").write_bytes(name.encode())
    assert await bench.reader.look() == 3
    assert bench.events.bodies() == [b"a", b"b", b"c"]


async def test_other_names_hidden_files_links_and_folders_are_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="renamed")
    (tmp_path / "a.txt").write_bytes(b"x")
    (tmp_path / ".b.pdf").write_bytes(b"x")
    (tmp_path / "c.pdf").mkdir()
    (tmp_path / "d.pdf").symlink_to(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "e.pdf")
    assert await bench.reader.look() == 0
    assert bench.events.bodies() == []


async def test_crash_between_storing_and_moving_is_one_event(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="renamed")
    (tmp_path / "a.pdf").write_bytes(b"x")
    await bench.reader.look()
    (tmp_path / "done" / "a.pdf").rename(tmp_path / "a.pdf")
    assert await Bench(tmp_path, complete="renamed").reader.look() == 1
    (tmp_path / "done" / "a.pdf").rename(tmp_path / "a.pdf")
    assert await bench.reader.look() == 1
    assert bench.events.bodies() == [b"x"]


async def test_full_stream_leaves_the_file_and_is_seen(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="renamed")
    (tmp_path / "a.pdf").write_bytes(b"x")
    bench.events.failure = StreamFull("full")
    assert await bench.reader.look() == 0
    assert bench.files() == ["a.pdf"]
    assert bench.runtime.counters.get("file_not_stored", reason="stream_full") == 1
    bench.events.failure = None
    assert await bench.reader.look() == 1
    assert bench.files("done") == ["a.pdf"]


async def test_refused_and_oversized_files_step_aside_with_a_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="renamed", max_file_bytes=3)
    (tmp_path / "a.pdf").write_bytes(b"much")
    (tmp_path / "b.pdf").write_bytes(b"ok")
    assert await bench.reader.look() == 2
    assert bench.events.bodies() == [b"ok"]
    assert bench.files("failed") == ["a.pdf", "a.pdf.reason"]
    assert "max_file_bytes" in (tmp_path / "failed" / "a.pdf.reason").read_text()
    bench.events.failure = PermissionRefused("no")
    (tmp_path / "c.pdf").write_bytes(b"no")
    await bench.reader.look()
    assert "c.pdf" in bench.files("failed")


async def test_folder_that_vanishes_is_reported_and_taken_up_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, complete="renamed")
    shutil.move(tmp_path, tmp_path.with_name("elsewhere"))
    assert await bench.reader.look() == 0
    assert bench.runtime.counters.get("folder_unreadable") == 1
    shutil.move(tmp_path.with_name("elsewhere"), tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"x")
    assert await bench.reader.look() == 1


async def test_health_says_whether_it_reads(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.reader.health().condition is Condition.STOPPED
    await bench.reader.start()
    assert bench.reader.health().condition is Condition.HEALTHY
    await bench.reader.drain(timeout_s=1)
    await bench.reader.stop()
    assert bench.reader.health().condition is Condition.STOPPED


@pytest.mark.parametrize("wrong", [{"complete": "maybe"}, {"interval_s": 0}, {"type": "a b"}])
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Bench(tmp_path, **wrong)
