from __future__ import annotations

from bus.telemetry.counters import Counters


def test_counts_are_kept_by_component_and_reason() -> None:
    counters = Counters()
    counters.add("message_stored", who="emr-in")
    counters.add("message_stored", who="emr-in", count=2)
    counters.add("envelope_refused", who="his-out", reason="replayed")
    assert counters.get("message_stored") == 3
    assert counters.get("envelope_refused", reason="replayed") == 1
    assert counters.get("envelope_refused", who="emr-in") == 0


def test_a_snapshot_does_not_change_afterwards() -> None:
    counters = Counters()
    counters.add("message_stored")
    before = counters.snapshot()
    counters.add("message_stored")
    assert before["message_stored", "", ""] == 1
