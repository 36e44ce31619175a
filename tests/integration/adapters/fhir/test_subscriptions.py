"""Subscriptions kept at a source, and notifications without content that make the receiver look for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Condition
from tests.integration.adapters.fhir.kit import endpoint, fhir_receiver, notification, observation
from tests.integration.adapters.fhir.test_server import send
from tests.peers.fhir_server import Fault, FhirServer, fhir_server
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import eventually

CRITERIA = ["Observation?status=final", "Patient?"]


def settings(server: FhirServer) -> dict[str, Any]:
    return {
        "source": {"base": server.base},
        "subscribe_to": CRITERIA,
        "endpoint": "http://127.0.0.1:9/fhir",
        "token": {"secret_env": "HOOK"},
    }


SHOWN = {"authorization": "Bearer s3cret"}


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "s3cret")


async def test_subscriptions_are_written_once_each_however_often_it_starts(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server:
        server.faults.append(Fault(status=503))
        for _ in range(2):
            async with fhir_receiver(events, tmp_path, **settings(server)) as (receiver, own):
                assert receiver.health().condition is Condition.DEGRADED
                await eventually(
                    lambda own=own: own.counters.get("subscription_kept") == 2,  # type: ignore[misc]  # bound now
                    what="both are in place",
                )
                assert receiver.health().condition is Condition.HEALTHY
        assert {len(versions) for versions in server.store.versions.values()} == {1}
        kept = [json.loads(body) for _, body in server.store.current("Subscription")]
    assert sorted(one["criteria"] for one in kept) == sorted(CRITERIA)
    assert {one["channel"]["endpoint"] for one in kept} == {"http://127.0.0.1:9/fhir"}
    assert kept[0]["channel"]["header"] == ["authorization: Bearer s3cret"]


async def test_notification_without_content_fetches_what_changed(tmp_path: Path) -> None:
    events = MemoryEvents()
    first = [observation(f"o{number}") for number in range(25)]  # more than a page
    async with (
        fhir_server() as server,
        fhir_receiver(events, tmp_path, **settings(server)) as (receiver, own),
    ):
        for number, body in enumerate(first):
            server.store.put("Observation", f"o{number}", body)
        answer = await send(endpoint(receiver), b"", headers=SHOWN)
        assert answer.status_code == 200
        assert events.bodies() == first
        server.store.put("Observation", "late", observation("late"))
        lacking = notification("event-notification")
        assert (await send(endpoint(receiver), lacking, headers=SHOWN)).status_code == 200
        assert events.bodies() == [*first, observation("late")]
        assert own.counters.get("resource_stored", reason="duplicate") == 25
        asked = [s.query for s in server.seen if s.path == "Observation"]
        searches = [query for query in asked if "_offset" not in query]
        assert all("status=final" in query for query in searches)
        assert "_lastUpdated=ge1970" in searches[0]
        assert "_lastUpdated=ge20" in searches[-1]


async def test_notification_is_not_answered_while_the_source_is_away(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with (
        fhir_server() as server,
        fhir_receiver(events, tmp_path, **settings(server)) as (receiver, own),
    ):
        await eventually(lambda: own.counters.get("subscription_kept") == 2, what="in place")
        server.store.put("Observation", "o1", observation("o1"))
        server.always = Fault(status=503)
        answer = await send(endpoint(receiver), b"", headers=SHOWN)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        server.always = None
        assert (await send(endpoint(receiver), b"", headers=SHOWN)).status_code == 200
        assert events.bodies() == [observation("o1")]


async def test_subscription_in_error_is_asked_for_anew_and_shown(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_server() as server:
        async with fhir_receiver(events, tmp_path, **settings(server)) as (_, own):
            await eventually(lambda: own.counters.get("subscription_kept") == 2, what="in place")
        ids = [id_ for id_, _ in server.store.current("Subscription")]
        broken = server.store.versions["Subscription", ids[0]][-1]
        assert broken is not None
        server.store.put("Subscription", ids[0], broken.replace(b'"requested"', b'"error"'))
        async with fhir_receiver(events, tmp_path, **settings(server)) as (receiver, own):
            await eventually(lambda: "in error" in receiver.health().detail, what="health tells")
            await eventually(
                lambda: receiver.health().condition is Condition.HEALTHY, what="it is in place"
            )
            assert own.counters.get("subscription_written", reason="error") == 1
        assert server.store.versions["Subscription", ids[0]][-1] == broken
