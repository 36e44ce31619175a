"""An EMR sends an ADT by MLLP; a moment later a FHIR client reads the patient at the gateway. Real server and HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hospital import Site, mllp_in, running
from tests.integration.adapters.test_fhir_way import admission
from tests.peers.sender import Tally, send_all
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

STORE = """
[[adapter]]
name = "views"
kind = "hl7v2.to-fhir"
subscribe = "evt.north.raw.hl7v2.*"

[[adapter]]
name = "fhir-store"
kind = "fhir.store"
subscribe = ["evt.north.patient.*.*", "evt.north.encounter.*.*"]

[gateway]
listen = "127.0.0.1:{port}"

[gateway.fhir]
"""
PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:example:mrn", "value": "Z1"}],
    "name": [{"family": "Synthetic", "given": ["Vera"]}],
    "birthDate": "1980-05-01",
}
FHIR_JSON = {"content-type": "application/fhir+json"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    """A running site with a store behind the gateway: a client of `/fhir/R4`, and the port for MLLP."""
    port, mllp = free_port(), free_port()
    site = Site(tmp_path, mllp_in(mllp) + STORE.format(port=port))
    async with running(site):
        base = f"http://127.0.0.1:{port}/fhir/R4"
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            yield client, mllp


async def found(client: httpx.AsyncClient, path: str, *, count: int = 1) -> list[Any]:
    """The entries of a search, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            answer = await client.get(path)
            assert answer.status_code == 200, answer.text
            if len(entries := answer.json().get("entry", [])) >= count:
                return [one["resource"] for one in entries]
            await asyncio.sleep(0.1)


async def test_an_admission_by_mllp_is_a_patient_at_the_gateway(
    gateway: tuple[httpx.AsyncClient, int],
) -> None:
    client, mllp = gateway
    tally = Tally()
    await send_all(mllp, [admission(7), admission(8)], tally)
    assert len(tally.accepted) == 2
    (patient,) = await found(client, "/Patient?identifier=P7")
    assert (patient["birthDate"], patient["gender"]) == ("1970-01-01", "female")
    read = await client.get(f"/Patient/{patient['id']}")
    assert read.json() == patient
    encounters = await found(client, f"/Encounter?subject=Patient/{patient['id']}")
    assert encounters[0]["subject"]["reference"] == f"Patient/{patient['id']}"


async def test_a_client_creates_reads_changes_searches_and_deletes(
    gateway: tuple[httpx.AsyncClient, int],
) -> None:
    client, _ = gateway
    created = await client.post("/Patient", json=PATIENT, headers=FHIR_JSON)
    assert created.status_code == 201, created.text
    place = created.headers["location"]
    assert place.startswith(f"{client.base_url!s}".rstrip("/") + "/Patient/")
    again = await client.post("/Patient?identifier=urn:example:mrn|Z1", json=PATIENT)
    assert (again.status_code, again.headers["location"]) == (200, place)
    id_ = created.json()["id"]
    changed = await client.put(
        f"/Patient/{id_}",
        json=created.json() | {"gender": "female"},
        headers={"if-match": created.headers["etag"]},
    )
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    stale = await client.put(
        f"/Patient/{id_}", json=created.json(), headers={"if-match": created.headers["etag"]}
    )
    assert stale.status_code == 412
    patched = await client.patch(f"/Patient/{id_}", json={"gender": "other"})
    assert patched.json()["gender"] == "other"
    assert (await client.get(place)).json() == created.json()
    (one,) = await found(client, "/Patient?name=synth&birthdate=lt1990")
    assert one["id"] == id_
    versions = await found(client, f"/Patient/{id_}/_history", count=3)
    assert [v["meta"]["versionId"] for v in versions] == ["3", "2", "1"]
    assert (await client.delete(f"/Patient/{id_}")).status_code in (200, 204)
    gone = await client.get(f"/Patient/{id_}")
    assert (gone.status_code, gone.json()["resourceType"]) == (410, "OperationOutcome")


async def test_a_transaction_holds_together_and_says_where_everything_is(
    gateway: tuple[httpx.AsyncClient, int],
) -> None:
    client, _ = gateway
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a",
                "resource": PATIENT,
                "request": {"method": "POST", "url": "Patient"},
            },
            {
                "resource": {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"text": "example"},
                    "subject": {"reference": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"},
                },
                "request": {"method": "POST", "url": "Observation"},
            },
        ],
    }
    answer = await client.post("/", json=bundle, headers=FHIR_JSON)
    assert answer.status_code == 200, answer.text
    patient, observation = (one["response"]["location"] for one in answer.json()["entry"])
    assert "/Patient/" in patient
    (read,) = await found(
        client, f"/Observation?_id={observation.split('/Observation/')[1].split('/')[0]}"
    )
    assert read["subject"]["reference"].startswith("Patient/")
    bundle["entry"][1]["resource"] = {"resourceType": "Observation", "status": 7}  # type: ignore[index]
    failed = await client.post("/", json=bundle, headers=FHIR_JSON)
    assert failed.status_code >= 400 or failed.json()["type"] == "transaction-response"


async def test_capabilities_name_what_the_store_owns(
    gateway: tuple[httpx.AsyncClient, int],
) -> None:
    client, _ = gateway
    document = (await client.get("/metadata")).json()
    types = {one["type"] for one in document["rest"][0]["resource"]}
    assert {"Patient", "Observation", "Encounter"} <= types
    assert document["fhirVersion"] == "4.0.1"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/Patient/none", "", 404),
        ("GET", "/Nonsense/1", "", 404),
        ("POST", "/Patient", "{", 400),
        ("POST", "/Patient", '{"resourceType":"Observation"}', 400),
        ("PUT", "/Patient", '{"resourceType":"Patient"}', 412),
        ("GET", "/Patient?_cursor=nonsense", "", 400),
        ("TRACE", "/Patient", "", 405),
    ],
)
async def test_what_is_wrong_is_told_as_an_operation_outcome(
    gateway: tuple[httpx.AsyncClient, int], method: str, path: str, body: str, status: int
) -> None:
    client, _ = gateway
    answer = await client.request(method, path, content=body, headers=FHIR_JSON)
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
