"""Runs with crashes, lost answers, delays, repeats: no double effect, no lost compensation, every saga ends.

480 runs; 1 200 with `MEDMESH_FULL=1` in the environment.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest

from bus.transactions.machine import Status
from tests.simulation.sagas.world import STEPS, World
from tests.unit.bus.events.kit import run_jumping

RUNS = 1_200 if os.environ.get("MEDMESH_FULL") == "1" else 480
CHUNKS = 12
VISITS = 3


async def one_run(seed: int) -> Counter[str]:
    world = await World.create(seed)
    ends = await world.run(VISITS)
    assert len(ends) == VISITS, f"seed {seed}: a saga was lost"
    world.chaos.is_over = True
    # what is still on its way arrives after everything is over
    while late := [task for system in world.systems.values() for task in system.on_the_way]:
        await asyncio.wait(late)
    for number in range(VISITS):
        await check_visit(world, seed, number, ends[f"visit-{number}"])
    seen: Counter[str] = Counter(status.value for status in ends.values())
    seen["crashes"] += world.crashes
    seen["stuck"] += world.counters.get("saga_stuck")
    seen["failed attempts"] += world.counters.get("saga_step_failed")
    return seen


async def check_visit(world: World, seed: int, number: int, end: Status) -> None:
    where = f"seed {seed}, visit {number}, {end.value}"
    for name in STEPS:
        effects = await world.systems[name].effects_of(number)
        check_effects(effects, end, f"{where}, {name}")
    async with world.database.transaction() as transaction:
        sql = "select what from ward where visit = ? order by rowid"
        ward = [str(row[0]) for row in await transaction.fetch(sql, (number,))]
    check_effects(ward, end, f"{where}, ward")
    published = [one.body for one in world.mesh.stored.values() if one.body.startswith(b"%d:" % number)]  # fmt: skip
    said = {"act": b"%d:admitted" % number, "undo": b"%d:cancelled" % number}
    assert published == [said[one] for one in ward], f"{where}: published {published}"


def check_effects(effects: list[str], end: Status, where: str) -> None:
    if end is Status.COMPLETED:
        assert effects == ["act"], f"{where}: {effects}"
    else:
        assert effects in ([], ["act", "undo"]), f"{where}: {effects}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_saga_ends_whole_or_undone(chunk: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(chunk, RUNS, CHUNKS):
        seen += run_jumping(one_run(seed))
    print(dict(seen))
    assert seen["completed"] + seen["compensated"] == VISITS * RUNS // CHUNKS
    for kind in ("completed", "compensated", "crashes", "stuck", "failed attempts"):
        assert seen[kind], f"these runs saw no {kind}"
