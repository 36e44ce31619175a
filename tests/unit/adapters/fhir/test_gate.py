"""The circuit to a server: shut after a failure, for as long as it asked, and one at a time finds out."""

from __future__ import annotations

import asyncio

import pytest

from adapters.fhir.errors import Busy, Conflict, NotSent
from adapters.fhir.gate import ServerGate
from bus.services.balancing.breaker import Gate
from schemas.clock import FakeClock
from schemas.errors import Unavailable


def gate(clock: FakeClock) -> ServerGate:
    return ServerGate(clock, first_s=1.0, longest_s=30.0)


def state(one: ServerGate) -> Gate:
    return one.state


async def fail(one: ServerGate, error: Exception) -> None:
    with pytest.raises(type(error)):
        async with one.passing(0.0):
            raise error


async def test_failure_shuts_it_and_refusals_do_not() -> None:
    clock = FakeClock()
    one = gate(clock)
    await fail(one, Conflict(409, (), b""))
    assert state(one) is Gate.CLOSED
    await fail(one, NotSent("away"))
    assert state(one) is Gate.OPEN
    with pytest.raises(Unavailable, match="away"):
        async with one.passing(0.0):
            pytest.fail("nothing may pass")


async def test_open_time_doubles_and_retry_after_is_kept() -> None:
    clock = FakeClock()
    one = gate(clock)
    await fail(one, NotSent("away"))
    assert one.opens_in_s == 1.0
    clock.advance(1.0)
    await fail(one, NotSent("away"))
    assert one.opens_in_s == 2.0
    clock.advance(2.0)
    await fail(one, Busy(429, 7.0))
    assert one.opens_in_s == 7.0
    clock.advance(7.0)
    await fail(one, Busy(503, 0.0))
    assert one.opens_in_s == 0.0


async def test_one_probe_goes_and_success_lets_everybody_pass() -> None:
    clock = FakeClock()
    one = gate(clock)
    await fail(one, NotSent("away"))
    clock.advance(1.0)
    inside, done = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        async with one.passing(0.0):
            inside.set()
            await done.wait()

    task = asyncio.create_task(probe())
    await inside.wait()
    assert state(one) is Gate.HALF_OPEN
    with pytest.raises(Unavailable):
        async with one.passing(0.0):
            pytest.fail("a probe is under way")

    async def follower() -> None:
        async with one.passing(20.0):
            pass

    waiting = asyncio.create_task(follower())
    await asyncio.sleep(0)
    assert not waiting.done()
    done.set()
    await asyncio.gather(task, waiting)
    assert state(one) is Gate.CLOSED


async def test_probe_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    clock = FakeClock()
    one = gate(clock)
    await fail(one, NotSent("away"))
    clock.advance(1.0)
    with pytest.raises(asyncio.CancelledError):
        async with one.passing(0.0):
            raise asyncio.CancelledError
    async with one.passing(0.0):
        assert state(one) is Gate.HALF_OPEN
    assert state(one) is Gate.CLOSED


async def test_nobody_waits_while_the_adapter_drains() -> None:
    clock = FakeClock()
    one = gate(clock)
    await fail(one, Busy(503, 20.0))

    async def follower() -> None:
        async with one.passing(30.0):
            pytest.fail("nothing may pass")

    waiting = asyncio.create_task(follower())
    await asyncio.sleep(0)
    assert not waiting.done()
    one.stop_waiting()
    with pytest.raises(Unavailable):
        await waiting
