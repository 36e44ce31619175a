from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.console import words
from gateway.console.charts import chart, spark
from gateway.console.mesh.figures import without_partition


def test_numbers_and_times_read_as_people_say_them() -> None:
    assert [words.duration(s) for s in (0, 59, 61, 3700, 7500, 40_000, 200_000)] == [
        "0 s", "59 s", "1 min", "1 h 1 min", "2 h 5 min", "11 h", "2 d",
    ]  # fmt: skip
    assert [words.rate(r) for r in (0, 0.44, 12.2, 1234.5)] == ["0", "0.4", "12", "1\u2009234"]
    assert [words.size(n) for n in (0, 735, 2048, 50 << 20)] == [
        "0 B",
        "735 B",
        "2.0 KiB",
        "50 MiB",
    ]
    assert [words.milliseconds(n) for n in (0.44, 12.3, 1500)] == ["0.4 ms", "12 ms", "1.5 s"]
    assert [words.gap(n) for n in (-5, 12, 3400, 300_000)] == ["0 ms", "12 ms", "3.4 s", "5 min"]
    assert words.iso(1_000) == "1970-01-01T00:00:01.000Z"
    assert words.clock_ms(1_005) == "00:00:01.005"
    assert words.reason("no_such_code") == "no such code"


def test_partitions_are_one_subject() -> None:
    assert without_partition("evt.north.patient.admitted.17") == "evt.north.patient.admitted"
    assert without_partition("evt.north.patient.admitted") == "evt.north.patient.admitted"
    assert without_partition("evt.north.a.b.c") == "evt.north.a.b.c"


@given(st.lists(st.floats(0, 1e9), max_size=400))
def test_a_chart_stays_in_its_frame_whatever_it_shows(values: list[float]) -> None:
    made = chart(values, seconds_each=1.0)
    places = [tuple(map(float, one.split(","))) for one in made.points.split()]
    assert all(-0.1 <= x <= made.width and 0 <= y <= made.height for x, y in places)
    assert len(made.rows) <= 12
    flat = [tuple(map(float, one.split(","))) for one in spark(values).split()]
    assert all(-0.1 <= x <= 100.1 and 0 <= y <= 24 for x, y in flat)
