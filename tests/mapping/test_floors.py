"""Recall against other converters does not fall below what the tables have reached."""

from __future__ import annotations

import pytest

from tests.mapping.floors import FLOORS, MIN_FACTS, TYPE_TARGET, Floor
from tests.mapping.mapper import mapper_of
from tests.mapping.oracles import ORACLES
from tests.mapping.scoring import mapped_by, score


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_recall_holds_its_floors(name: str) -> None:
    oracle, floor = ORACLES[name], FLOORS[name]
    found = score(oracle, mapped_by(mapper_of(*oracle.layers), oracle))
    low = {
        kind: round(tally.recall, 3)
        for kind, tally in found.types.items()
        if tally.expected >= MIN_FACTS and tally.recall < floor.type_floor(kind)
    }
    assert not low
    assert found.overall.recall >= floor.overall
    assert found.set_aside <= floor.most_set_aside * (found.overall.expected + found.set_aside)


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_no_floor_is_above_its_target(name: str) -> None:
    floor: Floor = FLOORS[name]
    assert floor.overall <= 1.0
    assert all(value < TYPE_TARGET for value in floor.not_yet.values())
