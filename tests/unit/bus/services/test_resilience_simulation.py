"""Slow, wedged, dead and overloaded instances in simulated time: what callers see, with every decision counted."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from bus.services.balancing import AdmissionSettings, BudgetSettings, LimitSettings
from bus.services.callers.settings import CallSettings, Hedge
from bus.services.protocol import Health, Priority
from tests.unit.bus.services.world import Report, SimulatedLoop, World, load, request, simulate, why

NAMES = ("a", "b", "c", "d")
SEEDS = (1, 2)


def four(loop: SimulatedLoop, seed: int, *, slow: float = 0.01) -> World:
    world = World(loop, seed)
    for name in NAMES:
        world.add(name, service_s=slow if name == "a" else 0.01)
    return world


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_one_of_four_ten_times_slower_hardly_shows_at_80_percent_load(seed: int) -> None:
    per_s = 0.8 * (3 * 800 + 80)

    async def plain(loop: SimulatedLoop) -> tuple[Report, str]:
        world = four(loop, seed, slow=0.1)
        report = await load(
            world, partial(world.call, request(), timeout_s=60.0), per_s=per_s, for_s=4.0
        )
        return report, why(world, report)

    async def ours(loop: SimulatedLoop) -> tuple[Report, str]:
        world = four(loop, seed, slow=0.1)
        caller = world.caller()
        report = await load(
            world, partial(caller.call, request(), timeout_s=60.0), per_s=per_s, for_s=4.0
        )
        return report, why(world, report)

    queue_group, told_plain = simulate(plain)
    balanced, told = simulate(ours)
    assert balanced.ms(0.99) * 20 < queue_group.ms(0.99), f"{told}\nagainst {told_plain}"
    assert not balanced.errors, told


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_idempotent", [True, False])
def test_a_wedged_instance_is_left_out_within_a_second(seed: int, is_idempotent: bool) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = four(loop, seed)
        caller = world.caller()
        ask = partial(caller.call, request(), timeout_s=2.0, idempotent=is_idempotent)
        before = await load(world, ask, per_s=500, for_s=1.0)
        world.nodes["b"].is_wedged = True
        arrived = world.nodes["b"].arrived
        after = await load(world, ask, per_s=500, for_s=4.0)
        told = why(world, after)
        stuck = world.nodes["b"].arrived - arrived
        assert not before.errors, why(world, before)
        assert stuck <= 30, f"{stuck} calls went to the wedged one: {told}"
        if is_idempotent:
            assert not after.errors, told
        else:
            assert sum(after.errors.values()) <= stuck, told
        assert world.counters.get("instance_ejected") >= 1, told

    simulate(play)


@pytest.mark.parametrize("seed", SEEDS)
def test_hedges_hide_a_wedged_instance_from_idempotent_calls(seed: int) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = four(loop, seed)
        caller = world.caller()
        ask = partial(
            caller.call, request(), timeout_s=2.0, idempotent=True, hedge_after_s=Hedge.LATE
        )
        await load(world, ask, per_s=300, for_s=1.0)
        world.nodes["b"].is_wedged = True
        report = await load(world, ask, per_s=300, for_s=3.0)
        told = why(world, report)
        assert not report.errors, told
        assert report.ms(0.995) < 100, told
        assert world.counters.get("call_hedged") <= 0.1 * world.sent + 10, told
        assert world.counters.get("hedge_won") > 0, told

    simulate(play)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_fails_when_an_instance_is_killed(seed: int) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = four(loop, seed)
        caller = world.caller()
        ask = partial(caller.call, request(), timeout_s=2.0)
        loop.call_later(1.0, world.kill, "c")
        report = await load(world, ask, per_s=1000, for_s=3.0)
        told = why(world, report)
        lost = sum(report.errors.values())
        assert lost <= 16, f"more than were at work there: {told}"
        assert world.counters.get("call_retried", reason="missing") >= 1, told

    simulate(play)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rolling_restart_under_load_fails_no_call(seed: int) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = four(loop, seed)
        caller = world.caller()

        async def restart() -> None:
            for name in NAMES:
                await asyncio.sleep(0.5)
                world.tell(name, Health.DRAINING)
                await asyncio.sleep(0.1)
                world.nodes[name].is_up = False
                await asyncio.sleep(0.2)
                world.tell(name, Health.GONE)
                world.add(name, is_new=True)

        rolling = loop.create_task(restart())
        report = await load(
            world, partial(caller.call, request(), timeout_s=2.0), per_s=1200, for_s=5.0
        )
        await rolling
        told = why(world, report)
        assert not report.errors, told
        assert report.ms(0.99) < 60, told

    simulate(play)


ADMISSION = AdmissionSettings(limit=LimitSettings(first=16))


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_overload_of_three_times_keeps_goodput_and_latency_and_ends_at_once(seed: int) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = World(loop, seed)
        for name in NAMES:
            world.add(name, service_s=0.02, admission=ADMISSION)
        caller = world.caller()
        capacity = 4 * 400
        ask = partial(caller.call, request(), timeout_s=1.0)
        await load(world, ask, per_s=0.5 * capacity, for_s=1.0)
        over = await load(world, ask, per_s=3 * capacity, for_s=4.0)
        goodput = len(over.latencies_s) / 4.0
        told = why(world, over)
        assert goodput > 0.8 * capacity, f"{goodput / capacity:.2f} of capacity: {told}"
        assert over.ms(0.99) < 200, told
        limits = {n: node.admission.limit for n, node in world.nodes.items() if node.admission}
        after = await load(world, ask, per_s=0.7 * capacity, for_s=1.0)
        told = f"limits {limits}; {why(world, after)}"
        assert len(after.latencies_s) > 0.99 * after.calls, told
        assert after.ms(0.95) < 80, told

    simulate(play)


def test_stat_calls_get_through_an_overload_of_bulk() -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = World(loop)
        for name in NAMES:
            world.add(name, service_s=0.04, admission=ADMISSION)
        caller = world.caller()
        bulk = partial(caller.call, request(Priority.BULK), timeout_s=1.0)
        stat = partial(caller.call, request(Priority.STAT), timeout_s=1.0)
        flood = loop.create_task(load(world, bulk, per_s=2400, for_s=3.0))
        report = await load(world, stat, per_s=100, for_s=3.0)
        told = f"stat: {why(world, report)}; bulk: {await flood}"
        assert len(report.latencies_s) > 0.99 * report.calls, told

    simulate(play)


@pytest.mark.parametrize("seed", SEEDS)
def test_retries_never_become_a_storm_when_everything_fails(seed: int) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = four(loop, seed)
        for node in world.nodes.values():
            node.is_erring = 0.7
        settings = CallSettings(retries=BudgetSettings(share=0.2, per_s=5.0, burst=10))
        caller = world.caller(settings)
        ask = partial(caller.call, request(), timeout_s=2.0, idempotent=True)
        report = await load(world, ask, per_s=500, for_s=4.0)
        told = why(world, report)
        bound = 1.2 * report.calls + 5 * 6 + 10
        assert world.sent <= bound, f"{world.sent} sent, {bound} allowed: {told}"
        assert world.counters.get("retry_refused", reason="budget") > 0, told

    simulate(play)


@pytest.mark.parametrize("seed", SEEDS)
def test_breakers_open_when_everything_fails_and_close_when_it_works_again(seed: int) -> None:
    async def play(loop: SimulatedLoop) -> None:
        world = four(loop, seed)
        caller = world.caller()
        for node in world.nodes.values():
            node.is_erring = 1.0
        ask = partial(caller.call, request(), timeout_s=1.0)
        bad = await load(world, ask, per_s=500, for_s=3.0)
        told = why(world, bad)
        assert world.counters.get("breaker_opened") >= 4, told
        assert sum(node.arrived for node in world.nodes.values()) < 0.1 * bad.calls, told
        for node in world.nodes.values():
            node.is_erring = 0.0
        await load(world, ask, per_s=100, for_s=6.0)
        good = await load(world, ask, per_s=500, for_s=2.0)
        told = why(world, good)
        assert not good.errors, told
        assert world.counters.get("breaker_closed") >= 1, told

    simulate(play)
