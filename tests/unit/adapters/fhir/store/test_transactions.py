"""Transactions: all entries or none, references resolved everywhere, and nothing else touched."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.fhir.store.kit import (
    BASE,
    Ward,
    identified,
    issue,
    observation,
    parsed,
    patient,
    ward,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Ward]:
    async with ward(tmp_path) as running:
        yield running


def entry(
    request: str, resource: dict[str, Any] | None = None, url: str = "", **more: str
) -> dict[str, Any]:
    method, _, address = request.partition(" ")
    made: dict[str, Any] = {"request": {"method": method, "url": address, **more}}
    if resource is not None:
        made["resource"] = resource
    if url:
        made["fullUrl"] = url
    return made


async def run(store: Ward, *entries: dict[str, Any], **more: Any) -> pb.Outcome:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return await store.ask(pb.KIND_TRANSACTION, body=bundle, **more)


def statuses(outcome: pb.Outcome) -> list[str]:
    return [one["response"]["status"] for one in parsed(outcome)["entry"]]


async def test_references_follow_what_was_created_and_texts_stay(store: Ward) -> None:
    seen = observation("urn:uuid:1", note=[{"text": 'urn:uuid:1 "reference": "urn:uuid:1"'}])
    seen["identifier"] = [{"value": "urn:uuid:1"}]
    seen["performer"] = [{"reference": "#c"}, {"reference": "urn:uuid:1"}]
    seen["contained"] = [
        {"resourceType": "Provenance", "id": "c", "target": [{"reference": "urn:uuid:1"}]}
    ]
    done = await run(
        store,
        entry("POST Observation", seen, "urn:uuid:2"),
        entry("POST Patient", patient(), "urn:uuid:1"),
        prefer_return=pb.RETURN_REPRESENTATION,
    )
    assert statuses(done) == ["201", "201"]
    first, second = (one["resource"] for one in parsed(done)["entry"])
    name = f"Patient/{second['id']}"
    assert first["subject"] == {"reference": name}
    assert first["performer"] == [{"reference": "#c"}, {"reference": name}]
    assert first["contained"][0]["target"] == [{"reference": name}]
    assert first["note"] == seen["note"]
    assert first["identifier"] == seen["identifier"]
    assert await store.ids("Observation", ("subject", name)) == [first["id"]]


async def test_one_entry_that_fails_undoes_every_other(store: Ward) -> None:
    await store.put("Patient/old", {})
    done = await run(
        store,
        entry("DELETE Patient/old"),
        entry("POST Patient", patient()),
        entry("PUT Patient/x", {"resourceType": "Patient", "id": "y"}),
    )
    assert issue(done) == (400, "invalid", "Bundle.entry[2].Patient.id")
    assert await store.ids("Patient") == ["old"]
    assert len(await store.announced()) == 1


async def test_conditional_entries_find_create_and_are_referred_to(store: Ward) -> None:
    made = await store.create(identified("1"))
    done = await run(
        store,
        entry("POST Patient", identified("1"), "urn:uuid:1", ifNoneExist="identifier=urn:mrn|1"),
        entry("PUT Patient?identifier=urn%3Amrn%7C2", identified("2"), "urn:uuid:2"),
        entry("POST Observation", observation("urn:uuid:1"), "urn:uuid:3"),
        entry("POST Observation", observation("urn:uuid:2"), "urn:uuid:4"),
        entry("POST Observation", observation("Patient?identifier=urn:mrn|1"), "urn:uuid:5"),
    )
    assert statuses(done) == ["200", "201", "201", "201", "201"]
    assert len(await store.ids("Observation", ("subject", f"Patient/{made.id}"))) == 2
    second = await store.ids("Patient", ("identifier", "2"))
    assert len(await store.ids("Observation", ("subject", second[0]))) == 1
    nobody = await run(
        store, entry("POST Observation", observation("Patient?identifier=urn:mrn|9"))
    )
    assert issue(nobody) == (412, "not-found", "Bundle.entry[0]")


async def test_two_creates_on_one_condition_make_one_resource(store: Ward) -> None:
    asked = {"ifNoneExist": "identifier=urn:mrn|1"}
    done = await run(
        store,
        entry("POST Patient", identified("1"), "urn:uuid:1", **asked),
        entry("POST Patient", identified("1"), "urn:uuid:2", **asked),
        entry("POST Observation", observation("urn:uuid:1"), "urn:uuid:3"),
        entry("POST Observation", observation("urn:uuid:2"), "urn:uuid:4"),
    )
    assert statuses(done) == ["201", "200", "201", "201"]
    (only,) = await store.ids("Patient")
    assert len(await store.ids("Observation", ("subject", f"Patient/{only}"))) == 2


async def test_two_creates_of_different_content_on_one_condition_are_refused(store: Ward) -> None:
    asked = {"ifNoneExist": "identifier=urn:mrn|1"}
    done = await run(
        store,
        entry("POST Patient", identified("1"), **asked),
        entry("POST Patient", patient("Other"), **asked),
    )
    assert issue(done) == (400, "duplicate", "Bundle.entry[1]")
    assert await store.ids("Patient") == []


async def test_order_is_delete_create_update_read(store: Ward) -> None:
    await store.put("Patient/p", identified("1"))
    patch = b64encode(json.dumps({"active": True}).encode()).decode()
    binary = {
        "resourceType": "Binary",
        "contentType": "application/merge-patch+json",
        "data": patch,
    }
    await store.put("Patient/q", {})
    done = await run(
        store,
        entry("GET Patient?active=true"),
        entry("GET Patient/q"),
        entry("PATCH Patient/q", binary),
        entry("POST Patient", identified("1"), ifNoneExist="identifier=urn:mrn|1"),
        entry("DELETE Patient/p"),
    )
    assert statuses(done) == ["200", "200", "200", "201", "204"]
    assert parsed(done)["entry"][0]["resource"]["total"] == 1
    assert parsed(done)["entry"][1]["resource"]["active"] is True


async def test_absolute_urls_of_the_bundle_and_of_ours_are_resolved(store: Ward) -> None:
    far = "https://far.example/fhir/Patient/9"
    done = await run(
        store,
        entry("POST Patient", patient(), far),
        entry("POST Observation", observation(far)),
        entry("POST Observation", observation("Patient/9")),
        entry(f"PUT {BASE}/Patient/mine", {"resourceType": "Patient", "id": "mine"}),
        entry("POST Observation", observation(f"{BASE}/Patient/mine")),
    )
    assert statuses(done) == ["201"] * 5
    (other,) = await store.ids("Patient", ("name", "example"))
    assert len(await store.ids("Observation", ("subject", other))) == 2
    assert len(await store.ids("Observation", ("subject", "mine"))) == 1


@pytest.mark.parametrize(
    ("entries", "status", "place"),
    [
        ([{"resource": patient()}], 400, "Bundle.entry[0].request"),
        ([entry("FETCH Patient")], 400, "Bundle.entry[0].request"),
        ([entry("POST Patient")], 400, "Bundle.entry[0].resource"),
        ([entry("PUT Patient", patient())], 400, "Bundle.entry[0].request.url"),
        ([entry("DELETE patient/1")], 400, "Bundle.entry[0].request.url"),
        ([entry("DELETE Patient/1"), entry("DELETE Patient/1")], 400, "Bundle.entry"),
        ([entry("POST Patient", observation("x"))], 400, "Bundle.entry[0].resourceType"),
        ([entry("POST Unheard", patient())], 404, ""),
        ([entry("PATCH Patient/1", patient())], 404, "Bundle.entry[0]"),
        ([entry("GET Patient/none")], 404, "Bundle.entry[0]"),
        ([entry("GET Patient/1/_history/1")], 400, "Bundle.entry[0].request.url"),
        ([entry("DELETE Patient?identifier=x")], 404, "Bundle.entry[0]"),
    ],
)
async def test_wrong_entry_is_named(
    store: Ward, entries: list[dict[str, Any]], status: int, place: str
) -> None:
    found = issue(await run(store, *entries))
    assert (found[0], found[2]) == (status, place)


async def test_bundles_are_bounded_and_of_their_type(tmp_path: Path) -> None:
    async with ward(tmp_path, limits={"max_entries": 2}) as store:
        many = await run(store, *[entry("POST Patient", patient()) for _ in range(3)])
        assert issue(many)[:2] == (413, "too-costly")
        for body in (b"[]", b"{}", b'{"resourceType":"Bundle","type":"batch"}', b'{"entry":7}'):
            assert (await store.ask(pb.KIND_TRANSACTION, body=body)).status == 400
