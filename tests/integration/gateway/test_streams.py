"""Following events over HTTP and WebSocket at a running site, as clients do it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.access.keys import new_api_key
from tests.hospital import Site, running
from tests.integration.gateway.http_site import curl
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]
NOTES = "/v1/publish/evt.north.raw.notes"
ALL = "/v1/subscribe/evt.north.%3E"
DEADLINE_S = 20.0


def gateway(port: int, more: str = "") -> str:
    return f'[gateway]\nlisten = "127.0.0.1:{port}"\n{more}\n'


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    async with running(Site(tmp_path, gateway(port))):
        yield f"http://127.0.0.1:{port}"


async def publish(
    base: str, *bodies: str, to: str = NOTES, headers: dict[str, str] | None = None
) -> None:
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        for body in bodies:
            headers = {"Medmesh-Key": "one", **(headers or {})}
            stored = await client.post(base + to, content=body, headers=headers)
            assert stored.status_code == 202, stored.text


@asynccontextmanager
async def lines_of(
    url: str, headers: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of a stream of lines; what shows only life or a position is left out."""
    accept = {"Accept": "application/x-ndjson", **(headers or {})}
    async with (
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream("GET", url, headers=accept) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for line in answer.aiter_lines():
                found = json.loads(line) if line else {}
                if "subject" in found or "end" in found:
                    yield found

        yield events()


async def taken(events: AsyncIterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(events) for _ in range(count)]


def bodies(events: list[dict[str, Any]]) -> list[str]:
    return [one["body"] for one in events]


async def test_events_come_as_they_are_stored_and_again_behind_an_id(base: str) -> None:
    async with lines_of(base + ALL + "?from=start") as events:
        await publish(base, "1", "2", "3")
        found = await taken(events, 3)
    assert bodies(found) == ["1", "2", "3"]
    assert found[0]["subject"].startswith("evt.north.raw.notes.")
    assert found[0]["source"] == "gateway"
    await publish(base, "4")
    async with lines_of(base + ALL, {"Last-Event-ID": found[1]["id"]}) as events:
        assert bodies(await taken(events, 2)) == ["3", "4"]
    async with lines_of(base + ALL + f"?from={found[2]['id']}") as events:
        assert bodies(await taken(events, 1)) == ["4"]
    async with lines_of(base + ALL + "?from=2020-01-01T00:00:00Z") as events:
        assert bodies(await taken(events, 4)) == ["1", "2", "3", "4"]


async def test_now_leaves_out_what_was_before(base: str) -> None:
    await publish(base, "before")
    async with lines_of(base + ALL) as events:
        following = asyncio.create_task(taken(events, 1))
        await publish(base, "after")
        assert bodies(await following) == ["after"]


async def test_bytes_that_are_no_text_come_as_base64(base: str) -> None:
    async with lines_of(base + ALL + "?from=start") as events:
        async with httpx.AsyncClient() as client:
            await client.post(base + NOTES, content=b"\xff\x00")
        (found,) = await taken(events, 1)
    assert found["body_base64"] == "/wA="
    assert "body" not in found


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_server_sent_events_over_both_versions(base: str) -> None:
    await publish(base, "hello")
    for more in ((), ("--http2-prior-knowledge",)):
        got = await curl(base + ALL + "?from=start", "-N", "--max-time", "3", *more)
        assert got.code == 28, got  # it goes on until curl has enough
        assert "text/event-stream" in got.head
        assert got.body.startswith("retry: 2000\n\n")
        data = [line[6:] for line in got.body.splitlines() if line.startswith("data: ")]
        assert json.loads(data[0])["body"] == "hello"
        assert f"id: {json.loads(data[0])['id']}\n" in got.body


async def test_a_websocket_carries_the_same_and_says_why_it_ends(base: str) -> None:
    address = base.replace("http", "ws") + ALL + "?from=start"
    await publish(base, "1")
    async with connect(address) as socket, asyncio.timeout(DEADLINE_S):
        first = json.loads(await socket.recv())
        assert first["body"] == "1"
        await publish(base, "2")
        assert json.loads(await socket.recv())["body"] == "2"
    async with connect(address, additional_headers={"Last-Event-ID": first["id"]}) as socket:
        assert json.loads(await socket.recv())["body"] == "2"
    async with connect(address.replace("evt.north", "evt.south")) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400


async def test_wrong_input_of_each_kind_has_its_problem(base: str) -> None:
    cases: list[tuple[str, dict[str, str], int, str]] = [
        ("/v1/subscribe/", {}, 400, "subject"),
        ("/v1/subscribe/evt.south.%3E", {}, 400, "subject"),
        ("/v1/subscribe/%3E", {}, 400, "subject"),
        ("/v1/subscribe/dlq.%3E", {}, 400, "subject"),
        (ALL + "?from=yesterday", {}, 400, "bad_position"),
        (ALL + "?from=2026-01-01T00:00:00", {}, 400, "bad_position"),
        (ALL, {"Last-Event-ID": "' or 1=1"}, 400, "bad_position"),
        (ALL, {"Last-Event-ID": "00000000-5"}, 410, "stream_replaced"),
        (ALL, {"Accept": "image/png"}, 406, "not_acceptable"),
    ]
    async with httpx.AsyncClient() as client:
        for path, headers, status, code in cases:
            got = await client.get(base + path, headers=headers)
            assert (got.status_code, got.json()["code"]) == (status, code), path
        assert (await client.post(base + ALL)).status_code == 405


CLIENTS = """
[gateway.streams]
heartbeat_s = 1
max_per_client = 2

[[gateway.client]]
name = "lab"
publish = ["evt.north.result.>"]
subscribe = ["evt.north.result.>"]

[[gateway.client.key]]
hash = "{lab}"

[[gateway.client]]
name = "ward"
publish = ["evt.north.patient.>"]
subscribe = ["evt.north.patient.>"]

[[gateway.client.key]]
hash = "{ward}"
"""


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[tuple[str, dict[str, str], dict[str, str]]]:
    """A gateway with two clients, and how each shows who it is."""
    port, keys = free_port(), {name: new_api_key(name) for name in ("lab", "ward")}
    more = CLIENTS.format(**{name: key.hash for name, key in keys.items()})
    async with running(Site(tmp_path, gateway(port, more))):
        yield (
            f"http://127.0.0.1:{port}",
            {"X-Api-Key": keys["lab"].text},
            {"X-Api-Key": keys["ward"].text},
        )


async def test_a_client_sees_what_it_may_and_never_anothers_events(
    shared: tuple[str, dict[str, str], dict[str, str]],
) -> None:
    base, lab, ward = shared
    results, patients = "/v1/subscribe/evt.north.result.%3E", "/v1/subscribe/evt.north.patient.%3E"
    async with httpx.AsyncClient() as client:
        for path, headers, status in (
            (results, {}, 401),
            (results, {"X-Api-Key": "mm_wrong"}, 401),
            (patients, lab, 403),
            (results, ward, 403),
            (ALL, lab, 403),
            ("/v1/subscribe/evt.north.*.seen.*", lab, 403),
        ):
            got = await client.get(base + path, headers=headers)
            assert got.status_code == status, (path, got.text)
    async with lines_of(base + results + "?from=start", lab) as events:
        await publish(base, "theirs", to="/v1/publish/evt.north.patient.seen", headers=ward)
        await publish(base, "ours", to="/v1/publish/evt.north.result.seen", headers=lab)
        assert bodies(await taken(events, 1)) == ["ours"]
        async with lines_of(base + results, lab):
            async with httpx.AsyncClient() as client:
                over = await client.get(base + results, headers=lab)
            assert (over.status_code, over.json()["code"]) == (429, "rate_limited")


async def test_a_drained_gateway_says_so_to_each_stream(tmp_path: Path) -> None:
    port = free_port()
    site = Site(tmp_path, gateway(port))
    base = f"http://127.0.0.1:{port}"
    async with running(site), lines_of(base + ALL) as events:
        assert site.child is not None
        site.child.process.terminate()
        (last,) = await taken(events, 1)
        assert last["end"]["code"] == "draining"


async def test_a_stream_goes_on_at_another_gateway_after_kill_9(tmp_path: Path) -> None:
    """Nothing is lost and nothing comes twice, whatever was on its way."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    first = Site(tmp_path, gateway(port))
    async with running(first), lines_of(base + ALL + "?from=start") as events:
        await publish(base, *map(str, range(10)))
        seen = await taken(events, 7)
        assert first.child is not None
        first.child.kill()
        await first.child.ended()
    second = Site(tmp_path, gateway(port))
    async with running(second):
        await publish(base, *map(str, range(10, 15)))
        async with lines_of(base + ALL, {"Last-Event-ID": seen[-1]["id"]}) as events:
            seen += await taken(events, 8)
    assert bodies(seen) == list(map(str, range(15)))
