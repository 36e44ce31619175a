"""Notifications of subscriptions: R4 backport and R4B (a history bundle), R5 (a bundle of its own). Pure.

FHIR R5 §3.2.6 (subscriptions.html), Subscriptions R5 Backport IG §5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import msgspec

from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import Bundle, read_bundle


class Kind(Enum):
    """What a notification is for; the values are FHIR's subscription-notification-type."""

    HANDSHAKE = "handshake"
    HEARTBEAT = "heartbeat"
    EVENT = "event-notification"
    STATUS = "query-status"
    EVENTS = "query-event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification, read as far as it must be."""

    kind: Kind
    subscription: str
    """The reference to the subscription; empty where it is missing."""
    resources: tuple[bytes, ...] = field(repr=False, default=())
    """What it carries, byte for byte as it stands in the bundle."""
    is_complete: bool = True
    """Whether every entry carries its resource, so that nothing but the resources matters."""


class _Reference(msgspec.Struct):
    reference: str = ""


class _Part(msgspec.Struct):
    name: str = ""
    value_code: str = msgspec.field(name="valueCode", default="")
    value_reference: _Reference | None = msgspec.field(name="valueReference", default=None)


class _Status(msgspec.Struct):
    """SubscriptionStatus (R4B, R5), or the Parameters that stand for it in R4."""

    resource_type: str = msgspec.field(name="resourceType")
    type: str = ""
    subscription: _Reference | None = None
    parameter: list[_Part] = []


_STATUS: Final = msgspec.json.Decoder(_Status)
_BUNDLES: Final = ("history", "subscription-notification")


def read_notification(body: bytes) -> Notification | None:
    """A notification; None for a bundle that is none. Raises `UnreadableResource`."""
    bundle = read_bundle(body)
    if bundle.type not in _BUNDLES or not bundle.entry:
        return None
    status = _status(bytes(bundle.entry[0].resource))
    if status is None:
        return None
    kind, subscription = status
    carried = _carried(bundle)
    return Notification(
        kind=kind,
        subscription=subscription,
        resources=tuple(one for one in carried if one),
        is_complete=bool(carried) and all(carried),
    )


def _carried(bundle: Bundle) -> list[bytes]:
    return [bytes(entry.resource) for entry in bundle.entry[1:]]


def _status(raw: bytes) -> tuple[Kind, str] | None:
    if not raw:
        return None
    try:
        status = _STATUS.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    match status.resource_type:
        case "SubscriptionStatus":
            return _kind(status.type), (status.subscription or _Reference()).reference
        case "Parameters":
            named = {part.name: part for part in status.parameter}
            if "type" not in named:
                return None
            subscription = named.get("subscription", _Part()).value_reference or _Reference()
            return _kind(named["type"].value_code), subscription.reference
        case _:
            return None


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise UnreadableResource("the notification has a type that FHIR does not know") from None


__all__ = ["Kind", "Notification", "read_notification"]
