"""The gateway of `medmesh up`, asked by real clients on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.access.keys import new_api_key
from tests.hospital import Site, archive, eventually, running
from tests.integration.adapters.hl7v2.certificates import TestAuthority
from tests.integration.gateway.http_site import Wards, curl, serving, ward_service
from tests.ports import free_port

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
PUBLISH = "/v1/publish/evt.north.raw.notes"
ADT = b"MSH|^~\\&|EMR|NORTH|MESH|NORTH|20260101120000||ADT^A01|42|P|2.5\rPID|1||4711^^^NORTH\r"


def gateway(port: int, more: str = "") -> str:
    return f'[gateway]\nlisten = "127.0.0.1:{port}"\n{more}\n'


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[tuple[Site, str]]:
    """A site whose events end in a folder, and the address of its gateway."""
    port = free_port()
    more = 'max_body = "64 KiB"\nbody_timeout_s = 1.0\nmax_header = "8 KiB"'
    found = Site(tmp_path, gateway(port, more) + archive(tmp_path / "archive"))
    async with running(found):
        yield found, f"http://127.0.0.1:{port}"


async def test_curl_publishes_over_both_versions_and_the_event_arrives(
    site: tuple[Site, str], tmp_path: Path
) -> None:
    _, base = site
    key = ("-H", "Idempotency-Key: note-1")
    first = await curl(base + PUBLISH, *key, "-H", "Content-Type: text/plain", body=b"hello")
    assert (first.status, first.version) == (202, "1.1"), first
    again = await curl(base + PUBLISH, *key, "--http2-prior-knowledge", body=b"hello")
    assert (again.status, again.version) == (202, "2")
    assert (first.json["duplicate"], again.json["duplicate"]) == (False, True)
    assert first.json["message_id"] == again.json["message_id"]
    await eventually(
        lambda: any(
            b"hello" in one.read_bytes()
            for one in (tmp_path / "archive").rglob("*")
            if one.is_file()
        ),
        within_s=20,
        what="the note in the archive",
    )
    acknowledged = await curl(
        f"{base}/v1/hl7v2", "-H", "Content-Type: application/hl7-v2", body=ADT
    )
    assert acknowledged.status == 200
    assert "MSA|AA|42" in acknowledged.body


async def test_wrong_input_of_each_kind_has_its_problem(site: tuple[Site, str]) -> None:
    _, base = site
    large = b"x" * (65 * 1024)
    for arguments, body, status, code in (
        (("-X", "POST"), large, 413, "body_too_large"),
        (("-H", "Transfer-Encoding: chunked"), large, 413, "body_too_large"),
        (("--http2-prior-knowledge",), large * 20, 413, "body_too_large"),
        (("-X", "GET"), None, 405, "method_not_allowed"),
        (("-H", "Content-Encoding: gzip"), b"x", 415, "content_encoding"),
        (("-H", "Accept: text/html"), b"x", 406, "not_acceptable"),
        (("-H", "Request-Timeout: soon"), b"x", 400, "request_timeout"),
        (("-H", "Host: rebound.example"), b"x", 421, "host_not_allowed"),
        (("-H", "Origin: https://evil.example"), b"x", 403, "origin_not_allowed"),
    ):
        got = await curl(base + PUBLISH, *arguments, body=body)
        assert (got.status, got.json["code"]) == (status, code), got
        assert "application/problem+json" in got.head
    for path in (
        "/",
        "/v1/publish",
        "/v1/publish/evt.other.raw.notes",
        "/v1/%00",
        "/v1/request/a/b/c",
    ):
        assert (await curl(base + path, body=b"x")).status in (400, 404), path
    flood = [one for i in range(200) for one in ("-H", f"X-{i}: {'y' * 100}")]
    assert (await curl(base + PUBLISH, *flood, body=b"x")).status == 431
    assert (await curl(f"{base}/healthz")).json == {"status": "ok"}


async def test_a_body_that_comes_byte_by_byte_is_cut_in_time_and_hurts_nobody(
    site: tuple[Site, str],
) -> None:
    _, base = site
    host, _, port = base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {PUBLISH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nx".encode()
    )
    await writer.drain()
    async with httpx.AsyncClient(base_url=base) as client:
        assert (await client.post(PUBLISH, content=b"quick")).status_code == 202
    head = await asyncio.wait_for(reader.readline(), 10)
    assert b"408" in head
    writer.close()


async def test_a_gigabyte_is_refused_without_being_held(site: tuple[Site, str]) -> None:
    running_site, base = site
    before = running_site.resident_bytes()
    process = await asyncio.create_subprocess_shell(
        f"head -c 1073741824 /dev/zero | curl -sS -o /dev/null -w '%{{http_code}}' -H 'Expect:' "
        f"-H 'Transfer-Encoding: chunked' -T - -X POST {base}{PUBLISH}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.strip() == b"413"
    assert running_site.resident_bytes() - before < 64 << 20


async def test_a_service_is_called_a_slow_one_times_out_and_who_leaves_cancels_it(
    site: tuple[Site, str],
) -> None:
    running_site, base = site
    wards = Wards()
    async with serving(running_site.config) as mesh:
        await mesh.serve(ward_service(wards))
        address = f"{base}/v1/request/wards"
        binary = ("-H", "Content-Type: application/octet-stream")
        async with asyncio.timeout(20):
            while (await curl(f"{address}/echo", *binary, body=b"\x00\xff")).status != 200:
                pass  # until the gateway has heard of the service
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            echo = await client.post("/v1/request/wards/echo", content=b"\x00\xff")
            assert (echo.status_code, echo.content) == (200, b"\x00\xff")
            late = await client.post(
                "/v1/request/wards/wait", content=b"", headers={"Request-Timeout": "0.3"}
            )
            assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
            none = await client.post("/v1/request/wards/nothing", content=b"")
            assert (none.status_code, none.json()["code"]) == (404, "not_found_there")
            told = (await client.get("/openapi.json")).json()
            assert "/v1/request/wards/echo" in told["paths"]
            metrics = (await client.get("/metrics")).text
            assert 'medmesh_service_instances{service="wards"} 1' in metrics
            for version in ((), ("--http2-prior-knowledge",)):
                wards.begun.clear()
                wards.cancelled.clear()
                leaving = asyncio.ensure_future(
                    curl(f"{address}/wait", *binary, *version, "--max-time", "1", body=b"")
                )
                await asyncio.wait_for(wards.begun.wait(), 20)
                await asyncio.wait_for(wards.cancelled.wait(), 20)
                assert (await leaving).code == 28


async def test_a_stop_finishes_what_is_in_hand_and_takes_nothing_new(
    site: tuple[Site, str],
) -> None:
    running_site, base = site
    wards = Wards()
    async with (
        serving(running_site.config) as mesh,
        httpx.AsyncClient(base_url=base, timeout=30) as client,
    ):
        await mesh.serve(ward_service(wards))
        await eventually_served(client)
        wards.begun.clear()
        in_hand = asyncio.ensure_future(client.post("/v1/request/wards/wait", content=b""))
        await asyncio.wait_for(wards.begun.wait(), 20)
        assert running_site.child is not None
        running_site.child.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while (await client.get("/readyz")).status_code != 503:
                pass
        refused = await client.post(PUBLISH, content=b"late")
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        wards.hold.set()
        answer = await in_hand
        assert (answer.status_code, answer.content) == (200, b"waited")
    await asyncio.wait_for(running_site.child.ended(), 60)
    assert running_site.child.process.returncode == 0


async def eventually_served(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        while (await client.post("/v1/request/wards/echo", content=b"")).status_code != 200:
            pass


async def test_what_was_confirmed_before_a_kill_is_stored(tmp_path: Path) -> None:
    """kill -9 in the middle of many publishes: who got 202 is told afterwards that it is a duplicate."""
    port = free_port()
    site = Site(tmp_path, gateway(port) + archive(tmp_path / "archive"))
    base = f"http://127.0.0.1:{port}"
    confirmed: set[str] = set()

    async def publish(client: httpx.AsyncClient, name: int) -> None:
        for i in range(10_000):
            key = f"k{name}-{i}"
            try:
                got = await client.post(
                    PUBLISH, content=b"x" * 500, headers={"Idempotency-Key": key}
                )
            except httpx.HTTPError:
                return
            if got.status_code == 202:
                confirmed.add(key)

    async with running(site):
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            tasks = [asyncio.ensure_future(publish(client, name)) for name in range(16)]
            await eventually(lambda: len(confirmed) > 200, within_s=60, what="publishes under way")
            await site.kill()
            await asyncio.gather(*tasks)
        assert site.child is not None
        await eventually(lambda: not _listens(port), within_s=20, what="the port is free again")
        await site.start()
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            for key in sorted(confirmed):
                got = await client.post(
                    PUBLISH, content=b"x" * 500, headers={"Idempotency-Key": key}
                )
                assert (got.status_code, got.json()["duplicate"]) == (202, True), key


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


async def test_https_speaks_both_versions_and_clients_are_told_apart(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    signed = authority.sign("localhost")
    port = free_port()
    made = new_api_key("lab")
    more = (
        f'[gateway.tls]\ncertificate = "{signed.cert}"\nkey = "{signed.key}"\n'
        '[[gateway.client]]\nname = "lab"\npublish = ["evt.north.raw.notes.*"]\n'
        f'[[gateway.client.key]]\nhash = "{made.hash}"\n'
    )
    site = Site(tmp_path, gateway(port, more) + archive(tmp_path / "archive"))
    base = f"https://localhost:{port}"
    trusted = ("--cacert", str(authority.ca), "--resolve", f"localhost:{port}:127.0.0.1")
    shown = ("-H", f"X-Api-Key: {made.text}")
    async with running(site):
        for version, wanted in (("--http1.1", "1.1"), ("--http2", "2")):
            got = await curl(base + PUBLISH, *trusted, *shown, version, body=b"x")
            assert (got.status, got.version) == (202, wanted), got
        unknown = await curl(base + PUBLISH, *trusted, body=b"x")
        assert (unknown.status, unknown.json["code"]) == (401, "unauthenticated")
        other = f"{base}/v1/publish/evt.north.raw.secrets"
        refused = await curl(other, *trusted, *shown, body=b"x")
        assert (refused.status, refused.json["code"]) == (403, "forbidden")
