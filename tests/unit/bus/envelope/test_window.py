from __future__ import annotations

import pytest

from bus.envelope import Reason
from bus.envelope.window import Mark, ReplayWindow
from tests.unit.bus.envelope.world import reason_of

A, B, RUN = b"a" * 16, b"b" * 16, b"r" * 8


def mark(
    seq: int, index: int = 0, *, signer: bytes = A, run: bytes = RUN, at_ms: int = 1000
) -> Mark:
    return Mark(signer, run, seq, index, at_ms, at_ms + 10_000)


def window(*, max_runs: int = 8, max_batches: int = 64) -> ReplayWindow:
    return ReplayWindow(max_runs=max_runs, max_batches=max_batches)


def test_only_what_was_marked_is_seen() -> None:
    seen = window()
    seen.mark(mark(5, 3), now_ms=1000)
    assert seen.is_seen(A, RUN, 5, 3, 1000)
    for other in ((B, RUN, 5, 3), (A, b"s" * 8, 5, 3), (A, RUN, 4, 3), (A, RUN, 5, 2)):
        assert not seen.is_seen(*other, 1000)


def test_at_the_bound_the_oldest_batches_of_the_largest_run_are_refused() -> None:
    seen = window(max_batches=64)
    seen.mark(mark(0, signer=B), now_ms=1000)
    for seq in range(0, 200, 2):
        seen.mark(mark(seq), now_ms=1000)
        assert len(seen) <= 64
    for seq in range(0, 200, 2):
        assert seen.is_seen(A, RUN, seq, 0, 1000)
    assert seen.is_seen(A, RUN, 1, 0, 1000)  # never marked, but too old to tell
    assert not seen.is_seen(A, RUN, 199, 0, 1000)
    assert not seen.is_seen(B, RUN, 1, 0, 1000)
    seen.mark(mark(1), now_ms=1000)  # a late acknowledgement changes nothing
    assert len(seen) <= 64


def test_a_jump_in_the_numbers_forgets_nothing() -> None:
    seen = window()
    seen.mark(mark(0), now_ms=1000)
    seen.mark(mark((1 << 64) - 1), now_ms=1000)
    assert not seen.is_seen(A, RUN, 7, 0, 1000)
    assert seen.is_seen(A, RUN, (1 << 64) - 1, 0, 1000)


def test_forgotten_run_is_refused_by_its_age() -> None:
    seen = window(max_runs=2)
    for number in range(3):
        seen.mark(mark(0, run=b"run-%04d" % number, at_ms=1000 + number), now_ms=2000)
    assert seen.is_seen(A, b"run-0000", 0, 0, 1000)
    assert seen.is_seen(A, b"run-0000", 9, 9, 1000)
    assert not seen.is_seen(A, b"run-0009", 0, 0, 1001)


def test_late_acknowledgement_of_a_forgotten_run_does_not_open_it_again() -> None:
    seen = window(max_runs=2)
    for number in range(3):
        seen.mark(mark(0, run=b"run-%04d" % number, at_ms=1000), now_ms=2000)
    seen.mark(mark(7, run=b"run-0000", at_ms=1000), now_ms=2000)
    assert seen.is_seen(A, b"run-0000", 0, 0, 1000)
    assert not seen.is_seen(A, b"run-0000", 9, 0, 1001)


def test_run_whose_messages_have_expired_goes_first_and_raises_no_floor() -> None:
    seen = window(max_runs=2)
    seen.mark(mark(0, run=b"run-0001", at_ms=90_000), now_ms=0)
    seen.mark(mark(0, run=b"run-0000", at_ms=1000), now_ms=0)
    seen.mark(mark(0, run=b"run-0002", at_ms=90_000), now_ms=50_000)
    assert seen.is_seen(A, b"run-0001", 0, 0, 90_000)
    assert not seen.is_seen(A, b"run-0000", 0, 0, 1000)  # expiry refuses it
    assert len(seen) == 2


def test_snapshot_brings_everything_back() -> None:
    seen = window()
    for seq in range(40):
        for index in range(0, seq, 3):
            seen.mark(mark(seq, index), now_ms=1000)
    seen.mark(mark(7, 1023, signer=B), now_ms=1000)
    again = window()
    again.restore(seen.to_bytes())
    assert again.to_bytes() == seen.to_bytes()
    assert len(again) == len(seen)
    assert again.is_seen(B, RUN, 7, 1023, 0)
    assert not again.is_seen(B, RUN, 7, 1022, 0)


def test_snapshot_of_larger_bounds_is_brought_under_ours() -> None:
    large = window(max_runs=100, max_batches=1000)
    for number in range(10):
        for seq in range(50):
            large.mark(mark(seq, run=b"run-%04d" % number, at_ms=number), now_ms=0)
    small = window(max_runs=4, max_batches=64)
    small.restore(large.to_bytes())
    assert len(small) <= 64
    for number in range(10):
        for seq in range(50):
            assert small.is_seen(A, b"run-%04d" % number, seq, 0, number)


def test_damaged_snapshot_is_refused_and_changes_nothing() -> None:
    seen = window()
    seen.mark(mark(1), now_ms=0)
    snapshot = seen.to_bytes()
    for at in range(len(snapshot)):
        damaged = snapshot[:at] + bytes((snapshot[at] ^ 1,)) + snapshot[at + 1 :]
        assert reason_of(seen.restore, damaged) is Reason.MALFORMED
        assert reason_of(seen.restore, snapshot[:at]) is Reason.MALFORMED
    assert seen.to_bytes() == snapshot


def test_whole_snapshot_of_another_length_is_refused() -> None:
    """With a checksum that is right: a format of another version."""
    from hashlib import sha256

    text = window().to_bytes()[:-16][:-1]
    assert reason_of(window().restore, text + sha256(text).digest()[:16]) is Reason.MALFORMED


def test_mark_survives_a_journal() -> None:
    one = mark(7, 1023)
    assert Mark.from_bytes(one.to_bytes()) == one
    assert len(one.to_bytes()) == 52


@pytest.mark.parametrize("raw", [b"", bytes(51), bytes(53), mark(0, 1024).to_bytes()])
def test_damaged_mark_is_refused(raw: bytes) -> None:
    assert reason_of(Mark.from_bytes, raw) is Reason.MALFORMED
