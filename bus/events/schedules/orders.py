"""Placing and cancelling schedules, in the name of the service whose events they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import datetime
from typing import Final

from bus.envelope.seals import Seals
from bus.envelope.types import Plain
from bus.events.content import to_content
from bus.events.protocol import Fits, NewEvent
from bus.events.schedules.when import When
from bus.events.streams import derived_id, schedule_stream
from bus.transport.protocol import (
    SCHEDULE_HEADER,
    Delivery,
    NotFound,
    Outgoing,
    Stored,
    Transport,
    schedule_headers,
)
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import SubjectError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.control.v1 import control_pb2 as control_pb
from schemas.subjects import SiteId

SCHEDULE_TYPE: Final = "medmesh/schedule"
LONGEST_HOP_MS: Final = 14 * 86_400_000
"""An order rests no longer than this: envelopes and keys do not live for ever, so the scheduler seals it again."""
_PLACING_BYTES: Final = 8
_CANCEL_TRIES: Final = 20
_CANCEL_AGAIN_S: Final = 0.1


class Schedules:
    """The schedules of one service. Its certificate needs `rights.schedule_rights`."""

    def __init__(
        self,
        *,
        site: SiteId,
        transport: Transport,
        seals: Seals,
        clock: Clock,
        longest_hop_ms: int = LONGEST_HOP_MS,
        fits: Fits | None = None,
    ) -> None:
        self._site = site
        self._fits = fits
        self._longest_hop_ms = longest_hop_ms
        self._transport = transport
        self._seals = seals
        self._clock = clock

    async def place(
        self, name: str, event: NewEvent, when: When, *, timeout_s: float = 30.0
    ) -> int:
        """Have `event` published later; returns when it is due first, in milliseconds since 1970.

        Returns once the order is durable. A schedule of the same name is replaced. The event's message id is ignored:
        each one that is published gets its own. The scheduler of the site publishes it, with this service as `source`
        inside the content, and only if this service's certificate lets it publish on the subject.

        Raises `SubjectError`, `SchemaRefused`, `PermissionRefused`, `Unavailable`, `DeadlineExceeded`.
        """
        if not event.subject.startswith(f"evt.{self._site}."):
            raise SubjectError(f"{event.subject!r} is no event of site {self._site}")
        if self._fits is not None:
            self._fits(event.subject, event.type, event.body)
        now_ms = self._clock.now_ms()
        content = to_content(event, message_id=b"", source=self._seals.service, now_ms=now_ms)
        order = control_pb.ScheduleOrder(
            subject=event.subject,
            content=content.SerializeToString(),
            due_ms=when.first_ms(now_ms),
            every_ms=round(when.every_s * 1000),
            cron=when.cron,
            time_zone=when.time_zone if when.cron else "",
            requested_by=self._seals.service,
            placing=os.urandom(_PLACING_BYTES),
        )
        await self.store(self._seals.service, name, order, timeout_s=timeout_s)
        return int(order.due_ms)

    async def store(
        self,
        service: str,
        name: str,
        order: control_pb.ScheduleOrder,
        *,
        after_seq: int = 0,
        timeout_s: float,
    ) -> None:
        """Seal an order and have it held back until its event is due, or for one hop. Raises `MeshError`.

        `after_seq` names the message whose work this is: done again, it is stored once.
        """
        due = subjects.schedule_due(self._site, service, name)
        wake_ms = min(int(order.due_ms), self._clock.now_ms() + self._longest_hop_ms)
        body = order.SerializeToString()
        message_id = derived_id("schedule", service, name, order.placing.hex(), after_seq)
        sealed = self._seals.seal([Plain(subject=due, content=_content(body, message_id))])
        for epoch, package in sealed.key_packages:
            await self._seals.publish_package(epoch, package)
        message = Outgoing(
            subject=subjects.schedule_set(self._site, service, name),
            payload=sealed.envelopes[0],
            message_id=message_id.hex(),
            headers=schedule_headers(wake_ms, due),
        )
        (result,) = await self._transport.store.store([message], timeout_s=timeout_s)
        if not isinstance(result, Stored):
            raise result

    async def drop(self, seq: int) -> None:
        """Delete an order that was worked; nobody needs it any more. Raises `MeshError`."""
        with contextlib.suppress(NotFound):
            await self._transport.store.delete(schedule_stream(self._site), seq)

    async def cancel(self, name: str) -> bool:
        """Take a schedule back; False when there is none. One that is due at this moment may still be published.

        While the scheduler works an order, what follows it is not placed yet: that is waited for. Where the scheduler
        does not come, the order that waits for it is taken back.
        """
        service = self._seals.service
        for _ in range(_CANCEL_TRIES):
            if await self._delete_last(subjects.schedule_set(self._site, service, name)):
                return True
            if await self._last(subjects.schedule_due(self._site, service, name)) is None:
                # it may have been placed between the two looks
                return await self._delete_last(subjects.schedule_set(self._site, service, name))
            await asyncio.sleep(_CANCEL_AGAIN_S)
        return await self._delete_last(subjects.schedule_due(self._site, service, name))

    async def _delete_last(self, subject: str) -> bool:
        held = await self._last(subject)
        if held is None:
            return False
        try:
            await self._transport.store.delete(schedule_stream(self._site), held.seq)
        except NotFound:
            return False
        return True

    async def _last(self, subject: str) -> Delivery | None:
        try:
            return await self._transport.administration.last_for_subject(
                schedule_stream(self._site), subject
            )
        except NotFound:
            return None

    async def wakes_ms(self, name: str) -> int | None:
        """When the scheduler looks at a schedule next, in milliseconds since 1970; None when there is none."""
        held = await self._last(subjects.schedule_set(self._site, self._seals.service, name))
        if held is None:
            return None
        said = (held.headers or {}).get(SCHEDULE_HEADER, "").removeprefix("@at ")
        return round(datetime.fromisoformat(said).timestamp() * 1000) if said else None


def _content(body: bytes, message_id: bytes) -> content_pb.Content:
    return content_pb.Content(
        id=message_id,
        type=SCHEDULE_TYPE,
        encoding=content_pb.BODY_ENCODING_IDENTITY,
        raw_size=len(body),
        body=body,
    )


__all__ = ["LONGEST_HOP_MS", "SCHEDULE_TYPE", "Schedules"]
