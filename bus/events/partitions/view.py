"""What an operator sees of a group, from its bucket and the server: who works what, since when and why, what waits."""

from __future__ import annotations

from bus.events.partitions.places import place_name
from bus.events.partitions.records import PARTITION_BUCKET, PartitionRecord, decode
from bus.events.protocol import PartitionView
from bus.events.streams import event_stream
from bus.transport.protocol import Transport
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


__all__ = ["group_partitions", "groups"]
