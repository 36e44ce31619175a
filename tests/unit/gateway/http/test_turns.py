"""One timer tells everything that is late, in order, and nothing that is done."""

from __future__ import annotations

import asyncio

from gateway.http.turns import Turns


class _One:
    def __init__(self, told: list[_One], *, after: asyncio.Event | None = None) -> None:
        self._told = told
        self._after = after

    def late(self) -> None:
        self._told.append(self)
        if self._after is not None:
            self._after.set()


async def test_what_is_still_there_is_told_in_order() -> None:
    turns, told, all_told = Turns(0.01), list[_One](), asyncio.Event()
    first, second = _One(told), _One(told, after=all_told)
    turns.add(first)
    turns.add(second)
    async with asyncio.timeout(5):
        await all_told.wait()
    assert told == [first, second]


async def test_what_was_removed_is_never_told() -> None:
    turns, told, last_told = Turns(0.01), list[_One](), asyncio.Event()
    gone, last = _One(told), _One(told, after=last_told)
    turns.add(gone)
    turns.add(last)
    turns.remove(gone)
    async with asyncio.timeout(5):
        await last_told.wait()
    assert told == [last]


async def test_what_comes_after_everything_was_told_is_told_too() -> None:
    turns, told = Turns(0.01), list[_One]()
    for count in (1, 2):
        one_told = asyncio.Event()
        turns.add(_One(told, after=one_told))
        async with asyncio.timeout(5):
            await one_told.wait()
        assert len(told) == count


async def test_nothing_is_kept_of_what_was_removed() -> None:
    turns = Turns(60)
    for _ in range(100):
        one = _One([])
        turns.add(one)
        turns.remove(one)
        turns.remove(one)
    assert not turns._waiting
