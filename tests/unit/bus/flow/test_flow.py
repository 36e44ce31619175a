"""Lanes, backoff, credits and rates keep their promises."""

from __future__ import annotations

import random

import pytest

from bus.events.protocol import RetryPolicy
from bus.flow import Credits, Lanes, Step, TokenBucket, backoff_s, lane_of

POLICY = RetryPolicy(first_delay_s=0.5, longest_delay_s=30.0, multiplier=2.0, jitter=0.2)


def test_delays_grow_up_to_the_longest_and_are_spread_by_chance() -> None:
    chance = random.Random(1)
    for failures, full_s in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)]:
        delays = [backoff_s(POLICY, failures, chance) for _ in range(50)]
        assert all(full_s * 0.8 < delay <= full_s for delay in delays)
        assert len(set(delays)) > 40


def test_a_partition_keeps_its_lane_and_one_lane_takes_all() -> None:
    assert {lane_of(p, 1) for p in range(64)} == {0}
    assert [lane_of(p, 8) for p in (0, 7, 8, 63)] == [0, 7, 0, 7]


def test_the_head_of_a_lane_is_worked_alone_and_first() -> None:
    lanes: Lanes[str] = Lanes(2)
    lanes.put(0, "a")
    lanes.put(0, "b")
    lanes.put(1, "c")
    assert (lanes.take(0, 0.0), lanes.take(0, 0.0), lanes.take(1, 0.0)) == ("a", None, "c")
    assert lanes.done(0) == "a"
    assert lanes.take(0, 0.0) == "b"
    assert len(lanes) == 2


def test_a_waiting_head_keeps_its_place_until_it_is_due_or_hastened() -> None:
    lanes: Lanes[str] = Lanes(1)
    lanes.put(0, "a")
    lanes.put(0, "b")
    lanes.take(0, 0.0)
    lanes.wait(0, 5.0)
    assert lanes.step(0) is Step.WAITING
    assert lanes.take(0, 4.9) is None
    assert lanes.hasten(0, 1.0)
    assert lanes.take(0, 1.0) == "a"
    assert not lanes.hasten(0, 1.0)


def test_a_head_moves_to_the_end_of_another_lane() -> None:
    lanes: Lanes[str] = Lanes(2)
    lanes.put(0, "order")
    lanes.put(1, "first")
    lanes.take(0, 0.0)
    lanes.move(0, 1)
    assert lanes.step(0) is Step.EMPTY
    assert lanes.take(1, 0.0) == "first"
    lanes.done(1)
    assert lanes.take(1, 0.0) == "order"


def test_only_what_is_in_hand_can_be_done_or_wait() -> None:
    lanes: Lanes[str] = Lanes(1)
    lanes.put(0, "a")
    with pytest.raises(ValueError, match="not in hand"):
        lanes.done(0)
    with pytest.raises(ValueError, match="not in hand"):
        lanes.wait(0, 1.0)
    with pytest.raises(ValueError, match="at least 1"):
        Lanes(0)


def test_credit_never_exceeds_the_limit_and_comes_in_quarters() -> None:
    credits_ = Credits(8)
    assert credits_.due() == 8
    assert credits_.due() == 0
    for _ in range(8):
        credits_.arrived()
    assert (credits_.due(), credits_.held, credits_.expected) == (0, 8, 0)
    credits_.let_go()
    assert credits_.due() == 1  # nothing is on its way, so even one counts
    credits_.let_go()
    assert credits_.due() == 0  # one is on its way, and a quarter is two
    credits_.let_go()
    assert credits_.due() == 2
    with pytest.raises(ValueError, match="at least 1"):
        Credits(0)
    with pytest.raises(ValueError, match="held"):
        Credits(1).let_go()


def test_a_token_bucket_lets_a_burst_pass_and_then_the_rate() -> None:
    bucket = TokenBucket(per_s=2.0, burst=3, now_s=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0) == pytest.approx(0.5)
    assert bucket.take(0.5) == 0.0
    assert bucket.take(100.0, 3) == 0.0
    assert bucket.take(50.0) > 0.0, "a clock that goes back gives nothing"
    with pytest.raises(ValueError, match="burst"):
        bucket.take(100.0, 4)
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(per_s=0.0, burst=1, now_s=0.0)
