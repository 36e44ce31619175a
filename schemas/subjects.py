"""Subjects: the only place that builds, checks and matches them (DESIGN section 3).

A subject is lower-case tokens `[a-z0-9_-]` joined by dots. It never carries patient data: a key that comes from an
identifier appears only as a partition number, derived with a keyed hash.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final, NewType

from schemas.errors import SubjectError
from schemas.keyed import keyed_hash

Subject = NewType("Subject", str)
"""A checked subject without wildcards."""
Pattern = NewType("Pattern", str)
"""A checked subject that may hold the NATS wildcards `*` (one token) and `>` (the rest, at least one token)."""
SiteId = NewType("SiteId", str)
"""The name of a site: one token."""

PARTITIONS: Final = 64
"""How many partitions an event has; frozen on the wire, since order depends on it."""

_TOKEN: Final = re.compile(r"[a-z0-9_-]{1,64}\Z")
_MAX_SUBJECT_CHARS: Final = 255


class Domain(StrEnum):
    """The domains of durable events."""

    PATIENT = "patient"
    ENCOUNTER = "encounter"
    ORDER = "order"
    RESULT = "result"
    DOCUMENT = "document"
    IMAGING = "imaging"
    SCHEDULE = "schedule"
    MEDICATION = "medication"
    BILLING = "billing"
    RAW = "raw"


def site_id(text: str) -> SiteId:
    """Check the name of a site. Raises `SubjectError`."""
    return SiteId(token(text, what="site"))


def token(text: str, *, what: str = "token") -> str:
    """Check one token of a subject and return it. Raises `SubjectError`."""
    if not _TOKEN.match(text):
        raise SubjectError(
            f"{what} {text!r} is not allowed in a subject: 1 to 64 of a-z, 0-9, '_' and '-'"
        )
    return text


def subject(text: str) -> Subject:
    """Check a subject without wildcards. Raises `SubjectError`."""
    if len(text) > _MAX_SUBJECT_CHARS:
        raise SubjectError(
            f"subject has {len(text)} characters; at most {_MAX_SUBJECT_CHARS} are allowed"
        )
    for part in text.split("."):
        token(part)
    return Subject(text)


def pattern(text: str) -> Pattern:
    """Check a subject pattern: tokens, `*` for one token, `>` last for the rest. Raises `SubjectError`."""
    if len(text) > _MAX_SUBJECT_CHARS:
        raise SubjectError(
            f"pattern has {len(text)} characters; at most {_MAX_SUBJECT_CHARS} are allowed"
        )
    parts = text.split(".")
    for i, part in enumerate(parts):
        if part == "*" or (part == ">" and i == len(parts) - 1):
            continue
        token(part)
    return Pattern(text)


def matches(pattern: str, subject: str) -> bool:
    """Whether a NATS pattern covers a subject (or a narrower pattern: `a.>` covers `a.*`)."""
    wanted, seen = pattern.split("."), subject.split(".")
    for i, part in enumerate(wanted):
        if part == ">":
            return len(seen) > i
        if i >= len(seen) or (part != "*" and part != seen[i]) or (part == "*" and seen[i] == ">"):
            return False
    return len(wanted) == len(seen)


def overlaps(a: str, b: str) -> bool:
    """Whether some subject is covered by both patterns."""
    left, right = a.split("."), b.split(".")
    for one, other in zip(left, right, strict=False):
        if ">" in (one, other):
            return True
        if "*" not in (one, other) and one != other:
            return False
    return len(left) == len(right)


@lru_cache(maxsize=1024)
def event(site: SiteId, domain: Domain, name: str, partition: int) -> Subject:
    """`evt.<site>.<domain>.<event>.<partition>`, e.g. `evt.north.patient.admitted.17`."""
    if not 0 <= partition < PARTITIONS:
        raise SubjectError(f"partition {partition} is not allowed: 0 to {PARTITIONS - 1}")
    return Subject(f"evt.{site}.{domain.value}.{token(name, what='event')}.{partition}")


def events_of(site: SiteId) -> Pattern:
    """Every durable event of a site."""
    return Pattern(f"evt.{site}.>")


@lru_cache(maxsize=1024)
def call(site: SiteId, service: str, major: int, method: str) -> Subject:
    """`svc.<site>.<service>.v<major>.rpc.<method>`: any instance, by the queue group `queue_group(service)`."""
    return Subject(f"{_service(site, service, major)}.rpc.{token(method, what='method')}")


@lru_cache(maxsize=4096)
def instance_call(site: SiteId, service: str, major: int, instance: str, method: str) -> Subject:
    """`svc.<site>.<service>.v<major>.i.<instance>.<method>`: one instance, chosen by the caller."""
    chosen = f"{token(instance, what='instance')}.{token(method, what='method')}"
    return Subject(f"{_service(site, service, major)}.i.{chosen}")


def calls_of(site: SiteId, service: str, major: int) -> Pattern:
    """Every call of one major version of a service: what its instances may read and its callers may publish."""
    return Pattern(f"{_service(site, service, major)}.>")


def queue_group(service: str) -> str:
    """`q.<service>`: the queue group of a service's instances."""
    return f"q.{token(service, what='service')}"


def answers(site: SiteId, caller: str) -> Subject:
    """`ctl.<site>.answers.<caller>`: the subject to which a response is bound, which only its caller may read.

    It travels on the caller's private inbox, whose name changes with each process.
    """
    return Subject(f"ctl.{site}.answers.{token(caller, what='service')}")


def heartbeat(site: SiteId, service: str, instance: str) -> Subject:
    """`ctl.<site>.heartbeats.<service>.<instance>`."""
    where = f"{token(service, what='service')}.{token(instance, what='instance')}"
    return Subject(f"ctl.{site}.heartbeats.{where}")


def heartbeats_of(site: SiteId) -> Pattern:
    """Every heartbeat of a site."""
    return Pattern(f"ctl.{site}.heartbeats.>")


def sweep(site: SiteId, identifier: str) -> Subject:
    """`ctl.<site>.sweeps.<id>`: where services answer one `$SRV.PING` that asks everybody."""
    return Subject(f"ctl.{site}.sweeps.{token(identifier, what='sweep')}")


def _service(site: SiteId, service: str, major: int) -> str:
    if major < 0:
        raise SubjectError(f"major version {major} is not allowed: 0 or more")
    return f"svc.{site}.{token(service, what='service')}.v{major}"


def dead_letter(stream: str, consumer: str) -> Subject:
    """`dlq.<stream>.<consumer>`."""
    return Subject(f"dlq.{token(stream, what='stream')}.{token(consumer, what='consumer')}")


def replay(site: SiteId, consumer: str) -> Subject:
    """`ctl.<site>.replay.<consumer>`: operators' orders to one consumer to take a stored message again."""
    return Subject(f"ctl.{site}.replay.{token(consumer, what='consumer')}")


def schedule_set(site: SiteId, service: str, name: str) -> Subject:
    """`ctl.<site>.schedules.set.<service>.<name>`: where the stream holds a schedule of a service back."""
    return Subject(f"ctl.{site}.schedules.set.{_schedule(service, name)}")


def schedule_due(site: SiteId, service: str, name: str) -> Subject:
    """`ctl.<site>.schedules.due.<service>.<name>`: where the stream puts it when its time has come."""
    return Subject(f"ctl.{site}.schedules.due.{_schedule(service, name)}")


def _schedule(service: str, name: str) -> str:
    return f"{token(service, what='service')}.{token(name, what='schedule')}"


def schema_bindings(site: SiteId) -> Subject:
    """`ctl.<site>.schemas.bindings`: whoever may publish here may write what subjects are bound to. Nothing is sent."""
    return Subject(f"ctl.{site}.schemas.bindings")


def access_records(site: SiteId) -> Subject:
    """`audit.<site>.access`: who did what at a gateway, in batches."""
    return Subject(f"audit.{site}.access")


def audit_of(site: SiteId) -> Pattern:
    """Everything that auditors of a site read."""
    return Pattern(f"audit.{site}.>")


def receipt(site: SiteId, message_id: bytes, consumer: str) -> Subject:
    """`ctl.<site>.receipts.<message id>.<consumer>`: what became of one message at one destination."""
    return Subject(f"ctl.{site}.receipts.{message_id.hex()}.{token(consumer, what='consumer')}")


def partition_of(event_subject: str) -> int:
    """The partition of an event subject; 0 for a subject whose last token is no partition number."""
    last = event_subject.rpartition(".")[2]
    return int(last) % PARTITIONS if last.isascii() and last.isdigit() else 0


def partition_for(site_key: bytes, identifier: bytes) -> int:
    """The stable partition of a patient, or of a message that has none.

    A keyed hash: the broker learns no identifier from it.
    """
    return int.from_bytes(keyed_hash(site_key).digest(identifier)[:8], "big") % PARTITIONS


__all__ = [
    "PARTITIONS",
    "Domain",
    "Pattern",
    "SiteId",
    "Subject",
    "access_records",
    "answers",
    "audit_of",
    "call",
    "calls_of",
    "dead_letter",
    "event",
    "events_of",
    "heartbeat",
    "heartbeats_of",
    "instance_call",
    "matches",
    "overlaps",
    "partition_for",
    "partition_of",
    "pattern",
    "queue_group",
    "receipt",
    "replay",
    "schedule_due",
    "schedule_set",
    "schema_bindings",
    "site_id",
    "subject",
    "sweep",
    "token",
]
