"""Keys on the ring: few move when instances come and go, everyone agrees, shares are fair, loads bounded."""

from __future__ import annotations

from collections import Counter
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.services.balancing import BalancingSettings, Ring
from bus.services.protocol import Attempt, Outcome
from tests.unit.bus.services.balancing.kit import Bench

KEYS = [b"key-%d" % n for n in range(2000)]
members = st.sets(st.from_regex(r"[a-z0-9]{4,12}", fullmatch=True), min_size=2, max_size=24)


def owners(ring: Ring) -> dict[bytes, str]:
    return {key: next(ring.walk(key)) for key in KEYS}


def ring_of(names: set[str], weight: int = 100) -> Ring:
    ring = Ring()
    ring.update(dict.fromkeys(names, weight))
    return ring


@settings(max_examples=25, deadline=None)
@given(members, st.data())
def test_when_one_leaves_only_its_keys_move(names: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(names)))
    ring = ring_of(names)
    before = owners(ring)
    ring.update(dict.fromkeys(names - {gone}, 100))
    after = owners(ring)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(before[key] == gone for key in moved)
    share = len(moved) / len(KEYS)
    assert share < 2.5 / len(names), f"{share:.1%} of the keys moved from 1 of {len(names)}"


@settings(max_examples=25, deadline=None)
@given(members, st.data())
def test_when_one_joins_keys_move_only_to_it(names: set[str], data: st.DataObject) -> None:
    new = data.draw(st.sampled_from(sorted(names)))
    ring = ring_of(names - {new})
    before = owners(ring)
    ring.update(dict.fromkeys(names, 100))
    after = owners(ring)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(after[key] == new for key in moved)
    share = len(moved) / len(KEYS)
    assert share < 2.5 / len(names), f"{share:.1%} of the keys moved to 1 of {len(names)}"


@settings(max_examples=25, deadline=None)
@given(st.lists(members, min_size=1, max_size=5))
def test_callers_agree_whatever_they_saw_before(history: list[set[str]]) -> None:
    ring = Ring()
    for names in history:
        ring.update(dict.fromkeys(names, 100))
    fresh = ring_of(history[-1])
    for key in KEYS[:50]:
        assert list(ring.walk(key)) == list(fresh.walk(key))
        assert set(ring.walk(key)) == history[-1]


def test_shares_follow_weights() -> None:
    ring = Ring()
    ring.update({"small": 50, "usual": 100, "large": 200})
    counts = Counter(owners(ring).values())
    for name, weight in {"small": 50, "usual": 100, "large": 200}.items():
        fair = len(KEYS) * weight / 350
        assert 0.6 * fair < counts[name] < 1.5 * fair, counts


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 12),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=200),
)
def test_no_instance_has_more_than_its_bound(size: int, steps: list[tuple[int, bool]]) -> None:
    floor, factor = 2, 1.25
    bench = Bench(
        [f"m{n}" for n in range(size)],
        settings=BalancingSettings(sticky_in_flight=floor, load_bound=factor),
    )
    held: list[Attempt] = []
    for key, is_end in steps:
        if is_end and held:
            held.pop(0).ended(Outcome.ANSWERED)
            continue
        attempt = bench.picker.pick(key=b"%d" % key)
        held.append(attempt)
        loads = Counter(one.instance.id for one in held)
        bound = max(floor, ceil(factor * len(held) / size))
        assert loads[attempt.instance.id] <= bound, (loads, bound)
