"""Several gateways of one site: any of them answers, and what one was told is not done again by another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access.keys import new_api_key
from tests.faults.gateway.pair import pair
from tests.hospital import eventually
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


WRITERS, EACH = 6, 40


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


async def test_each_gateway_knows_the_keys_of_the_configuration_and_refuses_others(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    made, gone = new_api_key("lab"), new_api_key("lab")
    more = (
        '[[gateway.client]]\nname = "lab"\npublish = ["evt.north.raw.notes.*"]\n'
        'subscribe = ["evt.north.raw.notes.*"]\n'
        f'[[gateway.client.key]]\nhash = "{made.hash}"\n'
        f'[[gateway.client.key]]\nhash = "{gone.hash}"\nuntil = 2020-01-01T00:00:00Z\n'
    )
    async with pair(tmp_path, nats_server, [more, more]) as gateways, client() as http:
        for _, base in gateways:
            known = await publish(http, base, "k", **{"X-Api-Key": made.text})
            ended = await publish(http, base, "k", **{"X-Api-Key": gone.text})
            assert (known.status_code, ended.status_code) == (202, 401), (base, known.text)


async def test_a_gateway_killed_under_load_loses_nothing_and_doubles_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each request is repeated at the other gateway until it is answered; one gateway dies in the middle."""
    async with pair(tmp_path, nats_server) as gateways:
        bases = [base for _, base in gateways]
        stored: dict[str, int] = {}
        repeats = 0

        async def write(http: httpx.AsyncClient, name: int) -> None:
            nonlocal repeats
            turn = itertools.cycle(bases[name % 2 :] + bases[: name % 2])
            for number in range(EACH):
                key = f"{name}-{number}"
                while key not in stored:
                    try:
                        got = await publish(http, next(turn), key)
                    except httpx.TransportError:
                        repeats += 1
                        continue
                    if got.status_code == 202:
                        stored[key] = got.json()["seq"]
                    else:
                        assert got.status_code == 503, got.text
                        repeats += 1

        async with client() as http:
            tasks = [asyncio.ensure_future(write(http, name)) for name in range(WRITERS)]
            await eventually(lambda: len(stored) > 60, within_s=60, what="a load under way")
            await gateways[1][0].kill()
            await asyncio.gather(*tasks)
            assert repeats > 0
            again = [(await publish(http, bases[0], key)).json() for key in stored]
        assert [one["seq"] for one in again] == list(stored.values())
        assert all(one["duplicate"] for one in again)
        # one event a key: the numbers of the stream leave no room for a second
        assert sorted(stored.values()) == list(
            range(min(stored.values()), max(stored.values()) + 1)
        )
        assert len(stored) == len(set(stored.values())) == WRITERS * EACH


def patient(number: int) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": f"Synthetic{number}"}]}


async def answered(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> None:
    """Wait until a service behind the gateway has been heard of."""
    async with asyncio.timeout(30):
        while (await ask()).status_code != status:
            pass
