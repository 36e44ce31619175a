"""Random histories of a site: what must hold whatever happens, in whatever order."""

from __future__ import annotations

import pytest

from bus.services.protocol import Health, Seen
from tests.unit.bus.services.discovery.simulation import (
    DELAY_S,
    DEPARTURE_S,
    SETTINGS,
    Node,
    Site,
)

SLACK_S = 2 * DELAY_S + SETTINGS.tick_s
GONE_WITHIN_S = SETTINGS.lease_s + SLACK_S
SUSPECT_WITHIN_S = 3.0
FIRST_BEAT_S = SETTINGS.heartbeat_s * (1 + SETTINGS.jitter) + SLACK_S
"""After a cut the first heartbeat tells what was answered meanwhile."""
CALM_S = 2.5
LOOK_EVERY_S = 0.1
WEDGED_WITHIN_S = SETTINGS.wedged_after_s + 1.5 * SETTINGS.heartbeat_s + SLACK_S


class Judge:
    """Compares the table with the truth, ten times a second."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.blinked: dict[Node, float] = {}
        self._looked_s = -1.0

    def __call__(self) -> None:
        if self.site.now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self.site.now_s
        listed = {
            (seen.instance.service, seen.instance.id): seen
            for group in self.site.table.services().values()
            for seen in group
        }
        assert listed.keys() == self.site.mirror.keys()
        for key, seen in listed.items():
            told = self.site.mirror[key]
            assert (seen.health, seen.reason) == (told.health, told.reason)
        if self.site.is_linked:
            for node in self.site.nodes:
                self._look(node, listed.get(node.key))

    def _look(self, node: Node, seen: Seen | None) -> None:
        now_s, linked_s = self.site.now_s, self.site.now_s - self.site.link_since_s
        lasts_s = now_s - node.since_s
        calm_s = min(lasts_s, linked_s, now_s - self.blinked.get(node, -99.0))
        age_s = now_s - node.born_s
        state = None if seen is None else (seen.health, seen.reason)
        if node.state == "dead" and min(lasts_s, linked_s - SETTINGS.grace_s) > GONE_WITHIN_S:
            assert seen is None, f"{node} is listed {lasts_s:.1f} s after its death"
        if node.state == "well" and min(calm_s, age_s) > CALM_S:
            assert state == (Health.HEALTHY, ""), f"{node} is {state}"
        if node.state == "frozen" and min(lasts_s, linked_s - SETTINGS.grace_s) > SUSPECT_WITHIN_S:
            assert seen is None or seen.health is Health.SUSPECT, f"{node} is {state}"
        if node.state == "wedged" and calm_s - FIRST_BEAT_S > WEDGED_WITHIN_S:
            assert state == (Health.SUSPECT, "wedged"), f"{node} is {state}"


def disturb(site: Site, judge: Judge) -> None:
    """One thing happens."""
    well = [node for node in site.nodes if node.state == "well"]
    node = site.random.choice(well) if well else site.join()
    match site.random.randrange(9):
        case 0 | 1 | 2:
            site.join()
        case 3:
            site.leave(node)
        case 4:
            site.crash(node)
        case 5:
            site.freeze(node, site.random.uniform(0.5, 12.0))
        case 6:
            site.wedge(node, site.random.uniform(1.0, 15.0))
        case 7:
            judge.blinked[node] = site.now_s
            site.blink(node)
        case _:
            if site.is_linked:
                site.cut(site.random.uniform(0.3, 12.0), loses_leases=site.random.random() < 0.5)


@pytest.mark.parametrize("seed", range(15))
def test_no_history_lists_the_dead_or_loses_the_living(seed: int) -> None:
    site = Site(seed)
    judge = Judge(site)
    for _ in range(8):
        site.join()
    for _ in range(60):
        site.run(site.random.uniform(0.1, 6.0), judge)
        disturb(site, judge)
    site.run(30.0, judge)
    assert {node.key for node in site.nodes if node.state != "dead"} == site.mirror.keys()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_flaps_in_steady_state(seed: int) -> None:
    site = Site(seed)
    for _ in range(20):
        site.join()
    site.run(600.0, lambda: None)
    assert [seen.health for seen in site.told] == [Health.HEALTHY] * 20


def test_killed_instances_whose_departure_is_told_are_gone_with_it() -> None:
    site = Site(1)
    nodes = [site.join() for _ in range(20)]
    site.run(5.0, lambda: None)
    for node in nodes:
        node.tells_departure = True
        site.crash(node)
    site.run(DEPARTURE_S + DELAY_S, lambda: None)
    assert site.mirror == {}
    assert {seen.reason for seen in site.told[20:]} == {"disconnected"}


def test_same_seed_gives_the_same_history() -> None:
    histories = []
    for _ in range(2):
        site = Site(7)
        for _ in range(5):
            site.crash(site.join()) if site.random.random() < 0.3 else site.join()
        site.run(60.0, lambda: None)
        histories.append(site.told)
    assert histories[0] == histories[1]
