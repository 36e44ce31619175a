"""Deadlines on shared timers."""

from __future__ import annotations

import asyncio

from bus.transport.nats.deadlines import Deadlines
from tests.contract.carriers import Changes


class Expired(Changes):
    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def __call__(self, key: str) -> None:
        self.keys.append(key)
        self.changed()


async def test_key_expires_at_its_time_and_never_before() -> None:
    expired = Expired()
    deadlines = Deadlines(expired)
    loop = asyncio.get_running_loop()
    began = loop.time()
    deadlines.add("late", 0.06)
    deadlines.add("soon", 0.02)
    await expired.until(lambda: len(expired.keys) == 2)
    assert expired.keys == ["soon", "late"]
    assert loop.time() - began >= 0.06


async def test_key_that_was_taken_out_does_not_expire() -> None:
    expired = Expired()
    deadlines = Deadlines(expired)
    bucket = deadlines.add("answered", 0.01)
    deadlines.add("silent", 0.02)
    assert bucket.pop("answered", "") is None
    await expired.until(lambda: bool(expired.keys))
    assert expired.keys == ["silent"]


async def test_keys_of_one_moment_share_a_timer() -> None:
    deadlines = Deadlines(Expired())
    buckets = {id(deadlines.add(str(number), 5.0)) for number in range(1000)}
    assert len(buckets) <= 2
    deadlines.clear()


async def test_nothing_expires_once_cleared() -> None:
    expired = Expired()
    deadlines = Deadlines(expired)
    deadlines.add("a", 0.01)
    deadlines.clear()
    deadlines.add("b", 0.02)
    await expired.until(lambda: bool(expired.keys))
    assert expired.keys == ["b"]


async def test_key_may_be_added_while_others_expire() -> None:
    keys: list[str] = []
    done = asyncio.Event()

    def again(key: str) -> None:
        keys.append(key)
        if len(keys) < 3:
            deadlines.add(f"{key}+", 0.0)
        else:
            done.set()

    deadlines = Deadlines(again)
    deadlines.add("a", 0.0)
    async with asyncio.timeout(10):
        await done.wait()
    assert keys == ["a", "a+", "a++"]
