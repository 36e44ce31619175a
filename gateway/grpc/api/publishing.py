"""Publish and PublishAll: from a client's event to one that is stored."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bus.events.content import MESSAGE_ID_BYTES
from bus.events.protocol import Events, NewEvent, StoredEvent
from bus.flow.priority import Priority
from gateway.access.protocol import Client, Deed
from gateway.grpc.api.content import to_mesh
from gateway.grpc.api.frames import priority_of, read
from gateway.grpc.api.line import Line
from gateway.grpc.ending import Ending
from gateway.grpc.exchange import TRACEPARENT, Arrival, first_frame
from gateway.grpc.gate import Gate, written
from gateway.grpc.status import invalid
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb
from schemas.subjects import Domain, SiteId, Subject

_WITHOUT_PARTITION: Final = 4
_WITH_PARTITION: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Stores what clients publish."""

    site: SiteId
    site_key: bytes = field(repr=False)
    events: Events
    clock: Clock
    gate: Gate
    ending: Ending

    async def publish(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """`Publish`. Raises `MeshError`."""
        client = await self.gate.admit(arrival)
        request = read(pb.PublishRequest, await first_frame(frames))
        new = await self._event(client, arrival, request.event, place="")
        stored = await self._store(client, arrival, new)
        yield pb.PublishResponse(stored=stored).SerializeToString()

    async def publish_all(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """`PublishAll`: many are on their way to the disk at a time, of each subject one. Raises `RpcFailed`."""
        client = await self.gate.admit(arrival)
        line = Line()
        try:
            async with aclosing(self.ending.until(frames, client)) as until:
                async for frame in until:
                    await line.room()
                    if line.count:
                        self.gate.access.admit(client)  # the first was counted with the call
                    request = read(pb.PublishAllRequest, frame)
                    new = await self._event(client, arrival, request.event, place=str(line.count))
                    line.add(new.subject, partial(self._store, client, arrival, new))
            await line.end()
        except MeshError as error:
            raise await line.failed(error) from None
        finally:
            await line.close()
        yield pb.PublishAllResponse(stored=line.stored).SerializeToString()

    async def _event(
        self, client: Client, arrival: Arrival, event: pb.Event, *, place: str
    ) -> NewEvent:
        message_id = event.message_id
        if message_id and len(message_id) != MESSAGE_ID_BYTES:
            raise invalid(f"message_id has {len(message_id)} bytes; {MESSAGE_ID_BYTES} are needed")
        if not event.content.type:
            raise invalid("content.type is empty: it is the media type of content.body")
        name, partition = self._name(event.subject)
        message_id = message_id or self.gate.id_for(client, arrival, "publish", place, *name)
        message_id = message_id or os.urandom(MESSAGE_ID_BYTES)
        if partition is None:
            partition = subjects.partition_for(self.site_key, event.key or message_id)
        subject = subjects.event(self.site, Domain(name[0]), name[1], partition)
        self.gate.check(client, arrival, Deed.WRITE, subject)
        content_type, body = await to_mesh(event.content)
        priority = priority_of(event.priority)
        return NewEvent(
            subject=subject,
            type=content_type,
            body=body,
            message_id=message_id,
            received_ms=event.received_ms or self.clock.now_ms(),
            traceparent=arrival.metadata.get(TRACEPARENT, ""),
            priority=priority if priority is not Priority.ROUTINE else arrival.priority,
        )

    def _name(self, subject: str) -> tuple[tuple[str, str], int | None]:
        """Domain, event, and the partition where the subject has one. Raises `RpcFailed`."""
        parts = subjects.subject(subject).split(".")
        is_event = parts[:2] == ["evt", self.site] and parts[2:3] and parts[2] in set(Domain)
        if not is_event or len(parts) not in (_WITHOUT_PARTITION, _WITH_PARTITION):
            raise invalid(
                f"{Subject(subject)!r} is no event of this site: evt.{self.site}.<domain>.<event>, with or without "
                f".<partition>; domains: {', '.join(Domain)}",
                reason="subject",
            )
        if len(parts) == _WITHOUT_PARTITION:
            return (parts[2], parts[3]), None
        last = parts[4]
        if not (last.isascii() and last.isdigit() and int(last) < subjects.PARTITIONS):
            raise invalid(f"partition {last!r} is none: 0 to {subjects.PARTITIONS - 1}")
        return (parts[2], parts[3]), int(last)

    async def _store(self, client: Client, arrival: Arrival, new: NewEvent) -> pb.Stored:
        timeout_s = self.gate.timeout_s(arrival)
        record = self.gate.record(client, arrival, Deed.WRITE, new.subject)
        done: StoredEvent = await self.events.publish(new, timeout_s=timeout_s)
        await written(record)
        return pb.Stored(message_id=done.message_id, seq=done.seq, is_duplicate=done.duplicate)


__all__ = ["Publishing"]
