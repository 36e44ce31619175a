"""kill -9 of the gateway that delivers: another one of the site carries on, and nothing is missed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.hospital import Process, Site, eventually, running, start
from tests.integration.gateway.test_subscriptions import created, is_status, patient, subscription
from tests.peers.subscriber import event_numbers, listening, status
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240)]

STORE = '[[adapter]]\nname = "fhir-store"\nkind = "fhir.store"\n'
GATEWAY = """
[gateway]
listen = "127.0.0.1:{port}"

[gateway.fhir]

[gateway.subscriptions]
endpoints = ["http://127.0.0.1:{hook}/"]
allow_local = true
longest_delay_s = 0.5
lease_s = 2
types = ["Patient"]
"""


async def gateway(site: Site, name: str, port: int, hook: int) -> Process:
    config = site.folder / f"{name}.toml"
    config.write_text(site.config.read_text() + GATEWAY.format(port=port, hook=hook))
    child = await start(["-m", "tests.peers.second_gateway", str(config)])
    await eventually(
        lambda: bool(child.lines) or child.process.returncode is not None,
        within_s=60,
        what="a gateway listens",
    )
    assert child.lines, "".join(child.errors[-20:])
    return child


async def test_another_gateway_carries_on_when_the_one_that_delivers_is_killed(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, STORE)
    async with running(site), listening() as subscriber:
        ports = [free_port(), free_port()]
        first = await gateway(site, "one", ports[0], subscriber.port)
        second = await gateway(site, "two", ports[1], subscriber.port)
        try:
            clients = [
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/fhir/R4", timeout=20)
                for port in ports
            ]
            made = await created(clients[0], subscription(subscriber.url, content="id-only"))
            await is_status(clients[1], made["id"], "active")
            for number in range(10):
                await patient(clients[number % 2], f"Before{number}")
            await subscriber.until_numbers(10)
            subscriber.status = 503
            for number in range(10):
                await patient(clients[number % 2], f"During{number}")
            first.kill()
            subscriber.status = 200
            for number in range(10):
                await patient(clients[1], f"After{number}")
            await subscriber.until_numbers(30, within_s=90)
            assert sorted(set(subscriber.numbers())) == list(range(1, 31))
            meant: dict[int, str] = {}
            for bundle in subscriber.of("event-notification"):
                events = status(bundle)["notificationEvent"]
                for number, event in zip(event_numbers(bundle), events, strict=True):
                    focus = str(event["focus"])
                    assert meant.setdefault(number, focus) == focus
            assert len(set(meant.values())) == 30
            for one in clients:
                await one.aclose()
        finally:
            for child in (first, second):
                child.kill()
                async with asyncio.timeout(20):
                    await child.ended()
