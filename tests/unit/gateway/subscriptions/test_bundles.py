"""Notifications as fhir.resources, an implementation of others, reads them."""

from __future__ import annotations

import orjson
import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B
from fhir.resources.R4B.parameters import Parameters
from fhir.resources.R4B.subscriptionstatus import SubscriptionStatus as StatusR4B
from fhir.resources.subscriptionstatus import SubscriptionStatus as StatusR5

from adapters.fhir.codec.notification import Kind, read_notification
from gateway.subscriptions.bundles import Purpose, notification
from gateway.subscriptions.model import EMPTY, FULL, ID_ONLY, Happening, Record, Wish

EVENTS = (
    Happening(7, 1_800_000_000_000, "Patient", "1", "1", "created"),
    Happening(8, 1_800_000_000_100, "Patient", "1", "2", "updated"),
    Happening(9, 1_800_000_000_200, "Patient", "1", "3", "deleted"),
)
BODIES = {7: b'{"resourceType":"Patient","id":"1"}', 8: b'{"resourceType":"Patient","id":"1"}'}


def record(release: str, content: str = FULL, trouble: str = "") -> Record:
    return Record(
        id="s1",
        release=release,
        version=1,
        status="active",
        trouble=trouble,
        client="portal",
        base=f"https://gateway.example/fhir/{release}",
        created_ms=0,
        updated_ms=0,
        body=b"{}",
        wish=Wish(topic="urn:example:topic", channel="rest-hook", content=content),
    )


def made(release: str, purpose: Purpose, content: str) -> bytes:
    events = EVENTS if purpose in (Purpose.EVENT, Purpose.EVENTS) else ()
    return notification(
        record(release, content, "unavailable: away"),
        purpose,
        now_ms=1_800_000_000_300,
        total=9,
        events=events,
        content=content,
        resources=BODIES,
    )


@pytest.mark.parametrize("content", [EMPTY, ID_ONLY, FULL])
@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("release", ["R4", "R4B", "R5"])
def test_every_notification_is_a_valid_bundle(release: str, purpose: Purpose, content: str) -> None:
    body = made(release, purpose, content)
    model = BundleR5 if release == "R5" else BundleR4B
    bundle = model.model_validate_json(body)
    assert bundle.type == ("subscription-notification" if release == "R5" else "history")
    assert bundle.entry is not None
    kind = {"R4": Parameters, "R4B": StatusR4B, "R5": StatusR5}[release]
    assert isinstance(bundle.entry[0].resource, kind)


@pytest.mark.parametrize("release", ["R4", "R4B", "R5"])
def test_our_own_receiver_understands_it(release: str) -> None:
    read = read_notification(made(release, Purpose.EVENT, FULL))
    assert read is not None
    assert read.kind is Kind.EVENT
    assert read.subscription.endswith("/Subscription/s1")
    assert len(read.resources) == 2


@pytest.mark.parametrize("release", ["R4", "R4B", "R5"])
def test_an_empty_notification_names_nobody(release: str) -> None:
    body = made(release, Purpose.EVENT, EMPTY)
    assert b"Patient" not in body
    assert len(orjson.loads(body)["entry"]) == 1
