"""The doctor's judgement: when is something wrong, and does it say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.transport.protocol import StreamState
from medmesh.doctor import machine, streams
from medmesh.doctor.finding import Verdict
from schemas.clock import FakeClock


def state(**changes: object) -> StreamState:
    fields: dict[str, object] = {
        "name": "evt-north", "messages": 10, "bytes": 1000, "first_seq": 1, "last_seq": 10,
        "replicas": 1, "sync_always": True, **changes,
    }  # fmt: skip
    return StreamState(**fields)  # type: ignore[arg-type]  # a table of changes for one test


@pytest.mark.parametrize(
    ("sync", "verdict", "words"),
    [
        (True, Verdict.GOOD, "on the disk before it is acknowledged"),
        (False, Verdict.WRONG, "a power cut loses what was acknowledged"),
        (None, Verdict.NOTE, "nothing here is called durable"),
    ],
)
def test_only_a_server_that_syncs_always_is_called_durable(
    sync: bool | None, verdict: Verdict, words: str
) -> None:
    finding = streams.durability(state(sync_always=sync))
    assert finding.verdict is verdict
    assert words in finding.saw
    assert (finding.advice == "") is (sync is True)


@pytest.mark.parametrize(("size", "verdict"), [(799, Verdict.GOOD), (800, Verdict.WRONG)])
def test_a_stream_is_called_full_before_it_is(size: int, verdict: Verdict) -> None:
    assert streams.fill(state(bytes=size), 1000, "limits.event_bytes").verdict is verdict


def test_dead_letters_are_pointed_at() -> None:
    assert streams.letters(state(messages=0)).verdict is Verdict.GOOD
    assert "medmesh dlq ls" in streams.letters(state(messages=3)).advice


def test_the_machine_is_checked_where_the_data_will_be(tmp_path: Path) -> None:
    findings = machine.check_machine(tmp_path / "not" / "yet", FakeClock(), event_bytes=1)
    checks = {finding.check: finding for finding in findings}
    assert {"python", "disk", "fsync", "open files"} <= checks.keys()
    assert checks["fsync"].verdict is Verdict.GOOD
    assert not (tmp_path / "not").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_clock_of_last_century_is_wrong(tmp_path: Path) -> None:
    findings = machine.check_machine(tmp_path, FakeClock(now_ms=0), event_bytes=1)
    (clock,) = [finding for finding in findings if finding.check == "clock"]
    assert (clock.verdict, "chrony" in clock.advice) == (Verdict.WRONG, True)


def test_a_limit_beyond_the_disk_is_a_note(tmp_path: Path) -> None:
    findings = machine.check_machine(tmp_path, FakeClock(), event_bytes=1 << 62)
    (disk,) = [finding for finding in findings if finding.check == "disk"]
    assert disk.verdict is Verdict.NOTE
