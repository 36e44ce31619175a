"""The order of concurrent `store` calls."""

from __future__ import annotations

import asyncio

from bus.transport.nats.turns import Turns


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_call_sends_when_the_earlier_one_has_sent_on_the_same_connection() -> None:
    turns = Turns()
    first, second = turns.take(), turns.take()
    waiting = asyncio.create_task(turns.to_send(second, lambda: 1))
    await settle()
    assert not waiting.done()
    turns.sent(first, 1)
    await settle()
    assert waiting.done()


async def test_a_call_on_a_new_connection_waits_for_what_the_old_one_left_open() -> None:
    turns = Turns()
    first, second = turns.take(), turns.take()
    turns.sent(first, 1)
    waiting = asyncio.create_task(turns.to_send(second, lambda: 2))
    await settle()
    assert not waiting.done()
    turns.leave(first)
    await settle()
    assert waiting.done()


async def test_a_call_in_doubt_holds_later_ones_back() -> None:
    turns = Turns()
    first, second = turns.take(), turns.take()
    turns.sent(first, 1)
    assert await turns.to_mend(first)
    waiting = asyncio.create_task(turns.to_send(second, lambda: 1))
    await settle()
    assert not waiting.done()
    turns.leave(first)
    await settle()
    assert waiting.done()


async def test_calls_mend_in_the_order_in_which_they_were_made() -> None:
    turns = Turns()
    first, second = turns.take(), turns.take()
    turns.sent(first, 1)
    turns.sent(second, 1)
    mending = asyncio.create_task(turns.to_mend(second))
    await settle()
    assert not mending.done()
    turns.leave(first)
    assert await mending


async def test_what_a_later_call_has_overtaken_is_not_sent_again() -> None:
    turns = Turns()
    first, second = turns.take(), turns.take()
    turns.sent(first, 1)
    turns.sent(second, 1)
    turns.stored(second)
    assert not await turns.to_mend(first)
    turns.leave(first)
    assert await turns.to_mend(second), "its own messages do not count against it"
