"""Stat goes first, nobody starves, and events of one subject keep their order."""

from __future__ import annotations

import pytest

from bus.flow import FairQueue, Priority
from bus.flow.fair_queue import QUANTA

STAT, ROUTINE, BULK = Priority.STAT, Priority.ROUTINE, Priority.BULK


def drained(queue: FairQueue[str]) -> list[str]:
    found = []
    while (item := queue.take()) is not None:
        found.append(item)
    return found


def put(queue: FairQueue[str], item: str, priority: Priority, key: str = "", cost: int = 1) -> None:
    queue.put(item, priority=priority, key=key or item, cost=cost)


def test_one_class_is_first_in_first_out() -> None:
    queue: FairQueue[str] = FairQueue()
    for n in range(50):
        put(queue, f"{n}", ROUTINE, key=f"{n % 3}")
    assert drained(queue) == [f"{n}" for n in range(50)]
    assert queue.take() is None
    assert queue.peek() is None


def test_the_more_urgent_goes_first() -> None:
    queue: FairQueue[str] = FairQueue()
    put(queue, "b", BULK)
    put(queue, "r", ROUTINE)
    put(queue, "s", STAT)
    assert queue.peek() == "s"
    assert drained(queue) == ["s", "r", "b"]


def test_a_stat_event_brings_along_what_stands_before_it_under_its_subject() -> None:
    queue: FairQueue[str] = FairQueue()
    put(queue, "other", BULK)
    put(queue, "admitted", BULK, key="p17")
    put(queue, "ordered", ROUTINE, key="p17")
    put(queue, "result", STAT, key="p17")
    put(queue, "later", ROUTINE, key="p17")
    assert drained(queue) == ["admitted", "ordered", "result", "later", "other"]


def test_a_less_urgent_event_never_passes_an_urgent_one_of_its_subject() -> None:
    queue: FairQueue[str] = FairQueue({STAT: 1, ROUTINE: 1, BULK: 100})
    for n in range(5):
        put(queue, f"s{n}", STAT, key="p")
    put(queue, "b", BULK, key="p")
    assert drained(queue) == ["s0", "s1", "s2", "s3", "s4", "b"]


def test_while_all_wait_each_class_gets_its_share() -> None:
    queue: FairQueue[str] = FairQueue()
    for n in range(2000):
        for priority in Priority:
            put(queue, priority.name, priority, key=f"{priority.name}{n}", cost=2048)
    served = [queue.take() for _ in range(21 * 40)]
    for priority, share in ((STAT, 16), (ROUTINE, 4), (BULK, 1)):
        assert served.count(priority.name) == pytest.approx(share * 40, rel=0.1)


def test_an_event_larger_than_any_quantum_passes_and_is_paid_for_later() -> None:
    queue: FairQueue[str] = FairQueue()
    put(queue, "image", BULK, cost=8 * 1024 * 1024)
    put(queue, "small", BULK, cost=100)
    assert queue.take() == "image"
    for n in range(100):
        put(queue, f"r{n}", ROUTINE, cost=10_000)
    assert queue.take() == "r0"
    assert "small" in drained(queue)


def test_what_is_dropped_costs_nothing() -> None:
    queue: FairQueue[str] = FairQueue({STAT: 1, ROUTINE: 1, BULK: 1})
    for n in range(10):
        put(queue, f"gone{n}", STAT, cost=1000)
    put(queue, "s", STAT)
    put(queue, "r", ROUTINE)
    for _ in range(10):
        queue.take(is_free=True)
    assert drained(queue) == ["s", "r"]
    assert not queue.is_waiting(STAT)


def test_each_class_needs_a_quantum() -> None:
    with pytest.raises(ValueError, match="quantum"):
        FairQueue({STAT: 1, ROUTINE: 0, BULK: 1})
    assert QUANTA[STAT] > QUANTA[ROUTINE] > QUANTA[BULK]
