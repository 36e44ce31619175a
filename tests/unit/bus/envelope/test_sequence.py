from __future__ import annotations

from bus.envelope.sequence import Sequence

A, RUN = b"a" * 16, b"r" * 8


def sequence(*, max_subjects: int = 8, max_runs: int = 8) -> Sequence:
    return Sequence(max_subjects=max_subjects, max_runs=max_runs)


def test_gap_counts_what_is_missing_and_what_comes_late() -> None:
    order = sequence()
    gaps = [order.gap(A, RUN, "s", number) for number in (4, 5, 8, 6, 9, 9)]
    assert gaps == [0, 0, 2, -3, 0, -1]


def test_run_followed_from_its_start_misses_its_first_messages() -> None:
    order = sequence()
    assert order.chain(A, RUN, 0, b"", b"r0")
    assert order.gap(A, RUN, "s", 3) == 2
    assert order.gap(A, RUN, "t", 1) == 0


def test_forgotten_subject_is_no_gap() -> None:
    order = sequence(max_subjects=2)
    order.chain(A, RUN, 0, b"", b"r0")
    for subject in ("s", "t", "u"):
        assert order.gap(A, RUN, subject, 1) == 0
    assert len(order) == 2
    assert order.gap(A, RUN, "s", 9) == 0


def test_forgetting_a_subject_of_an_unknown_run_does_no_harm() -> None:
    order = sequence(max_subjects=1)
    assert order.gap(A, RUN, "s", 4) == 0
    assert order.gap(A, RUN, "t", 4) == 0


def test_chain_holds_in_order_with_holes_and_backwards() -> None:
    order = sequence()
    assert order.chain(A, RUN, 3, b"r2", b"r3")
    assert order.chain(A, RUN, 4, b"r3", b"r4")
    assert order.chain(A, RUN, 4, b"r3", b"r4")
    assert order.chain(A, RUN, 9, b"r8", b"r9")
    assert order.chain(A, RUN, 8, b"r7", b"r8")
    assert order.chain(A, RUN, 5, b"r4", b"r5")  # too far back to compare


def test_chain_breaks_where_two_histories_meet() -> None:
    order = sequence()
    order.chain(A, RUN, 3, b"r2", b"r3")
    assert not order.chain(A, RUN, 3, b"r2", b"other")
    assert not order.chain(A, RUN, 2, b"r1", b"other")
    assert not order.chain(A, RUN, 4, b"other", b"r4")
    assert not order.chain(A, b"new run.", 0, b"prev", b"r0")


def test_runs_are_bounded() -> None:
    order = sequence(max_runs=2)
    for number in range(5):
        assert order.chain(A, b"run-%04d" % number, 0, b"", b"r0")
    assert order.chain(A, b"run-0000", 0, b"", b"other")  # forgotten: nothing to compare with
