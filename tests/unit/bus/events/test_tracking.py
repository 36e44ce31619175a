"""The tracker tells new messages from those that come again."""

from __future__ import annotations

from bus.events.tracking import Arrival, Tracker


class Done:
    def __init__(self, *seqs: int) -> None:
        self.seqs = set(seqs)

    def is_finished(self, seq: int) -> bool:
        return seq in self.seqs


def test_each_message_is_new_once() -> None:
    done = Done(4)
    tracker = Tracker(done, start=1)
    assert [tracker.arrive(seq) for seq in (2, 4, 7)] == [
        Arrival.NEW, Arrival.FINISHED, Arrival.NEW,
    ]  # fmt: skip
    assert tracker.arrive(2) is Arrival.HELD
    done.seqs.add(2)
    tracker.finish(2)
    assert tracker.arrive(2) is Arrival.FINISHED
    assert tracker.lowest_unfinished() == 7


def test_reading_begins_again_at_the_lowest_unfinished() -> None:
    done = Done()
    tracker = Tracker(done, start=1)
    for seq in (1, 2, 3):
        tracker.arrive(seq)
    done.seqs.add(2)
    tracker.finish(2)
    assert tracker.lowest_unfinished() == 1
    tracker.rewound(1)
    assert [tracker.arrive(seq) for seq in (1, 2, 3, 4)] == [
        Arrival.HELD, Arrival.FINISHED, Arrival.HELD, Arrival.NEW,
    ]  # fmt: skip


def test_a_message_that_was_never_seen_below_those_read_is_gone_back_for() -> None:
    tracker = Tracker(Done(), start=1)
    tracker.arrive(1)
    tracker.arrive(9)
    assert tracker.arrive(5) is Arrival.BEHIND
    assert tracker.arrive(3) is Arrival.BEHIND
    tracker.finish(1)
    assert tracker.lowest_unfinished() == 3
    tracker.rewound(3)
    assert tracker.arrive(3) is Arrival.NEW


def test_with_nothing_held_reading_begins_behind_what_was_read() -> None:
    tracker = Tracker(Done(), start=10)
    assert tracker.lowest_unfinished() == 10
    tracker.arrive(12)
    tracker.finish(12)
    assert tracker.lowest_unfinished() == 13
