from __future__ import annotations

import dataclasses
import random

from adapters.contract import Condition, Health
from bus.services.protocol import Health as Seenness
from bus.services.protocol import Instance, Seen
from gateway.console.alerts import EMPTY, AlertBook, Change, Severity, Trouble, looked
from gateway.console.picture import Picture, Series, causes
from gateway.console.sources import Place, Stream
from gateway.console.troubles import Thresholds, troubles
from tests.unit.gateway.console.kit import letter

AFTER = 10_000
THRESHOLDS = Thresholds(stalled_after_s=60.0, oldest_s=300.0)


def trouble(key: str = "a", severity: Severity = Severity.WARNING) -> Trouble:
    return Trouble(key=key, severity=severity, words=f"{key} is wrong")


def run(seen: list[tuple[int, list[Trouble]]]) -> tuple[AlertBook, list[tuple[int, Change]]]:
    book, told = EMPTY, []
    for at_ms, there in seen:
        book, changes = looked(book, there, now_ms=at_ms, after_ms=AFTER)
        told += [(at_ms, one) for one in changes]
    return book, told


def test_trouble_that_lasts_is_one_start_and_one_clear() -> None:
    looks = [(t * 1000, [trouble()] if 5 <= t < 60 else []) for t in range(100)]
    book, told = run(looks)
    assert [(at, one.is_start) for at, one in told] == [(15_000, True), (70_000, False)]
    assert not book.open
    assert book.cleared[0].began_ms == 5000


def test_what_flutters_is_one_alert_and_not_a_flood() -> None:
    looks = [(t * 1000, [trouble()] if t < 20 or t % 3 else []) for t in range(600)]
    book, told = run(looks)
    assert len(told) == 1
    assert len(book.open) == 1


def test_what_passes_at_once_is_no_alert() -> None:
    book, told = run([(0, [trouble()]), (9000, [trouble()]), (9500, [])])
    assert not told
    assert not book.known


def test_the_worst_comes_first_and_too_many_are_bounded() -> None:
    many = [trouble(f"t{n:04}") for n in range(500)] + [trouble("worst", Severity.CRITICAL)]
    book, _ = run([(0, many), (AFTER, many)])
    assert book.open[0].trouble.key == "worst"
    assert len(book.open) == 200
    assert book.overflow == 301


def test_whatever_comes_and_goes_starts_and_clears_alternate() -> None:
    chance = random.Random(7)
    looks = [
        (at * 1000, [trouble(k) for k in "abc" if chance.random() < 0.7]) for at in range(2000)
    ]
    _, told = run(looks)
    for key in "abc":
        kinds = [one.is_start for _, one in told if one.alert.trouble.key == key]
        assert all(kind is (n % 2 == 0) for n, kind in enumerate(kinds))


def picture(**more: object) -> Picture:
    made = Picture(is_connected=True)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def keys(of: Picture, now_ms: int = 0) -> set[str]:
    return {one.key for one in troubles(of, THRESHOLDS, now_ms=now_ms)}


def test_nothing_else_is_said_while_the_mesh_is_away() -> None:
    away = picture(is_connected=False, letters={1: letter(1)})
    assert keys(away) == {"carrier_away"}


def test_sick_adapters_services_and_storage_are_trouble() -> None:
    def seen(number: int, health: Seenness) -> Seen:
        instance = Instance(service="beds", id=f"i{number}", version="1.0.0", site="test")
        return Seen(instance=instance, health=health, reason="wedged")

    group = [seen(1, Seenness.HEALTHY), seen(2, Seenness.SUSPECT)]
    of = picture(
        health={
            "his": Health(condition=Condition.DEGRADED, detail="away"),
            "emr": Health(condition=Condition.HEALTHY),
        },
        services={"beds": group},
        streams=(Stream(name="evt-test", messages=1, bytes=1, last_seq=1, is_synced=False),),
        letters={1: letter(1), 2: letter(2)},
    )
    assert keys(of) == {
        "adapter:his",
        "service:beds",
        "not_synced:evt-test",
        "dead_letters:archive",
    }
    found = {one.key: one for one in troubles(of, THRESHOLDS, now_ms=0)}
    assert found["service:beds"].severity is Severity.WARNING
    assert "2 messages" in found["dead_letters:archive"].words
    of.services = {"beds": [seen(2, Seenness.EJECTED)]}
    found = {one.key: one for one in troubles(of, THRESHOLDS, now_ms=0)}
    assert found["service:beds"].severity is Severity.CRITICAL


def test_a_destination_that_finishes_nothing_is_stalled_and_one_that_works_is_not() -> None:
    of = picture()
    stuck = Place(name="his", kind="adapter", waiting=5, finished=10)
    busy = Place(name="lab", kind="adapter", waiting=5, finished=10, oldest_ms=1)
    for second in range(100):
        busy = dataclasses.replace(busy, finished=busy.finished + 1)
        of.take_places([stuck, busy], second * 1000)
    assert keys(of, 99_000) == {"consumer_stalled:his"}
    assert keys(of, 400_000) >= {"consumer_stalled:his"}
    late = picture()
    late.take_places([dataclasses.replace(busy, oldest_ms=1000)], 400_000)
    assert keys(late, 400_000) == {"consumer_late:lab"}
    late.take_places([], 401_000)
    assert not late.moved_ms
    assert not late.place_waits


def test_a_rate_is_what_came_in_the_last_seconds_and_survives_a_counter_that_begins_anew() -> None:
    series = Series()
    for second in range(20):
        series.add(second * 10, float(second))
    assert series.rate == 10.0
    for second in range(20, 30):
        series.add(190, float(second))
    assert series.rate == 0.0
    series.add(3, 30.0)
    assert series.rate == 0.0
    series.add(5, 31.0)
    assert series.rate == 2.0


def test_dead_letters_that_differ_in_numbers_alone_have_one_cause() -> None:
    several = [letter(1), letter(2), letter(3, "his"), letter(4, reason="schema_refused")]
    groups = causes(several)
    assert [(one.consumer, len(one.letters)) for one in groups] == [
        ("archive", 2),
        ("archive", 1),
        ("his", 1),
    ]
    assert groups[0].detail == "line 2 was refused"
    assert groups[0].oldest_ms == 3000
