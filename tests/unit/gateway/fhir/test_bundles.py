"""Batches and transactions at the façade."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.gateway.fhir.parts import (
    BASE,
    FOUND,
    PATIENT,
    always,
    outcome,
    request,
    town,
    two_owners,
)


def bundle(kind: str, *entries: dict[str, Any]) -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)})


def entry(method: str, url: str, resource: object = None, **more: str) -> dict[str, Any]:
    found: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    if resource is not None:
        found["resource"] = resource
    return found


def store(interaction: pb.Interaction) -> pb.Outcome:
    """Has Patient/1 and nothing else."""
    if interaction.kind == pb.KIND_CREATE:
        return pb.Outcome(
            status=201, body=interaction.body, resource_type=interaction.resource_type, id="9",
            version="1", has_location=True,
        )  # fmt: skip
    if interaction.id == "1":
        return pb.Outcome(**FOUND)
    words = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}'
    return pb.Outcome(status=404, body=words)


async def test_a_batch_works_each_entry_by_itself_in_its_order() -> None:
    mesh = town(store)
    mesh.access.forbidden = {("Specimen", "r")}
    posted = bundle(
        "batch",
        entry("GET", "Patient/1"),
        entry("GET", "Patient/2"),
        entry("POST", "Observation", {"resourceType": "Observation", "valueDecimal": 1.5}),
        entry("GET", "Specimen/1"),
        entry("GET", f"{BASE}/Patient/1"),
        entry("GET", "https://elsewhere.example/Patient/1"),
        entry("GET", "Patient?name=a%20b&_cursor="),
    )
    response = await mesh.facade().respond(request("POST", "", posted))
    assert response.status == 200
    answer = orjson.loads(response.body)
    assert answer["type"] == "batch-response"
    statuses = [one["response"]["status"].split()[0] for one in answer["entry"]]
    assert statuses == ["200", "404", "201", "403", "200", "400", "404"]
    first, missing, created = answer["entry"][:3]
    assert first["resource"]["birthDate"] == "1970-01-01"
    assert first["response"]["etag"] == 'W/"3"'
    assert missing["response"]["outcome"]["issue"][0]["code"] == "not-found"
    assert "resource" not in missing
    assert created["fullUrl"] == f"{BASE}/Observation/9"
    assert created["response"]["location"] == f"{BASE}/Observation/9/_history/1"


async def test_an_entry_of_a_batch_has_conditions_and_patches_of_its_own() -> None:
    mesh = town(store)
    patch = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(b'[{"op":"remove","path":"/birthDate"}]').decode(),
    }
    posted = bundle(
        "batch",
        entry("PUT", "Patient/1", {"resourceType": "Patient", "id": "1"}, ifMatch='W/"3"'),
        entry("POST", "Patient", {"resourceType": "Patient"}, ifNoneExist="identifier=a%7C1"),
        entry("PATCH", "Patient/1", patch),
        entry("PATCH", "Patient/1", {"resourceType": "Parameters"}),
    )
    answer = orjson.loads((await mesh.facade().respond(request("POST", "", posted))).body)
    by_kind = {interaction.kind: interaction for _, interaction in mesh.asked}
    assert by_kind[pb.KIND_UPDATE].if_match == "3"
    assert by_kind[pb.KIND_CREATE].if_none_exist[0].value == "a|1"
    assert by_kind[pb.KIND_PATCH].body == b'[{"op":"remove","path":"/birthDate"}]'
    assert answer["entry"][3]["response"]["status"].startswith("400")


async def test_a_transaction_is_one_call_to_the_one_owner() -> None:
    mesh = town(always(status=200, body=b'{"resourceType":"Bundle","type":"transaction-response"}'))
    posted = bundle(
        "transaction",
        entry("POST", "Patient", {"resourceType": "Patient"}),
        entry("DELETE", "Observation/1"),
    )
    response = await mesh.facade().respond(request("POST", "", posted))
    assert response.status == 200
    assert len(mesh.asked) == 1
    assert (mesh.last.kind, mesh.last.body) == (pb.KIND_TRANSACTION, posted)
    assert mesh.idempotent == [False]


async def test_a_transaction_over_two_services_is_refused_as_a_whole() -> None:
    mesh = two_owners()
    posted = bundle("transaction", entry("GET", "Patient/1"), entry("GET", "Observation/1"))
    response = await mesh.facade().respond(request("POST", "", posted))
    assert outcome(response) == (422, "not-supported")
    assert not mesh.asked


@pytest.mark.parametrize("letter", ["c", "d", "s"])
async def test_every_entry_of_a_transaction_needs_its_right(letter: str) -> None:
    mesh = town(always(status=200))
    mesh.access.forbidden = {("Patient", letter)}
    posted = bundle(
        "transaction",
        entry("POST", "Patient", {"resourceType": "Patient"}, ifNoneExist="identifier=1"),
        entry("DELETE", "Patient/1"),
    )
    assert outcome(await mesh.facade().respond(request("POST", "", posted)))[0] == 403
    assert not mesh.asked


@pytest.mark.parametrize(
    ("posted", "status"),
    [
        (PATIENT, 400),
        (b'{"resourceType":"Bundle","type":"searchset"}', 400),
        (b'{"resourceType":"Bundle","type":"batch","entry":[{}]}', 400),
        (b'{"resourceType":"Bundle","type":"batch","entry":{}}', 400),
        (bundle("batch", *[entry("GET", "Patient/1")] * 1001), 413),
    ],
)
async def test_what_is_no_batch_is_refused(posted: bytes, status: int) -> None:
    response = await town(store).facade().respond(request("POST", "", posted))
    assert outcome(response)[0] == status


async def test_an_empty_batch_has_an_empty_answer() -> None:
    response = await town(store).facade().respond(request("POST", "", bundle("batch")))
    assert orjson.loads(response.body) == {"resourceType": "Bundle", "type": "batch-response"}
