"""A store is far when no probe ever comes back soon."""

from __future__ import annotations

from bus.flow import Distance


def distance_of(*probes_s: float) -> Distance:
    distance = Distance()
    for probe_s in probes_s:
        distance.probed(probe_s)
    return distance


def test_load_makes_no_near_store_far() -> None:
    assert not distance_of().is_long
    assert not distance_of(0.001, 0.5, 0.5).is_long
    assert distance_of(0.001, 0.5, 0.5, 0.5).is_long
    assert not distance_of(0.5, 0.5, 0.5, 0.002).is_long
    assert distance_of(0.5, 0.03).rtt_s == 0.03
    assert distance_of().rtt_s == 0.0


def test_a_probe_is_due_at_first_after_a_while_and_when_the_connection_may_lead_elsewhere() -> None:
    distance = distance_of(0.05)
    assert distance.is_due(0.0)
    distance.begun(0.0)
    assert not distance.is_due(1.0)
    assert distance.is_due(31.0)
    distance.begun(31.0)
    distance.doubt()
    assert distance.is_due(32.0)
    assert distance.is_long, "until it is known better"
    distance.probed(0.001)
    distance.doubt()
    distance.probed(0.1)
    assert distance.is_long, "what was known of the other way does not count"
