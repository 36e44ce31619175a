from __future__ import annotations

from dataclasses import replace

import pytest

from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.table import Changes, Table, TableFull
from bus.services.protocol import Health, Instance, Load
from schemas.errors import ConfigurationError

SETTINGS = DiscoverySettings()
LAB = Instance(
    service="lab", id="one", version="1.2.0", site="north", connection="lab/1", started_ms=7
)
KEY = ("lab", "one")
IDLE = Load()


def table(settings: DiscoverySettings = SETTINGS) -> Table:
    made = Table(settings)
    made.hears_heartbeats = True
    made.announced(LAB, 0.0)
    return made


def beats(made: Table, seconds: int, *, begin_s: float = 0.0, load: Load = IDLE) -> float:
    """Heartbeats once a second; the time of the last."""
    now_s = begin_s
    for _ in range(seconds):
        now_s += 1.0
        made.beat(KEY, load, now_s)
        made.tick(now_s)
    return now_s


def states(changes: Changes) -> list[tuple[str, str]]:
    return [(seen.health.value, seen.reason) for seen in changes]


def test_silence_is_suspect_after_two_seconds_and_the_end_after_the_lease() -> None:
    made = table()
    now_s = beats(made, 10)
    assert made.tick(now_s + 1.9) == ()
    assert states(made.tick(now_s + 2.6)) == [("suspect", "heartbeat_late")]
    assert made.tick(now_s + 4.9) == ()
    assert states(made.tick(now_s + 5.0)) == [("gone", "lease_expired")]
    assert made.instances("lab", 1) == ()


def test_heartbeat_or_response_clears_the_suspicion() -> None:
    made = table()
    now_s = beats(made, 10)
    made.tick(now_s + 3.0)
    assert states(made.heard(KEY, IDLE, now_s + 3.1)) == [("healthy", "")]
    made.tick(now_s + 6.0)
    assert states(made.beat(KEY, IDLE, now_s + 6.1)) == [("healthy", "")]


def test_response_of_a_suspect_that_goes_on_to_miss_heartbeats_counts_for_a_while_only() -> None:
    made = table()
    now_s = beats(made, 10)
    made.tick(now_s + 3.0)
    made.heard(KEY, IDLE, now_s + 3.1)
    assert states(made.tick(now_s + 5.9)) == [("suspect", "heartbeat_late")]


def test_without_heartbeats_nobody_is_suspect_for_silence() -> None:
    made = table()
    made.hears_heartbeats = False
    made.renewed(KEY, 3.0)
    assert made.tick(4.0) == ()
    assert made.instances("lab", 1)[0].health is Health.HEALTHY


def test_instance_that_answers_nothing_while_its_work_grows_old_is_wedged() -> None:
    made = table()
    now_s = beats(made, 3, load=Load(in_flight=0, answered=9))
    told: list[tuple[str, str]] = []
    for second in range(1, 9):
        load = Load(in_flight=2, oldest_s=float(second), answered=9)
        told += states(made.beat(KEY, load, now_s + second))
    assert told == [("suspect", "wedged")]
    assert states(made.beat(KEY, Load(in_flight=1, answered=10), now_s + 9)) == [("healthy", "")]


@pytest.mark.parametrize(
    "load",
    [
        Load(in_flight=3, oldest_s=0.2, answered=9),
        Load(in_flight=0, oldest_s=0.0, answered=9),
    ],
)
def test_instance_without_old_work_is_not_wedged(load: Load) -> None:
    made = table()
    beats(made, 30, load=load)
    assert made.instances("lab", 1)[0].health is Health.HEALTHY


def test_busy_instance_with_one_long_call_is_not_wedged_while_it_answers_others() -> None:
    made = table()
    for second in range(1, 60):
        made.beat(KEY, Load(in_flight=4, oldest_s=second, answered=second), float(second))
    assert made.instances("lab", 1)[0].health is Health.HEALTHY


def test_response_clears_a_wedge() -> None:
    made = table()
    for second in range(1, 9):
        made.beat(KEY, Load(in_flight=2, oldest_s=second, answered=0), float(second))
    assert made.instances("lab", 1)[0].reason == "wedged"
    assert states(made.heard(KEY, Load(in_flight=1, answered=1), 8.5)) == [("healthy", "")]


def test_departure_takes_everything_on_that_connection_and_nothing_else() -> None:
    made = table()
    made.announced(replace(LAB, service="his"), 0.0)
    made.announced(replace(LAB, id="two", connection="lab/2"), 0.0)
    assert made.departed("nobody", 1.0) == made.departed("", 1.0) == ()
    gone = made.departed("lab/1", 1.0)
    assert states(gone) == [("gone", "disconnected")] * 2
    assert [seen.instance.id for seen in made.instances("lab", 1)] == ["two"]
    assert made.departed("lab/1", 1.0) == ()


def test_heartbeat_that_was_under_way_does_not_bring_the_dead_back() -> None:
    made = table()
    now_s = beats(made, 3)
    made.departed("lab/1", now_s)
    assert made.beat(KEY, IDLE, now_s + 0.1) == made.renewed(KEY, now_s + 0.2) == ()
    assert states(made.beat(KEY, IDLE, now_s + 0.6)) == [("healthy", "")]


def test_drained_instance_that_left_comes_back_only_by_a_new_record() -> None:
    made = table()
    assert states(made.beat(KEY, IDLE, 1.0, is_draining=True)) == [("draining", "draining")]
    assert made.heard(KEY, IDLE, 1.5) == ()
    assert states(made.unleased(KEY, 2.0)) == [("gone", "left")]
    assert made.beat(KEY, IDLE, 3.0) == made.renewed(KEY, 3.0) == made.heard(KEY, IDLE, 3.0) == ()
    assert states(made.announced(replace(LAB, started_ms=8), 4.0)) == [("healthy", "")]


def test_instance_that_drained_and_stays_is_healthy_again() -> None:
    made = table()
    made.beat(KEY, IDLE, 1.0, is_draining=True)
    assert states(made.beat(KEY, IDLE, 2.0)) == [("healthy", "")]


def test_lost_lease_is_no_end_while_heartbeats_come() -> None:
    made = table()
    now_s = beats(made, 5)
    assert made.unleased(KEY, now_s + 0.1) == ()
    now_s = beats(made, 20, begin_s=now_s)
    assert made.instances("lab", 1)[0].health is Health.HEALTHY
    assert states(made.tick(now_s + 2.5)) == [("gone", "lease_expired")]


def test_lost_lease_after_a_silence_is_the_end_at_once() -> None:
    made = table()
    now_s = beats(made, 5)
    assert states(made.unleased(KEY, now_s + 3.0)) == [("gone", "lease_expired")]


def test_missing_instance_that_goes_on_to_beat_stays_away_longer_each_time() -> None:
    made = table()
    now_s, away_s = 0.0, []
    for _ in range(8):
        made.missing(KEY, now_s)
        since_s = now_s
        while KEY not in made:
            now_s += 0.05
            made.beat(KEY, IDLE, now_s)
        away_s.append(round(now_s - since_s, 1))
    assert away_s == sorted(away_s)
    assert away_s[0] <= 0.3
    assert away_s[-1] >= SETTINGS.hold_max_s
    made.heard(KEY, IDLE, now_s)
    made.missing(KEY, now_s)
    assert states(made.beat(KEY, IDLE, now_s + 0.3)) == [("healthy", "")]


def test_nothing_is_concluded_while_our_own_link_is_lost_nor_right_after() -> None:
    made = table()
    now_s = beats(made, 5)
    made.linked(False, now_s)
    assert made.tick(now_s + 3600) == ()
    assert made.unleased(KEY, now_s + 3600) == ()
    made.linked(True, now_s + 3600)
    assert made.tick(now_s + 3604.9) == ()
    assert states(made.tick(now_s + 3605.1)) == [("gone", "lease_expired")]


def test_restarted_process_takes_the_place_of_the_old_one() -> None:
    made = table()
    made.beat(KEY, Load(in_flight=7), 1.0)
    changed = made.announced(replace(LAB, version="2.0.0", started_ms=8), 2.0)
    assert [seen.instance.version for seen in changed] == ["2.0.0"]
    assert made.instances("lab", 1) == ()
    assert made.instances("lab", 2)[0].load == IDLE


def test_record_signed_anew_changes_nothing() -> None:
    made = table()
    assert made.announced(LAB, 1.0) == ()


def test_record_that_is_not_believed_any_more_takes_its_instance_away_for_good() -> None:
    made = table()
    assert states(made.refused(KEY, 1.0)) == [("gone", "record_refused")]
    assert made.beat(KEY, IDLE, 5.0) == ()


def test_table_is_bounded() -> None:
    made = table(DiscoverySettings(max_instances=2))
    made.announced(replace(LAB, id="two"), 0.0)
    with pytest.raises(TableFull, match="max_instances"):
        made.announced(replace(LAB, id="three"), 0.0)
    made.departed("lab/1", 1.0)
    made.announced(replace(LAB, id="three"), 2.0)
    made.announced(replace(LAB, id="four"), 2.0)
    assert made.beat(KEY, IDLE, 3.0) == ()  # no room to come back
    assert len(made) == 2


def test_the_gone_are_forgotten() -> None:
    made = table()
    made.departed("lab/1", 1.0)
    assert made.knows(KEY)
    made.tick(1.0 + SETTINGS.remember_s)
    assert not made.knows(KEY)


def test_unknown_instances_do_nothing() -> None:
    made = table()
    other = ("lab", "other")
    assert made.beat(other, IDLE, 1.0) == made.renewed(other, 1.0) == ()
    assert made.heard(other, IDLE, 1.0) == made.missing(other, 1.0) == ()
    assert made.unleased(other, 1.0) == made.refused(other, 1.0) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_s": 0.0},
        {"lease_s": 3.0},
        {"jitter": 1.0},
        {"tick_s": -1.0},
        {"max_instances": 0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"discovery\."):
        DiscoverySettings(**wrong)  # type: ignore[arg-type]  # the names are the settings'
