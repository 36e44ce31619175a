"""Several gateways of one site: any of them answers, and what one was told is not done again by another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.gateway.pair import pair
from tests.nats_server import NatsServer

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240)]

PUBLISH = "/v1/publish/evt.north.raw.notes"
STORE = """
[gateway.fhir]

[[adapter]]
name = "fhir-store"
kind = "fhir.store"
subscribe = ["evt.north.patient.registered.*", "evt.north.patient.updated.*"]
"""


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=20)


async def publish(http: httpx.AsyncClient, base: str, key: str, **headers: str) -> httpx.Response:
    return await http.post(
        base + PUBLISH, content=key.encode(), headers={"Idempotency-Key": key, **headers}
    )


async def test_a_key_that_one_gateway_has_stored_is_a_duplicate_at_each_other(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with pair(tmp_path, nats_server, ["", "", ""]) as gateways, client() as http:
        (_, a), (_, b), (_, c) = gateways
        first, *again = [(await publish(http, base, "report-1")).json() for base in (a, b, c)]
        assert not first["duplicate"]
        for one in again:
            assert (one["duplicate"], one["seq"], one["message_id"]) == (
                True,
                first["seq"],
                first["message_id"],
            )


async def test_one_key_at_all_gateways_at_once_is_one_event(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with pair(tmp_path, nats_server) as gateways, client() as http:
        bases = [base for _, base in gateways] * 10
        answers = await asyncio.gather(*(publish(http, base, "same") for base in bases))
        assert {one.status_code for one in answers} == {202}
        assert len({one.json()["seq"] for one in answers}) == 1
        assert sum(not one.json()["duplicate"] for one in answers) == 1


async def test_a_page_of_one_gateway_goes_on_at_the_other(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        pair(tmp_path, nats_server, [STORE, "[gateway.fhir]\n"]) as gateways,
        client() as http,
    ):
        (_, a), (_, b) = gateways
        await answered(lambda: http.get(f"{b}/fhir/R4/Patient"), 200)
        for number in range(5):
            made = await http.post(f"{b}/fhir/R4/Patient", json=patient(number))
            assert made.status_code == 201, made.text
        seen, bases = [], itertools.cycle((b, a))
        path = "/fhir/R4/Patient?_count=2"
        while path:
            page = (await http.get(next(bases) + path)).json()
            seen += [one["resource"]["id"] for one in page["entry"]]
            links = {one["relation"]: one["url"] for one in page["link"]}
            path = httpx.URL(links["next"]).raw_path.decode() if "next" in links else ""
        assert len(seen) == len(set(seen)) == 5


async def test_a_gateway_of_another_site_key_does_not_start(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with pair(tmp_path, nats_server, [""]):
        with pytest.raises(AssertionError, match="data/trust"):
            async with pair(tmp_path / "other", nats_server, [""]):
                pass


def patient(number: int) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": f"Synthetic{number}"}]}


async def answered(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> None:
    """Wait until a service behind the gateway has been heard of."""
    async with asyncio.timeout(30):
        while (await ask()).status_code != status:
            pass
