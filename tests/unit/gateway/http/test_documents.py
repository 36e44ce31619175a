"""Documents, metrics, health: what they say, and to whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import MethodWords
from gateway.http import metrics, openapi
from gateway.http.documents import Documents
from gateway.http.edge import Edge
from gateway.http.metrics import MAX_SERIES, Gauge
from gateway.http.state import State
from gateway.http.v1 import ApiPart
from schemas.gateway import GatewaySection
from tests.unit.gateway.http.kit import FakeAccess, World, ask, seen

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"ward": {"$ref": "#/$defs/Ward"}},
        "$defs": {"Ward": {"type": "string"}},
    }
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path, access=FakeAccess(operate=("view",)))
    found.services = {"beds": [seen("beds", "free"), seen("beds", "free", version="2.1.0")]}
    return found


async def _words(service: str, instance: str) -> Sequence[MethodWords]:
    return (MethodWords(name="free", request_type="application/json", request_schema=SCHEMA),)


def edge(world: World, *, is_draining: bool = False) -> Edge:
    runtime = replace(world.runtime(), describe=_words)
    api = ApiPart(GatewaySection(), runtime, world.access)
    state = State(is_connected=lambda: world.is_connected, is_draining=lambda: is_draining)
    documents = Documents(
        runtime, world.access, url="https://mesh.example", is_anonymous=False, in_hand=lambda: 3
    )
    mounts = [*state.mounts(), *documents.mounts(), *api.mounts()]
    documents.describe(mounts, [api.components()])
    return world.edge(mounts)


async def test_the_document_has_every_route_and_the_services_that_run(world: World) -> None:
    told = (await ask(edge(world), "GET", "/openapi.json")).json
    assert told["openapi"] == "3.1.0"
    assert {
        "/healthz", "/readyz", "/metrics", "/openapi.json", "/asyncapi.json", "/v1/hl7v2",
        "/v1/publish/{subject}", "/v1/request/{service}/{method}", "/v1/request/beds/free",
    } <= set(told["paths"])  # fmt: skip
    free = told["paths"]["/v1/request/beds/free"]["post"]
    version = next(one for one in free["parameters"] if one["name"] == "v")
    assert version["schema"] == {"type": "integer", "enum": [1, 2]}
    assert version["required"] is False
    assert free["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/beds.v2.free.request"
    }
    schemas = told["components"]["schemas"]
    assert schemas["beds.v2.free.request"]["properties"]["ward"] == {
        "$ref": "#/components/schemas/beds.v2.free.request.Ward"
    }
    assert schemas["beds.v2.free.request.Ward"] == {"type": "string"}


async def test_each_reference_of_the_document_leads_somewhere(world: World) -> None:
    told = (await ask(edge(world), "GET", "/openapi.json")).json

    def references(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(references, value))
        if not isinstance(value, dict):
            return set()
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))

    schemas = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert references(told) <= schemas


async def test_a_schema_that_cannot_be_read_is_left_out() -> None:
    deep = '{"a":' * 200 + "{}" + "}" * 200
    for text in (
        "nonsense",
        "{",
        "[1]",
        '"x"',
        "medmesh.v1.Message",
        deep,
        '{"a":"' + "x" * 70_000,
    ):
        method = MethodWords(name="m", request_schema=text)
        told = openapi.document(
            title="t", url="", mounts=(), components=(), is_anonymous=True,
            services=[openapi.Service(name="s", major=1, methods=(method,))],
        )  # fmt: skip
        body = told["paths"]["/v1/request/s/m"]["post"]["requestBody"]["content"]
        assert body == {"application/octet-stream": {"schema": True}}
        assert "security" not in told


async def test_documents_are_for_clients(world: World) -> None:
    for path in ("/openapi.json", "/asyncapi.json"):
        assert (await ask(edge(world), "GET", path, headers={"x-api-key": ""})).status == 401
        assert (await ask(edge(world), "GET", path)).status == 200
        assert (await ask(edge(world), "POST", path)).headers["allow"] == "GET, HEAD"
        assert (await ask(edge(world), "GET", path, headers={"accept": "text/html"})).status == 406


async def test_a_gateway_that_drains_or_has_lost_the_mesh_is_not_ready_but_lives(
    world: World,
) -> None:
    assert (await ask(edge(world), "GET", "/readyz")).status == 200
    draining = edge(world, is_draining=True)
    assert (await ask(draining, "GET", "/readyz")).code == "draining"
    assert (await ask(draining, "GET", "/healthz")).status == 200
    world.is_connected = False
    got = await ask(edge(world), "GET", "/readyz")
    assert (got.status, got.code) == (503, "disconnected")


async def test_metrics_are_for_operators_and_for_this_machine(world: World) -> None:
    world.counters.add("message_stored", who="emr", reason='a"b\n')
    got = await ask(edge(world), "GET", "/metrics")
    assert got.status == 200
    lines = got.body.decode().splitlines()
    assert 'medmesh_message_stored_total{who="emr",reason="a\\"b\\n"} 1' in lines
    assert "medmesh_http_in_hand 3" in lines
    assert 'medmesh_service_instances{service="beds"} 2' in lines
    world.access.operate = ()
    assert (await ask(edge(world), "GET", "/metrics")).status == 403
    assert (await ask(edge(world), "GET", "/metrics", headers={"x-api-key": ""})).status == 401


def test_metrics_are_bounded_and_what_exceeds_them_is_summed_up() -> None:
    counts = {("event", "who", f"{i:06}"): 1 for i in range(MAX_SERIES + 10)}
    lines = metrics.render({**counts, ("bad name", "", ""): 1}, []).decode().splitlines()
    assert sum(not line.startswith("#") for line in lines) == MAX_SERIES + 1
    assert 'medmesh_event_total{who="other",reason="other"} 10' in lines


def test_gauges_are_told_once_each_with_their_words() -> None:
    gauges = [Gauge(name="x", help="X.", value=1, labels={"a": str(i)}) for i in range(2)]
    assert metrics.render({}, gauges).decode().splitlines() == [
        "# HELP medmesh_x X.",
        "# TYPE medmesh_x gauge",
        'medmesh_x{a="0"} 1',
        'medmesh_x{a="1"} 1',
    ]
