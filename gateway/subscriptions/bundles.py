"""Notifications: Bundles that begin with a status (R5 §subscriptions.html, Subscriptions R5 Backport IG §5). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from adapters.fhir.store.times import instant
from gateway.subscriptions.model import EMPTY, FULL, Happening, Record
from gateway.subscriptions.reading import BACKPORT

_NAMESPACE: Final = UUID("6f0d9b5e-6d9c-4a53-9a55-1c8a1b9a2b11")
_METHODS: Final = {
    "created": ("POST", "201"),
    "updated": ("PUT", "200"),
    "deleted": ("DELETE", "204"),
}
_NOT_R4: Final = ("R4B", "R5")


class Purpose(StrEnum):
    """What a notification is for (subscription-notification-type)."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    STATUS = "query-status"
    EVENTS = "query-event"


def notification(
    record: Record,
    purpose: Purpose,
    *,
    now_ms: int,
    total: int,
    events: Sequence[Happening] = (),
    content: str = EMPTY,
    resources: Mapping[int, bytes] | None = None,
) -> bytes:
    """A notification. `total`: the newest number; `resources`: bodies by number, where `content` asks for them."""
    names = content != EMPTY
    status = status_of(record, purpose, total=total, events=events, names=names)
    own = f"{record.base}/Subscription/{record.id}"
    first = {
        "fullUrl": f"urn:uuid:{uuid5(_NAMESPACE, f'{own}/{purpose}/{total}/{now_ms}')}",
        "resource": status,
        "request": {"method": "GET", "url": f"{own}/$status"},
        "response": {"status": "200"},
    }
    bodies = resources or {}
    carried = [
        _entry(record, one, bodies.get(one.number) if content == FULL else None) for one in events
    ]
    kind = "subscription-notification" if record.release == "R5" else "history"
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": kind,
        "timestamp": instant(now_ms),
        "entry": [first, *(carried if names else ())],
    }
    if record.release != "R5":
        profile = "backport-subscription-notification" + ("-r4" if record.release == "R4" else "")
        bundle["meta"] = {"profile": [BACKPORT + profile]}
    return orjson.dumps(bundle)


def _entry(record: Record, event: Happening, body: bytes | None) -> dict[str, Any]:
    method, status = _METHODS[event.change]
    url = event.type if method == "POST" else event.focus
    entry: dict[str, Any] = {"fullUrl": f"{record.base}/{event.focus}"}
    if body is not None:
        entry["resource"] = orjson.Fragment(body)
    entry["request"] = {"method": method, "url": url}
    entry["response"] = {"status": status}
    return entry


def status_of(
    record: Record,
    purpose: Purpose,
    *,
    total: int,
    events: Sequence[Happening] = (),
    names: bool = True,
) -> dict[str, Any]:
    """SubscriptionStatus; in R4 the Parameters that stand for it."""
    if record.release in _NOT_R4:
        return _status(record, purpose, total, events, names=names)
    return _parameters(record, purpose, total, events, names=names)


def _status(
    record: Record, purpose: Purpose, total: int, events: Sequence[Happening], *, names: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resourceType": "SubscriptionStatus",
        "status": record.status,
        "type": purpose.value,
        "eventsSinceSubscriptionStart": str(total),
        "subscription": {"reference": f"{record.base}/Subscription/{record.id}"},
        "topic": record.wish.topic,
    }
    if events:
        found["notificationEvent"] = [
            {"eventNumber": str(one.number), "timestamp": instant(one.stored_ms)}
            | ({"focus": {"reference": f"{record.base}/{one.focus}"}} if names else {})
            for one in events
        ]
    if record.trouble:
        found["error"] = [{"text": record.trouble}]
    return found


def _parameters(
    record: Record, purpose: Purpose, total: int, events: Sequence[Happening], *, names: bool
) -> dict[str, Any]:
    reference = {"reference": f"{record.base}/Subscription/{record.id}"}
    parts: list[dict[str, Any]] = [
        {"name": "subscription", "valueReference": reference},
        {"name": "topic", "valueCanonical": record.wish.topic},
        {"name": "status", "valueCode": record.status},
        {"name": "type", "valueCode": purpose.value},
        {"name": "events-since-subscription-start", "valueString": str(total)},
    ]
    for one in events:
        told: list[dict[str, Any]] = [
            {"name": "event-number", "valueString": str(one.number)},
            {"name": "timestamp", "valueInstant": instant(one.stored_ms)},
        ]
        if names:
            focus = {"reference": f"{record.base}/{one.focus}"}
            told.append({"name": "focus", "valueReference": focus})
        parts.append({"name": "notification-event", "part": told})
    if record.trouble:
        parts.append({"name": "error", "valueCodeableConcept": {"text": record.trouble}})
    profile = f"{BACKPORT}backport-subscription-status-r4"
    return {"resourceType": "Parameters", "meta": {"profile": [profile]}, "parameter": parts}


__all__ = ["Purpose", "notification", "status_of"]
