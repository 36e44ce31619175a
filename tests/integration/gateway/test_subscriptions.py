"""FHIR Subscriptions on a real site: a store, a gateway, and a subscriber that speaks HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from fhir.resources.bundle import Bundle

from tests.hospital import Site, running
from tests.peers.subscriber import Subscriber, event_numbers, listening, status
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

CONFIG = """
[[adapter]]
name = "fhir-store"
kind = "fhir.store"

[gateway]
listen = "127.0.0.1:{port}"

[gateway.fhir]

[gateway.subscriptions]
endpoints = ["http://127.0.0.1:{hook}/hook"]
allow_local = true
error_after = 2
longest_delay_s = 0.5
types = ["Patient", "Observation"]
"""
TOPIC = "urn:medmesh:topic:resource-change:Patient"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"


def subscription(url: str, *, content: str = "full-resource", **more: Any) -> dict[str, Any]:
    """An R4 Subscription by the backport."""
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "test",
        "criteria": TOPIC,
        "channel": {
            "type": "rest-hook",
            "endpoint": url,
            "payload": "application/fhir+json",
            "_payload": {
                "extension": [{"url": f"{BACKPORT}backport-payload-content", "valueCode": content}]
            },
            "header": ["Authorization: Bearer of-the-subscriber"],
            **more,
        },
    }


def filtered(body: dict[str, Any], query: str) -> dict[str, Any]:
    extension = {"url": f"{BACKPORT}backport-filter-criteria", "valueString": query}
    return {**body, "_criteria": {"extension": [extension]}}


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    async with listening() as found:
        yield found


@pytest.fixture
async def client(tmp_path: Path, subscriber: Subscriber) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    site = Site(tmp_path, CONFIG.format(port=port, hook=subscriber.port))
    async with running(site):
        base = f"http://127.0.0.1:{port}/fhir/R4"
        async with httpx.AsyncClient(base_url=base, timeout=20) as found:
            yield found


async def created(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post("/Subscription", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def patient(client: httpx.AsyncClient, family: str, **more: Any) -> str:
    body = {"resourceType": "Patient", "name": [{"family": family}], **more}
    answer = await client.post("/Patient", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def is_status(client: httpx.AsyncClient, id_: str, wanted: str) -> dict[str, Any]:
    """`$status`, once it says so."""
    async with asyncio.timeout(40):
        while True:
            answer = await client.get(f"/Subscription/{id_}/$status")
            assert answer.status_code == 200, answer.text
            found = status(answer.json())
            if found["status"] == wanted:
                return found
            await asyncio.sleep(0.1)


async def test_a_subscriber_is_greeted_and_told_every_change_in_order(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    made = await created(client, subscription(subscriber.url))
    assert made["channel"]["header"] == ["Authorization: ***"]
    await subscriber.until(lambda: bool(subscriber.of("handshake")))
    await is_status(client, made["id"], "active")
    ids = [await patient(client, f"Synthetic{n}") for n in range(5)]
    await client.delete(f"/Patient/{ids[0]}")
    await subscriber.until_numbers(6)
    assert subscriber.numbers() == [1, 2, 3, 4, 5, 6]
    told = [
        one["resource"]["name"][0]["family"]
        for bundle in subscriber.of("event-notification")
        for one in bundle["entry"][1:]
        if "resource" in one
    ]  # patients may change places, the changes of one may not
    assert sorted(told) == [f"Synthetic{n}" for n in range(5)]
    assert all(one["authorization"] == "Bearer of-the-subscriber" for one in subscriber.headers)
    assert (await client.get("/metadata")).json()["rest"][0]["resource"]
    again = await client.get(
        f"/Subscription/{made['id']}/$events?eventsSinceNumber=2&eventsUpToNumber=4&content=id-only"
    )
    assert again.status_code == 200, again.text
    assert event_numbers(again.json()) == [2, 3, 4]
    assert all("resource" not in one for one in again.json()["entry"][1:])


async def test_a_subscriber_that_was_away_misses_nothing(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    made = await created(client, subscription(subscriber.url, content="id-only"))
    await is_status(client, made["id"], "active")
    await patient(client, "Zero")
    await subscriber.until_numbers(1)
    subscriber.status = 503
    for number in range(30):
        await patient(client, f"Away{number}")
    told = await is_status(client, made["id"], "error")
    assert "503" in str(told["error"])
    tried = subscriber.tried
    await subscriber.until(lambda: subscriber.tried >= tried + 3)
    assert subscriber.numbers() == [1]
    subscriber.status = 200
    await subscriber.until_numbers(31)
    assert subscriber.numbers() == list(range(1, 32))
    told = await is_status(client, made["id"], "active")
    assert told["events-since-subscription-start"] == "31"


async def test_a_redirect_is_a_failure_and_never_followed(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    subscriber.status, subscriber.location = 307, f"{subscriber.url}/elsewhere"
    made = await created(client, subscription(subscriber.url))
    told = await is_status(client, made["id"], "error")
    assert "307" in str(told["error"])
    assert subscriber.paths == []


async def test_a_batch_holds_no_more_than_max_count(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    extension = {"url": f"{BACKPORT}backport-max-count", "valuePositiveInt": 2}
    body = subscription(subscriber.url, content="empty", extension=[extension])
    made = await created(client, body)
    await is_status(client, made["id"], "active")
    subscriber.status = 500
    for number in range(5):
        await patient(client, f"Many{number}")
    await is_status(client, made["id"], "error")
    subscriber.status = 200
    await subscriber.until_numbers(5)
    sizes = [len(event_numbers(one)) for one in subscriber.of("event-notification")]
    assert max(sizes) == 2
    assert all("focus" not in e for one in subscriber.of("event-notification")
               for e in status(one)["notificationEvent"])  # fmt: skip


async def test_a_heartbeat_tells_that_nothing_happened(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    extension = {"url": f"{BACKPORT}backport-heartbeat-period", "valueUnsignedInt": 1}
    await created(client, subscription(subscriber.url, extension=[extension]))
    await subscriber.until(lambda: len(subscriber.of("heartbeat")) >= 2)


async def test_what_is_changed_or_deleted_is_heard_no_more(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    made = await created(client, subscription(subscriber.url))
    await is_status(client, made["id"], "active")
    read = (await client.get(f"/Subscription/{made['id']}")).json()
    off = await client.put(f"/Subscription/{made['id']}", json=read | {"status": "off"})
    assert (off.status_code, off.json()["status"]) == (200, "off")
    listed = (await client.get("/Subscription?status=off")).json()
    assert [one["resource"]["id"] for one in listed["entry"]] == [made["id"]]
    assert (await client.delete(f"/Subscription/{made['id']}")).status_code == 204
    assert (await client.get(f"/Subscription/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("change", "status_code"),
    [
        ({"criteria": "urn:example:no-such-topic"}, 422),
        ({"criteria": "Patient?name=x"}, 422),
        ({"channel": {"type": "rest-hook", "endpoint": "http://127.0.0.1:1/hook"}}, 422),
        ({"channel": {"type": "email", "endpoint": "mailto:someone@example.org"}}, 422),
        ({"channel": {"type": "rest-hook"}}, 422),
    ],
)
async def test_what_cannot_be_done_is_refused_with_an_outcome(
    client: httpx.AsyncClient, subscriber: Subscriber, change: dict[str, Any], status_code: int
) -> None:
    answer = await client.post("/Subscription", json=subscription(subscriber.url) | change)
    assert answer.status_code == status_code, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_filters_are_search_parameters(
    client: httpx.AsyncClient, subscriber: Subscriber
) -> None:
    body = filtered(subscription(subscriber.url, content="id-only"), "Patient?gender=female")
    made = await created(client, body)
    await is_status(client, made["id"], "active")
    await patient(client, "Adam", gender="male")
    eve = await patient(client, "Eve", gender="female")
    await patient(client, "Abel", gender="male")
    ada = await patient(client, "Ada", gender="female")
    await client.delete(f"/Patient/{eve}")
    await subscriber.until_numbers(3)
    seen = [
        one["focus"].rpartition("/Patient/")[2] if isinstance(one["focus"], str) else
        one["focus"]["reference"].rpartition("/")[2]
        for bundle in subscriber.of("event-notification")
        for one in status(bundle)["notificationEvent"]
    ]  # fmt: skip
    assert sorted(seen) == sorted([eve, ada, eve])  # each patient's own changes keep their order


async def test_a_websocket_is_bound_by_a_token_and_fed(client: httpx.AsyncClient) -> None:
    body = subscription("", content="id-only")
    body["channel"] = {"type": "websocket", "_payload": body["channel"]["_payload"]}
    made = await created(client, body)
    assert made["status"] == "active"
    await patient(client, "Before")
    answer = await client.get(f"/Subscription/{made['id']}/$get-ws-binding-token")
    assert answer.status_code == 200, answer.text
    told = {
        one["name"]: next(v for k, v in one.items() if k != "name")
        for one in answer.json()["parameter"]
    }
    async with websockets.connect(told["websocket-url"]) as socket:
        await socket.send(f"bind-with-token {told['token']}")
        async with asyncio.timeout(30):
            assert status(json.loads(await socket.recv()))["type"] == "handshake"
            assert event_numbers(json.loads(await socket.recv())) == [1]
            await patient(client, "After")
            assert event_numbers(json.loads(await socket.recv())) == [2]
    async with websockets.connect(told["websocket-url"]) as socket:
        await socket.send("bind-with-token forged")
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()


async def test_r5_is_spoken_where_the_site_holds_r5(tmp_path: Path, subscriber: Subscriber) -> None:
    port = free_port()
    config = CONFIG.format(port=port, hook=subscriber.port)
    config = config.replace('kind = "fhir.store"', 'kind = "fhir.store"\nrelease = "R5"')
    config = config.replace("[gateway.fhir]", '[gateway.fhir]\nreleases = ["R5"]')
    body = {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": TOPIC,
        "channelType": {"code": "rest-hook"},
        "endpoint": subscriber.url,
        "content": "full-resource",
        "filterBy": [{"filterParameter": "family", "value": "Five"}],
    }
    async with running(Site(tmp_path, config)):
        base = f"http://127.0.0.1:{port}/fhir/R5"
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            made = await created(client, body)
            await is_status(client, made["id"], "active")
            await patient(client, "Four")
            await patient(client, "Five")
            await subscriber.until_numbers(1)
            listed = await client.get("/SubscriptionTopic", params={"url": TOPIC})
            assert listed.json()["total"] == 1
    for one in subscriber.notifications:
        Bundle.model_validate(one)
    (told,) = subscriber.of("event-notification")
    assert told["entry"][1]["resource"]["name"] == [{"family": "Five"}]
