"""The way in over real sockets: stored before 2xx, bytes as they came, and whoever means harm is bounded."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import httpx
import pytest

from adapters.contract import Condition
from schemas.errors import ResourceExhausted
from tests.integration.adapters.fhir.kit import (
    FHIR_JSON,
    bundle,
    endpoint,
    fhir_receiver,
    notification,
    observation,
    patient,
)
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, eventually

JSON = {"content-type": FHIR_JSON}


async def send(
    address: str, body: bytes, *, method: str = "POST", headers: dict[str, str] | None = None
) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.request(method, address, content=body, headers=JSON | (headers or {}))


async def raw(port: int, *pieces: bytes) -> bytes:
    """Write pieces to the socket and read until the receiver closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(DEADLINE_S):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def issue(response: httpx.Response) -> str:
    assert response.headers["content-type"] == FHIR_JSON
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    code: str = outcome["issue"][0]["code"]
    return code


@pytest.mark.parametrize(
    ("method", "below"), [("POST", ""), ("PUT", "/Patient/p1"), ("POST", "/Patient"), ("PUT", "/")]
)
async def test_resource_is_stored_byte_for_byte(tmp_path: Path, method: str, below: str) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        answer = await send(endpoint(receiver) + below, patient(), method=method)
        assert answer.status_code == 200
        assert issue(answer) == "informational"
        assert events.bodies() == [patient()]
        stored = events.events[0]
        assert stored.type == FHIR_JSON
        assert stored.subject.startswith("evt.north.raw.fhir.")


async def test_two_hundred_leaves_only_once_it_is_stored(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        task = asyncio.create_task(send(endpoint(receiver), patient()))
        await events.until(lambda: events.publishing == 1)
        assert not task.done()
        assert events.gate is not None
        events.gate.set()
        assert (await task).status_code == 200


async def test_full_mesh_answers_later_and_shows_it(tmp_path: Path) -> None:
    events = MemoryEvents(failure=ResourceExhausted("full"))
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        answer = await send(endpoint(receiver), patient())
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert issue(answer) == "transient"
        assert receiver.health().condition is Condition.DEGRADED
        events.failure = None
        assert (await send(endpoint(receiver), patient())).status_code == 200
        assert receiver.health().condition is Condition.HEALTHY
        assert events.bodies() == [patient()]


async def test_exact_resend_is_one_event_and_another_content_another(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path) as (receiver, own):
        for body in (patient(), patient(), patient(family="OTHER")):
            assert (await send(endpoint(receiver), body)).status_code == 200
        assert events.bodies() == [patient(), patient(family="OTHER")]
        assert own.counters.get("resource_stored", reason="duplicate") == 1


async def test_what_is_about_one_patient_shares_a_partition(tmp_path: Path) -> None:
    events = MemoryEvents()
    bodies = [
        patient("p1"),
        observation("o1", subject="Patient/p1"),
        observation("o2", subject="https://ehr.example/r4/Patient/p1/_history/3"),
        bundle("collection", ("PUT Observation/o3", observation("o3", subject="Patient/p1"))),
    ]
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        for body in bodies:
            await send(endpoint(receiver), body)
    assert len({event.partition for event in events.events}) == 1
    assert [event.index.patient[0].value for event in events.events] == ["Patient/p1"] * 4


async def test_types_may_have_events_of_their_own(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"event_by_type": {"Observation": "result.reported"}, "event": "patient.changed"}
    async with fhir_receiver(events, tmp_path, **settings) as (receiver, _):
        await send(endpoint(receiver), patient())
        await send(endpoint(receiver), observation("o1"))
    assert [event.subject.rpartition(".")[0] for event in events.events] == [
        "evt.north.patient.changed",
        "evt.north.result.reported",
    ]


@pytest.mark.parametrize("release", ["R4", "R4B", "R5"])
async def test_notifications_are_understood(tmp_path: Path, release: str) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path) as (receiver, own):
        for kind in ("handshake", "heartbeat"):
            body = notification(kind, release=release)
            assert (await send(endpoint(receiver), body)).status_code == 200
        assert not events.events
        assert "last heartbeat" in receiver.health().detail
        resources = (patient(), observation("o1"), observation("o2", subject="Patient/p2"))
        body = notification("event-notification", *resources, release=release)
        for _ in range(2):  # a server that heard no answer sends it again
            assert (await send(endpoint(receiver), body)).status_code == 200
        assert events.bodies() == [patient().strip(), *resources[1:]]
        assert own.counters.get("notification_received") == 4


async def test_notification_stays_whole_when_asked_or_when_it_lacks_resources(
    tmp_path: Path,
) -> None:
    events = MemoryEvents()
    whole = notification("event-notification", patient())
    async with fhir_receiver(events, tmp_path, bundles="whole") as (receiver, _):
        assert (await send(endpoint(receiver), whole)).status_code == 200
    lacking = whole[:-2] + b',{"fullUrl":"http://ehr.example/Patient/p2"}]}'
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        assert (await send(endpoint(receiver), lacking)).status_code == 200
    assert events.bodies() == [whole, lacking]


DEEP = b'{"resourceType":"Patient","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "required"),
        (b"MSH|^~\\&|", {}, 400, "structure"),
        (b'{"resourceType":"Patient"', {}, 400, "structure"),
        (b'{"resourceType":"Patient"} {}', {}, 400, "structure"),
        (b'["Patient"]', {}, 400, "structure"),
        (b'{"resourceType":7}', {}, 400, "structure"),
        (b'{"resourceType":"../etc"}', {}, 400, "structure"),
        (b'{"resourceType":"Patient","id":"a/b"}', {}, 400, "structure"),
        (b'{"resourceType":"Patient","x":"\xff"}', {}, 400, "structure"),
        (b'{"resourceType":"Patient","x":NaN}', {}, 400, "structure"),
        (DEEP, {}, 400, "structure"),
        (notification("surprise"), {}, 400, "structure"),
        (patient(), {"content-type": "text/plain"}, 415, "not-supported"),
        (patient(), {"content-type": "application/fhir+xml"}, 415, "not-supported"),
        (
            gzip.compress(b" " * 10_000_000, mtime=0),
            {"content-encoding": "gzip"},
            415,
            "not-supported",
        ),
        (b" " * 70_000 + patient(), {}, 413, "too-long"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, bytes) else "",
)
async def test_bad_input_is_refused_with_its_reason_and_stored_nowhere(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    events = MemoryEvents()
    limit = 250_000 if body is DEEP else 65_536
    async with fhir_receiver(events, tmp_path, max_body_bytes=limit) as (receiver, own):
        answer = await send(endpoint(receiver), body, headers=headers)
        assert (answer.status_code, issue(answer)) == (status, code)
        assert not events.events
        refused = own.counters.get("resource_refused") + own.counters.get("request_refused")
        assert refused == 1
        assert (await send(endpoint(receiver), patient())).status_code == 200


async def test_address_must_agree_with_the_body(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        base = endpoint(receiver)
        for below in ("/Observation", "/Patient/p2", "/Patient/p1/extra", "/a b", "/../x"):
            assert (await send(base + below, patient(), method="PUT")).status_code in (400, 404)
        assert (await send(f"{base[:-5]}/other", patient())).status_code == 404
        answer = await send(f"{base}/Patient/p1", b"", method="DELETE")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST, PUT"
    assert not events.events


async def test_secret_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = MemoryEvents()
    monkeypatch.setenv("IN_SECRET", "new\nold\n")
    token = {"secret_env": "IN_SECRET"}
    async with fhir_receiver(events, tmp_path, token=token) as (receiver, own):
        wrong: list[dict[str, str]] = [
            {},
            {"authorization": "Bearer nope"},
            {"authorization": "new"},
            {"authorization": "Bearer"},
        ]
        for headers in wrong:
            answer = await send(endpoint(receiver), patient(), headers=headers)
            assert (answer.status_code, issue(answer)) == (401, "login")
        assert own.counters.get("request_refused", reason="unauthorized") == 4
        for secret in ("new", "old"):
            headers = {"authorization": f"Bearer {secret}"}
            answer = await send(endpoint(receiver), patient(), headers=headers)
            assert answer.status_code == 200
    token = {"secret_env": "IN_SECRET", "header": "X-Hook-Secret"}
    async with fhir_receiver(events, tmp_path, token=token) as (receiver, _):
        answer = await send(endpoint(receiver), patient(), headers={"x-hook-secret": "old"})
        assert answer.status_code == 200


async def test_large_body_is_refused_by_its_head_and_by_its_bytes(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path, max_body_bytes=1024) as (receiver, own):
        head = b"POST /fhir HTTP/1.1\r\nhost: x\r\ncontent-type: application/fhir+json\r\n"
        answer = await raw(receiver.bound_port, head + b"content-length: 99999999\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        answer = await raw(
            receiver.bound_port, head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 2
        )
        assert answer.startswith(b"HTTP/1.1 413")
        assert own.counters.get("request_refused", reason="body_too_large") == 2


async def test_slow_and_endless_peers_are_cut(tmp_path: Path) -> None:
    events = MemoryEvents()
    settings = {"head_timeout_s": 0.2, "body_timeout_s": 0.2, "idle_timeout_s": 0.5}
    async with fhir_receiver(events, tmp_path, **settings) as (receiver, own):
        port = receiver.bound_port
        start = b"POST /fhir HTTP/1.1\r\nhost: x\r\n"
        assert await raw(port, start) == b""
        assert await raw(port) == b""
        slow = start + b"content-type: application/fhir+json\r\ncontent-length: 9\r\n\r\n{"
        assert (await raw(port, slow)).startswith(b"HTTP/1.1 408")
        assert await raw(port, start, *[b"x-a: " + b"a" * 60_000 + b"\r\n"] * 20) == b""
        assert (await raw(port, b"\x16\x03\x01\x02\x00\x01\x00")).startswith(b"HTTP/1.1 400")
        cut = {key[2] for key in own.counters.snapshot() if key[0] == "connection_cut"}
        assert cut == {"head_timeout", "idle", "head_too_large"}
        assert own.counters.get("request_refused", reason="body_timeout") == 1
        assert (await send(endpoint(receiver), patient())).status_code == 200
        await eventually(lambda: "0 connections" in receiver.health().detail, what="all are gone")


async def test_connections_and_requests_are_bounded(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    settings = {"max_requests": 2, "max_connections": 3}
    async with fhir_receiver(events, tmp_path, **settings) as (receiver, own):
        tasks = [
            asyncio.create_task(send(endpoint(receiver), patient(f"p{number}")))
            for number in range(2)
        ]
        await events.until(lambda: events.publishing == 2)
        answer = await send(endpoint(receiver), patient("p3"))
        assert (answer.status_code, issue(answer)) == (503, "throttled")
        assert answer.headers["retry-after"] == "1"
        _, idle = await asyncio.open_connection("127.0.0.1", receiver.bound_port)
        assert await raw(receiver.bound_port) == b""
        assert own.counters.get("connection_cut", reason="max_connections") == 1
        idle.transport.abort()
        assert events.gate is not None
        events.gate.set()
        assert [(await task).status_code for task in tasks] == [200, 200]


async def test_networks_that_are_not_allowed_are_cut(tmp_path: Path) -> None:
    async with fhir_receiver(MemoryEvents(), tmp_path, allow=["10.0.0.0/8"]) as (receiver, own):
        assert await raw(receiver.bound_port, b"POST /fhir HTTP/1.1\r\n\r\n") == b""
        assert own.counters.get("connection_cut", reason="address_not_allowed") == 1


async def test_drain_answers_what_is_in_hand(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with fhir_receiver(events, tmp_path) as (receiver, _):
        task = asyncio.create_task(send(endpoint(receiver), patient()))
        await events.until(lambda: events.publishing == 1)
        drain = asyncio.create_task(receiver.drain(timeout_s=DEADLINE_S))
        await eventually(lambda: "draining" in receiver.health().detail, what="it drains")
        with pytest.raises(httpx.TransportError):
            await send(endpoint(receiver), patient("p2"))
        assert events.gate is not None
        events.gate.set()
        assert (await task).status_code == 200
        await drain


async def test_nothing_of_a_body_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = MemoryEvents()
    async with fhir_receiver(events, tmp_path) as (receiver, own):
        bodies = (b'{"resourceType":"ZEBRAFISH 1"}', b'{"ZEBRAFISH":"QUOKKA",}', b"ZEBRAFISH")
        told = [(await send(endpoint(receiver), body)).text for body in bodies]
        told += [(await send(f"{endpoint(receiver)}/ZEBRAFISH", patient())).text]
        told += [repr(own.counters.snapshot()), repr(receiver.health()), *capsys.readouterr()]
    assert "ZEBRAFISH" not in "".join(told)
    assert "QUOKKA" not in "".join(told)
