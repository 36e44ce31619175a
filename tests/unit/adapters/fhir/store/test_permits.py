"""Scopes and compartments: what a requester may not see is not there, in chains, includes and Bundles too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.fhir.store.kit import Ward, issue, observation, patient, ward


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Ward]:
    async with ward(tmp_path) as running:
        for name in ("anna", "bert"):
            await running.put(f"Patient/{name}", patient(name))
            await running.put(f"Observation/of-{name}", observation(f"Patient/{name}"))
        yield running


def who(*scopes: str, compartment: str = "") -> dict[str, Any]:
    return {"requester": pb.Requester(client="app", scopes=scopes, compartment=compartment)}


ANNA = who("patient/*.cruds", compartment="Patient/anna")


async def test_scope_that_lacks_the_deed_is_refused(store: Ward) -> None:
    reader = who("system/Patient.rs")
    assert (await store.read("Patient/anna", **reader)).status == 200
    assert issue(await store.read("Observation/of-anna", **reader))[:2] == (403, "forbidden")
    assert (await store.put("Patient/anna", {}, **reader)).status == 403
    assert (await store.create(patient(), **reader)).status == 403
    assert (await store.ask(pb.KIND_DELETE, "Patient/anna", **reader)).status == 403
    body = {"active": True}
    kind: dict[str, Any] = {"body_type": "application/merge-patch+json"}
    assert (await store.ask(pb.KIND_PATCH, "Patient/anna", body, **kind, **reader)).status == 403
    assert (await store.ask(pb.KIND_HISTORY, **reader)).status == 403
    assert (await store.ask(pb.KIND_SEARCH, **reader)).status == 403
    assert (await store.ask(pb.KIND_SEARCH, "Observation", **reader)).status == 403
    old = who("user/Patient.read")
    assert (await store.read("Patient/anna", **old)).status == 200
    narrow = who("patient/Observation.rs?category=laboratory")
    assert (await store.read("Observation/of-anna", **narrow)).status == 403


async def test_chains_and_includes_show_no_type_that_no_scope_covers(store: Ward) -> None:
    reader = who("system/Observation.rs")
    chain = [("subject:Patient.family", "anna")]
    assert (await store.ask(pb.KIND_SEARCH, "Observation", query=chain, **reader)).status == 403
    bundle = await store.search("Observation", ("_include", "Observation:subject"), **reader)
    assert {one["search"]["mode"] for one in bundle["entry"]} == {"match"}
    patients = who("system/Patient.rs")
    has = [("_has:Observation:subject:code", "718-7")]
    assert (await store.ask(pb.KIND_SEARCH, "Patient", query=has, **patients)).status == 403


async def test_transaction_needs_the_right_to_each_entry(store: Ward) -> None:
    reader = who("system/Patient.rs")
    entry = {"request": {"method": "DELETE", "url": "Patient/anna"}}
    body = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    outcome = await store.ask(pb.KIND_TRANSACTION, body=body, **reader)
    assert issue(outcome) == (403, "forbidden", "Bundle.entry[0]")


async def test_compartment_hides_other_patients(store: Ward) -> None:
    assert (await store.read("Patient/anna", **ANNA)).status == 200
    assert (await store.read("Patient/bert", **ANNA)).status == 404
    assert (await store.read("Observation/of-bert", **ANNA)).status == 404
    assert (await store.ask(pb.KIND_VREAD, "Observation/of-bert/1", **ANNA)).status == 404
    assert (await store.ask(pb.KIND_HISTORY, "Observation/of-bert", **ANNA)).status == 404
    assert await store.ids("Patient", **ANNA) == ["anna"]
    assert await store.ids("Observation", **ANNA) == ["of-anna"]
    assert (await store.ask(pb.KIND_HISTORY, "Patient", **ANNA)).status == 403
    assert (await store.ask(pb.KIND_SEARCH, **ANNA)).status == 403
    assert (await store.ask(pb.KIND_SEARCH, "ValueSet", **ANNA)).status == 403
    bundle = await store.search("Patient", ("_revinclude", "Observation:subject"), **ANNA)
    assert [one["resource"]["id"] for one in bundle["entry"]] == ["anna", "of-anna"]


async def test_chain_is_no_way_to_guess_what_is_outside(store: Ward) -> None:
    linked = patient("anna", link=[{"other": {"reference": "Patient/bert"}, "type": "seealso"}])
    await store.put("Patient/anna", linked)
    assert await store.ids("Patient", ("link:Patient.family", "bert")) == ["anna"]
    assert await store.ids("Patient", ("link:Patient.family", "bert"), **ANNA) == []
    back = ("_has:Observation:subject:code", "718-7")
    assert await store.ids("Patient", back, **ANNA) == ["anna"]


async def test_older_version_about_someone_else_is_not_shown(store: Ward) -> None:
    await store.put("Observation/of-bert", observation("Patient/anna"))
    assert (await store.read("Observation/of-bert", **ANNA)).status == 200
    assert (await store.ask(pb.KIND_VREAD, "Observation/of-bert/1", **ANNA)).status == 404
    assert (await store.ask(pb.KIND_VREAD, "Observation/of-bert/2", **ANNA)).status == 200
    past = await store.ask(pb.KIND_HISTORY, "Observation/of-bert", **ANNA)
    assert b"Patient/bert" not in past.body
    assert b"Patient/anna" in past.body


async def test_compartment_keeps_changes_inside(store: Ward) -> None:
    mine, other = observation("Patient/anna"), observation("Patient/bert")
    assert (await store.create(mine, **ANNA)).status == 201
    assert (await store.create(other, **ANNA)).status == 403
    assert (await store.put("Observation/of-anna", other, **ANNA)).status == 403
    assert (await store.put("Observation/of-bert", mine, **ANNA)).status == 404
    assert (await store.ask(pb.KIND_DELETE, "Observation/of-bert", **ANNA)).status == 404
    assert (await store.put("Patient/bert", {}, **ANNA)).status == 404
    stolen = {"subject": {"reference": "Patient/bert"}}
    kind: dict[str, Any] = {"body_type": "application/merge-patch+json"}
    moved = await store.ask(pb.KIND_PATCH, "Observation/of-anna", stolen, **kind, **ANNA)
    assert moved.status == 403
    assert (await store.create(patient(), **ANNA)).status == 403


async def test_compartment_that_is_no_patients_is_refused(store: Ward) -> None:
    outcome = await store.read("Patient/anna", **who(compartment="Practitioner/1"))
    assert outcome.status == 403
