"""The durable consumers of a site, as operators see them: who reads, what waits, and since when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bus.events.partitions.view import groups
from bus.events.streams import event_stream
from bus.transport.protocol import ConsumerState, NotFound, StreamAdministration, Transport
from schemas.subjects import SiteId

_MAX_PATTERNS: Final = 16
"""Of one consumer, for which the oldest message is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceView:
    """A durable consumer; all partitions of a shared one together."""

    name: str
    is_shared: bool
    pending: int
    """Messages that it has not been given yet."""
    unacknowledged: int
    """Those that it was given and has not finished."""
    ack_floor: int
    """Every sequence up to this one is finished; of a shared one the sum over its partitions, which only grows."""
    patterns: tuple[str, ...] = ()
    oldest_ms: int = 0
    """When the message that waits longest was stored; 0: nothing waits, it was not asked, or cannot be told."""
    floors: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """Where something waits: the sequence up to which all is finished, and what is read from there."""

    @property
    def waiting(self) -> int:
        """Messages that it has still to take or to finish."""
        return self.pending + self.unacknowledged


async def places(transport: Transport, site: SiteId) -> tuple[PlaceView, ...]:
    """Every durable consumer of the event stream, by name. Raises `MeshError`."""
    states = await transport.administration.consumers(event_stream(site))
    return gathered(states, await groups(transport))


def gathered(states: dict[str, ConsumerState], shared: Iterable[str]) -> tuple[PlaceView, ...]:
    """Consumers with the partitions of each group put together; a group that has no partition yet is there, too."""
    found = {name: _view(name, is_shared=True) for name in shared}
    for name, state in states.items():
        group, _, partition = name.rpartition("-p")
        is_shared = group in found and partition.isdigit()
        known = found.get(group) if is_shared else None
        found[group if is_shared else name] = _with(known or _view(name, is_shared=False), state)
    return tuple(found[name] for name in sorted(found))


def _view(name: str, *, is_shared: bool) -> PlaceView:
    return PlaceView(name=name, is_shared=is_shared, pending=0, unacknowledged=0, ack_floor=0)


def _with(view: PlaceView, state: ConsumerState) -> PlaceView:
    waits = state.pending + state.unacknowledged > 0
    return replace(
        view,
        pending=view.pending + state.pending,
        unacknowledged=view.unacknowledged + state.unacknowledged,
        ack_floor=view.ack_floor + state.ack_floor,
        patterns=tuple(dict.fromkeys((*view.patterns, *state.patterns))),
        floors=(*view.floors, (state.ack_floor, state.patterns)) if waits else view.floors,
    )


async def with_ages(
    transport: Transport, site: SiteId, views: Iterable[PlaceView]
) -> tuple[PlaceView, ...]:
    """The same with the age of what waits longest. Raises `MeshError`."""
    return tuple(await asyncio.gather(*(_aged(transport, site, one) for one in views)))


async def _aged(transport: Transport, site: SiteId, view: PlaceView) -> PlaceView:
    """One look for each floor, at the lowest one alone where there are many: partitions are nearly as old."""
    if not view.floors:
        return view
    floor, patterns = min(view.floors)
    found = [
        stored_ms
        for pattern in patterns[:_MAX_PATTERNS]
        if (
            stored_ms := await _stored_ms(
                transport.administration, event_stream(site), pattern, floor + 1
            )
        )
    ]
    return replace(view, oldest_ms=min(found, default=0))


async def _stored_ms(
    administration: StreamAdministration, stream: str, pattern: str, from_seq: int
) -> int:
    try:
        delivery = await administration.next_for_subject(stream, pattern, from_seq=from_seq)
    except NotFound:
        return 0
    return delivery.stored_ms


__all__ = ["PlaceView", "gathered", "places", "with_ages"]
