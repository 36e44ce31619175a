"""The ledger remembers what was finished, whatever was cut short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bus.events import ledger as ledger_module
from bus.events.ledger import Ledger
from schemas.errors import ConfigurationError

IDENTITY = b"evt-north/17"


def opened(path: Path, identity: bytes = IDENTITY) -> Ledger:
    ledger = Ledger(path, identity)
    ledger.open()
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "his.ledger"


def test_what_was_finished_is_known_after_a_restart(path: Path) -> None:
    first = opened(path)
    first.finish(3, b"mark-3")
    first.finish(5, b"")
    first.raise_floor(3)
    first.finish(9, b"mark-9")
    first.close()
    second = opened(path)
    assert (second.floor, second.done, second.reset) == (3, {5, 9}, False)
    assert second.marks == [b"mark-3", b"mark-9"]
    assert [seq for seq in range(1, 12) if second.is_finished(seq)] == [1, 2, 3, 5, 9]
    second.close()


def test_every_torn_tail_is_cut_and_writing_goes_on_behind_it(path: Path) -> None:
    first = opened(path)
    sizes = [path.stat().st_size]
    for seq in (2, 4, 6):
        first.finish(seq, b"mark")
        sizes.append(path.stat().st_size)
    first.close()
    whole = path.read_bytes()
    for cut in range(sizes[0], len(whole)):
        path.write_bytes(whole[:cut])
        torn = opened(path)
        complete = sum(size <= cut for size in sizes) - 1
        assert torn.done == set([2, 4, 6][:complete])
        torn.finish(8, b"")
        torn.close()
        again = opened(path)
        assert again.done == {*[2, 4, 6][:complete], 8}
        again.close()


def test_a_damaged_record_hides_only_what_follows_it(path: Path) -> None:
    first = opened(path)
    first.finish(2, b"")
    good = path.stat().st_size
    first.finish(4, b"")
    first.close()
    raw = bytearray(path.read_bytes())
    raw[good + 3] ^= 1
    path.write_bytes(raw)
    second = opened(path)
    assert (second.done, second.reset) == ({2}, False)
    second.close()


@pytest.mark.parametrize("content", [b"not a ledger at all", b"\0" * 100])
def test_a_foreign_file_starts_afresh_and_says_so(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    ledger = opened(path)
    assert (ledger.floor, ledger.done, ledger.reset) == (0, set(), True)
    ledger.close()


def test_the_ledger_of_another_stream_is_not_believed(path: Path) -> None:
    first = opened(path)
    first.finish(2, b"mark")
    first.close()
    other = opened(path, b"evt-north/18")
    assert (other.done, other.marks, other.reset) == (set(), [], True)
    other.close()


def test_compaction_keeps_what_counts_and_drops_the_rest(path: Path) -> None:
    first = opened(path)
    for seq in range(1, 2000):
        first.finish(seq, b"mark")
    first.raise_floor(1990)
    before = path.stat().st_size
    first.compact(b"the window")
    assert path.stat().st_size < before / 50
    first.finish(3000, b"new")
    first.close()
    second = opened(path)
    assert (second.floor, second.window, second.marks) == (1990, b"the window", [b"new"])
    assert second.done == {*range(1991, 2000), 3000}
    second.close()


def test_it_asks_for_compaction_when_it_has_grown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_COMPACT_BYTES", 200)
    ledger = opened(path)
    wants = [ledger.wants_compaction]
    for seq in range(1, 20):
        ledger.finish(seq, b"")
    wants.append(ledger.wants_compaction)
    assert wants == [False, True]
    ledger.close()


def test_one_reader_at_a_time_also_after_a_compaction(path: Path) -> None:
    first = opened(path)
    with pytest.raises(ConfigurationError, match="one at a time"):
        opened(path)
    first.compact(b"")
    with pytest.raises(ConfigurationError, match="one at a time"):
        opened(path)
    first.close()
    opened(path).close()


def test_a_full_disk_leaves_whole_records_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = opened(path)
    ledger.finish(1, b"")
    real = os.write

    def half(file: int, view: memoryview) -> int:
        if len(view) < 12:
            raise OSError(28, "No space left on device")
        return real(file, view[: len(view) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            ledger.finish(2, b"")
    assert ledger.is_finished(2), "within this run it is known all the same"
    ledger.finish(3, b"")
    ledger.close()
    again = opened(path)
    assert again.done == {1, 3}
    again.close()
