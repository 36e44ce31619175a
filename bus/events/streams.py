"""The streams of a site: their names, what they keep, and which one takes a subject."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bus.transport.protocol import StreamSpec, StreamState
from schemas.errors import SubjectError
from schemas.subjects import SiteId

RECEIPTS_AGE_S = 86_400.0
"""How long a receipt can be asked for."""


def event_stream(site: SiteId) -> str:
    """`evt-<site>`: durable events and the orders to take one again."""
    return f"evt-{site}"


def dead_letter_stream(site: SiteId) -> str:
    """`dlq-<site>`: what could not be worked, until an operator replays or deletes it."""
    return f"dlq-{site}"


def schedule_stream(site: SiteId) -> str:
    """`sch-<site>`: events that are to be published later."""
    return f"sch-{site}"


def receipt_stream(site: SiteId) -> str:
    """`rcp-<site>`: what became of a message at a destination, for one day."""
    return f"rcp-{site}"


def audit_stream(site: SiteId) -> str:
    """`aud-<site>`: records of who did what, which nobody but auditors can read."""
    return f"aud-{site}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What the streams of a site may hold. At a limit they refuse what is new; they never drop what is old."""

    max_bytes: int = -1
    """Of the event stream; -1 leaves it to the disk."""
    dead_letter_bytes: int = -1
    """Of the dead-letter stream; when it is full, lanes with a dead letter to write wait."""
    audit_bytes: int = -1
    """Of the access records; when it is full, what must be recorded is refused."""
    duplicate_window_s: float = 7200.0
    """How long a message id is remembered: resends within it are stored once. Costs memory on the server."""
    replicas: int = 1


def stream_specs(site: SiteId, limits: StreamLimits) -> tuple[StreamSpec, ...]:
    """The streams of a site, for `EventStore.ensure_stream`."""
    return (
        StreamSpec(
            name=event_stream(site),
            subjects=(f"evt.{site}.>", f"ctl.{site}.replay.>"),
            max_bytes=limits.max_bytes,
            duplicate_window_s=limits.duplicate_window_s,
            replicas=limits.replicas,
        ),
        StreamSpec(
            name=dead_letter_stream(site),
            subjects=(f"dlq.{event_stream(site)}.>", f"dlq.{schedule_stream(site)}.>"),
            max_bytes=limits.dead_letter_bytes,
            duplicate_window_s=limits.duplicate_window_s,
            replicas=limits.replicas,
        ),
        StreamSpec(
            name=receipt_stream(site),
            subjects=(f"ctl.{site}.receipts.>",),
            max_age_s=RECEIPTS_AGE_S,
            max_messages_per_subject=1,
            discard_old_per_subject=True,
            duplicate_window_s=limits.duplicate_window_s,
            replicas=limits.replicas,
        ),
        StreamSpec(
            name=schedule_stream(site),
            subjects=(f"ctl.{site}.schedules.>",),
            duplicate_window_s=limits.duplicate_window_s,
            replicas=limits.replicas,
            allow_atomic=False,
            allow_schedules=True,
        ),
        StreamSpec(
            name=audit_stream(site),
            subjects=(f"audit.{site}.>",),
            max_bytes=limits.audit_bytes,
            duplicate_window_s=limits.duplicate_window_s,
            replicas=limits.replicas,
        ),
    )


def stream_for(subject: str, site: SiteId) -> str:
    """The stream that takes a subject of this site. Raises `SubjectError`."""
    if subject.startswith((f"evt.{site}.", f"ctl.{site}.replay.")):
        return event_stream(site)
    if subject.startswith((f"dlq.{event_stream(site)}.", f"dlq.{schedule_stream(site)}.")):
        return dead_letter_stream(site)
    if subject.startswith(f"ctl.{site}.receipts."):
        return receipt_stream(site)
    if subject.startswith(f"audit.{site}."):
        return audit_stream(site)
    raise SubjectError(f"no stream of site {site} takes the subject {subject}")


def incarnation_of(state: StreamState) -> str:
    """Which stream of its name this is: one that was deleted and made again counts its sequences anew."""
    return f"{state.name}/{state.created_ms}"


def derived_id(purpose: str, *parts: str | int) -> bytes:
    """A message id of 16 bytes that is the same whenever the same thing is sent again."""
    text = "\0".join(("medmesh", purpose, *map(str, parts)))
    return hashlib.sha256(text.encode()).digest()[:16]


__all__ = [
    "RECEIPTS_AGE_S",
    "StreamLimits",
    "audit_stream",
    "dead_letter_stream",
    "derived_id",
    "event_stream",
    "incarnation_of",
    "receipt_stream",
    "schedule_stream",
    "stream_for",
    "stream_specs",
]
