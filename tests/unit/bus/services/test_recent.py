"""Second tries are known for a while, within bounds."""

from __future__ import annotations

import asyncio

from bus.services.recent import ANSWERED_BEFORE, Key, Known, RecentCalls
from bus.services.wire import Answer


def key(number: int) -> Key:
    return "spiffe://m/north/emr", "assign", number.to_bytes(16, "big")


def worked(recent: RecentCalls, number: int, *, body: bytes = b"", at_s: float = 0.0) -> None:
    recent.begin(key(number), b"d")
    recent.end(key(number), Answer(body=body), at_s)


def calls(**more: float) -> RecentCalls:
    bounds = {"keep_s": 10.0, "max_calls": 100, "max_bytes": 1000, **more}
    return RecentCalls(
        keep_s=bounds["keep_s"],
        max_calls=int(bounds["max_calls"]),
        max_bytes=int(bounds["max_bytes"]),
    )


async def test_try_while_the_first_is_in_work_waits_for_its_answer() -> None:
    recent = calls()
    recent.begin(key(1), b"d")
    assert recent.look(key(1), b"d", 1e9) is Known.SAME
    waiting = asyncio.ensure_future(asyncio.shield(recent.answer(key(1))))
    recent.end(key(1), Answer(body=b"bed 7"), 0.0)
    assert (await waiting).body == b"bed 7"


async def test_answer_is_kept_for_its_time() -> None:
    recent = calls()
    worked(recent, 1, body=b"bed 7", at_s=5.0)
    assert recent.look(key(1), b"d", 14.9) is Known.SAME
    assert (await recent.answer(key(1))).body == b"bed 7"
    assert recent.look(key(1), b"d", 15.0) is Known.NEW
    assert (len(recent), recent.kept_bytes) == (0, 0)


async def test_id_of_another_request_is_told() -> None:
    recent = calls()
    worked(recent, 1)
    assert recent.look(key(1), b"other", 0.0) is Known.OTHER
    assert recent.look(key(2), b"d", 0.0) is Known.NEW


async def test_bodies_go_first_and_that_it_was_answered_stays_known() -> None:
    recent = calls()
    for number in range(5):
        worked(recent, number, body=b"x" * 300)
    assert recent.kept_bytes <= 1000
    assert recent.look(key(0), b"d", 0.0) is Known.SAME
    assert (await recent.answer(key(0))).code == ANSWERED_BEFORE
    assert (await recent.answer(key(4))).body == b"x" * 300


async def test_calls_are_bounded_and_those_in_work_stay() -> None:
    recent = calls(max_calls=10)
    recent.begin(key(0), b"d")
    for number in range(1, 50):
        worked(recent, number, body=b"x")
    assert len(recent) == 11
    assert recent.look(key(0), b"d", 0.0) is Known.SAME
    assert recent.look(key(1), b"d", 0.0) is Known.NEW
    assert recent.kept_bytes == 10
