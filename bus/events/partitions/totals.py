"""Sums of what consumptions have done. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bus.events.protocol import ConsumptionStats


def total(parts: Sequence[ConsumptionStats]) -> ConsumptionStats:
    """Counts added up, the longest wait, and the time until the last one is drained."""
    drains = [one.seconds_to_drain for one in parts if one.seconds_to_drain is not None]
    return ConsumptionStats(
        delivered=sum(one.delivered for one in parts),
        filtered=sum(one.filtered for one in parts),
        retried=sum(one.retried for one in parts),
        dead_lettered=sum(one.dead_lettered for one in parts),
        refused_envelopes=sum(one.refused_envelopes for one in parts),
        sender_contradictions=sum(one.sender_contradictions for one in parts),
        in_flight=sum(one.in_flight for one in parts),
        pending=sum(one.pending for one in parts),
        oldest_wait_s=max((one.oldest_wait_s for one in parts), default=0.0),
        seconds_to_drain=max(drains, default=None),
    )


__all__ = ["total"]
