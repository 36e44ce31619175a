"""The scheduler of a site: publishes what is due, and places again what comes again.

Each order is worked once, by a durable consumer; both steps have ids of their own, so that a repeat after a crash
publishes nothing twice and places nothing twice. The carrier only wakes: an order that it gives too early is held back
again, one that it gives twice is refused by the replay window.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from bus.events.content import UnreadableContent, body_of
from bus.events.events import MeshEvents
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    NewEvent,
    ReceivedEvent,
    Rejected,
    RetryPolicy,
)
from bus.events.schedules.orders import SCHEDULE_TYPE, Schedules
from bus.events.schedules.when import When
from bus.events.streams import derived_id
from bus.telemetry.counters import Counters
from schemas import subjects
from schemas.clock import Clock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.control.v1 import control_pb2 as control_pb
from schemas.registry.errors import SchemaRefused
from schemas.subjects import SiteId

SCHEDULER: Final = "scheduler"
_EARLY_MS: Final = 1500
"""The carrier counts whole seconds, and clocks differ a little."""
_STORE_S: Final = 30.0


class Scheduler:
    """Works the orders of a site. One runs in `medmesh up`."""

    def __init__(
        self,
        *,
        site: SiteId,
        events: MeshEvents,
        schedules: Schedules,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._site = site
        self._events = events
        self._schedules = schedules
        self._clock = clock
        self._counters = counters
        self._consumption: Consumption | None = None

    async def start(self) -> None:
        """Take up the durable place. Raises `MeshError`."""
        spec = ConsumeSpec(
            name=SCHEDULER,
            patterns=(f"ctl.{self._site}.schedules.due.>",),
            retry=RetryPolicy(max_attempts=0),
        )
        self._consumption = await self._events.consume_schedules(spec, self._work)

    async def _work(self, received: ReceivedEvent) -> None:
        service, name = received.subject.split(".")[-2:]
        order = self._order(received, service)
        now_ms = self._clock.now_ms()
        is_due = order.due_ms <= now_ms + _EARLY_MS
        following = control_pb.ScheduleOrder()
        following.CopyFrom(order)
        if is_due and (order.every_ms or order.cron):
            when = When(
                every_s=order.every_ms / 1000, cron=order.cron, time_zone=order.time_zone or "UTC"
            )
            following.due_ms = when.next_ms(order.due_ms, now_ms)
        if following.due_ms != order.due_ms or not is_due:
            # placed first: whoever sees the event published can cancel what follows it
            await self._schedules.store(
                service, name, following, after_seq=received.seq, timeout_s=_STORE_S
            )
        if is_due:
            await self._publish(service, name, order)
        await self._schedules.drop(received.seq)

    def _order(self, received: ReceivedEvent, service: str) -> control_pb.ScheduleOrder:
        """Check who ordered what. Raises `Rejected`."""
        if received.type != SCHEDULE_TYPE:
            raise Rejected(f"a message on a subject of schedules is not of type {SCHEDULE_TYPE}")
        try:
            order = control_pb.ScheduleOrder.FromString(received.body)
        except DecodeError:
            raise Rejected("the schedule order cannot be parsed") from None
        if received.source == SCHEDULER:  # placed again: it was checked when it came first
            return order
        allowed = any(subjects.matches(one, order.subject) for one in received.source_publishes)
        if received.source != service or order.requested_by != service or not allowed:
            self._counters.add("schedule_refused", who=service, reason="permission_refused")
            raise Rejected(f"{received.source} may not have {order.subject} published")
        return order

    async def _publish(self, service: str, name: str, order: control_pb.ScheduleOrder) -> None:
        try:
            content = content_pb.Content.FromString(order.content)
            body = body_of(content)
        except (DecodeError, UnreadableContent):
            raise Rejected("the content of the schedule order cannot be read") from None
        event = NewEvent(
            subject=order.subject,
            type=content.type,
            body=body,
            message_id=derived_id("due", service, name, order.placing.hex(), order.due_ms),
            index=content.index,
            traceparent=content.traceparent,
            on_behalf_of=service,
        )
        try:
            stored = await self._events.publish(event)
        except (
            SchemaRefused
        ) as refusal:  # what the subject is bound to has changed since it was placed
            self._counters.add("schedule_refused", who=service, reason=refusal.code)
            raise Rejected(str(refusal)) from None
        reason = "repeated" if stored.duplicate else "published"
        self._counters.add("schedule_worked", who=service, reason=reason)


__all__ = ["SCHEDULER", "Scheduler"]
