"""What an operator sees of a group, from its bucket and the server: who works what, since when and why, what waits."""

from __future__ import annotations

import contextlib

from bus.events.partitions.places import place_name
from bus.events.partitions.records import (
    PARTITION_BUCKET,
    PartitionRecord,
    decode,
    group_key,
)
from bus.events.protocol import PartitionView
from bus.events.streams import event_stream
from bus.transport.protocol import NotFound, Transport
from schemas.subjects import SiteId


async def groups(transport: Transport) -> tuple[str, ...]:
    """Every group that ever had a member, sorted. Raises `MeshError`."""
    bucket = await transport.key_value(PARTITION_BUCKET)
    keys = await bucket.keys()
    return tuple(sorted(key.removesuffix(".group") for key in keys if key.endswith(".group")))


async def group_partitions(
    transport: Transport, site: SiteId, group: str
) -> tuple[PartitionView, ...]:
    """The partitions of a group that were ever taken, in their order. Raises `MeshError`."""
    bucket = await transport.key_value(PARTITION_BUCKET)
    places = await transport.administration.consumers(event_stream(site))
    views = []
    for key in await bucket.keys():
        if not key.startswith(f"{group}.p."):
            continue
        partition = int(key.rpartition(".")[2])
        record = decode(PartitionRecord, (await bucket.get(key)).value or b"")
        place = places.get(place_name(group, partition))
        views.append(
            PartitionView(
                partition=partition,
                owner=record.owner,
                is_here=False,
                fence=record.fence,
                lag=place.pending + place.unacknowledged if place else None,
                moved_ms=record.moved_ms,
                reason=record.reason,
            )
        )
    return tuple(sorted(views, key=lambda view: view.partition))


async def forget_group(transport: Transport, site: SiteId, group: str) -> bool:
    """Forget the places of a group that nobody is a member of any more; False when there is none.

    What only it still waits for may be dropped then. Raises `MeshError`.
    """
    if group not in await groups(transport):
        return False
    for view in await group_partitions(transport, site, group):
        with contextlib.suppress(NotFound):
            await transport.administration.delete_consumer(
                event_stream(site), place_name(group, view.partition)
            )
    bucket = await transport.key_value(PARTITION_BUCKET)
    for key in await bucket.keys():
        if key.startswith(f"{group}.p."):
            await bucket.delete(key)
    await bucket.delete(group_key(group))
    return True


__all__ = ["forget_group", "group_partitions", "groups"]
