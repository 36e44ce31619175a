"""The rights that durable events need beyond the events themselves, so that one certificate has them all."""

from __future__ import annotations

from dataclasses import dataclass

from bus.events.streams import event_stream, schedule_stream
from schemas.subjects import SiteId, audit_of, token


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRights:
    """Subject patterns for a certificate."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()

    def __add__(self, other: EventRights) -> EventRights:
        """Both, each pattern once."""
        return EventRights(
            publish=tuple(dict.fromkeys(self.publish + other.publish)),
            subscribe=tuple(dict.fromkeys(self.subscribe + other.subscribe)),
        )


def consumer_rights(site: SiteId, consumer: str) -> EventRights:
    """What a service with the durable consumer `consumer` needs: to give up, to answer, to take again."""
    name = token(consumer, what="consumer")
    return EventRights(
        publish=(f"dlq.{event_stream(site)}.{name}", f"ctl.{site}.receipts.*.{name}"),
        subscribe=(f"ctl.{site}.replay.{name}",),
    )


def receipt_rights(site: SiteId, consumers: tuple[str, ...]) -> EventRights:
    """What a publisher needs that waits for the receipts of these consumers."""
    return EventRights(
        subscribe=tuple(f"ctl.{site}.receipts.*.{token(c, what='consumer')}" for c in consumers)
    )


def schedule_rights(site: SiteId, service: str) -> EventRights:
    """What a service needs that has events published later: to place its own schedules."""
    return EventRights(publish=(f"ctl.{site}.schedules.due.{token(service, what='service')}.*",))


def scheduler_rights(site: SiteId) -> EventRights:
    """What the scheduler needs: to read every schedule, to place it again, to publish what is due."""
    return EventRights(
        publish=(
            f"evt.{site}.>",
            f"ctl.{site}.schedules.due.>",
            f"dlq.{schedule_stream(site)}.scheduler",
        ),
        subscribe=(f"ctl.{site}.schedules.due.>",),
    )


def auditor_rights(site: SiteId) -> EventRights:
    """What the auditor's service needs to read access records: nobody else can."""
    return EventRights(subscribe=(audit_of(site),))


def operator_rights(site: SiteId) -> EventRights:
    """What an operator's service needs to list and replay dead letters."""
    return EventRights(
        publish=(f"ctl.{site}.replay.>",),
        subscribe=(f"dlq.{event_stream(site)}.>", f"dlq.{schedule_stream(site)}.>"),
    )


__all__ = [
    "EventRights",
    "auditor_rights",
    "consumer_rights",
    "operator_rights",
    "receipt_rights",
    "schedule_rights",
    "scheduler_rights",
]
