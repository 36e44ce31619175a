"""Read, create, update, patch, delete and history, by id and by condition: what each is answered with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.clock import FakeClock
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.fhir.store.kit import (
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


async def test_offer_says_which_release_and_types_it_owns(tmp_path: Path) -> None:
    async with ward(tmp_path, types=["Patient", "Encounter"], release="R4B") as store:
        offer = store.offers[0]
        assert offer.metadata == {"fhir.releases": "R4B", "fhir.types": "Patient,Encounter"}
        assert [one.name for one in offer.methods] == ["interaction"]
        assert issue(await store.ask(pb.KIND_READ, "Device/1"))[0] == 404
        assert issue(await store.ask(pb.KIND_READ, "Patient/1", release="R5"))[0] == 404


async def test_body_keeps_every_byte_but_id_and_stamp(store: Ward) -> None:
    body = (
        b'{ "resourceType" : "Patient",\r\n  "extension":[{"url":"http:\\/\\/e.example","valueDecimal": 1.500e0}],'
        b'"name" : [ {"family":"M\\u00fcller"} ] }\n'
    )
    made = await store.create(body)
    assert (made.status, made.version, made.has_location) == (201, "1", True)
    stamp = b'"meta":{"versionId":"1","lastUpdated":"'
    head, _, rest = made.body.partition(b',"id":"%s",' % made.id.encode() + stamp)
    assert head == b'{ "resourceType" : "Patient"'
    assert rest.endswith(body[len(head) :])
    assert (await store.read(f"Patient/{made.id}")).body == made.body


async def test_read_of_what_never_was_is_404_and_of_what_was_deleted_410(store: Ward) -> None:
    assert issue(await store.read("Patient/nobody")) == (404, "not-found", "")
    made = await store.create(patient())
    gone = await store.ask(pb.KIND_DELETE, f"Patient/{made.id}")
    assert (gone.status, gone.version, gone.body) == (204, "2", b"")
    read = await store.read(f"Patient/{made.id}")
    assert issue(read)[:2] == (410, "deleted")
    assert read.version == "2"
    assert (await store.ask(pb.KIND_VREAD, f"Patient/{made.id}/1")).body == made.body
    assert (await store.ask(pb.KIND_VREAD, f"Patient/{made.id}/2")).status == 410
    assert (await store.ask(pb.KIND_VREAD, f"Patient/{made.id}/3")).status == 404
    assert (await store.ask(pb.KIND_DELETE, f"Patient/{made.id}")).version == "2"
    assert (await store.ask(pb.KIND_DELETE, "Patient/nobody")).status == 404


async def test_update_creates_counts_versions_and_brings_back_what_was_deleted(store: Ward) -> None:
    assert (await store.put("Patient/p1", {})).status == 201
    second = await store.put("Patient/p1", {"active": True})
    assert (second.status, second.version) == (200, "2")
    await store.ask(pb.KIND_DELETE, "Patient/p1")
    back = await store.put("Patient/p1", {"active": False})
    assert (back.status, back.version, back.has_location) == (201, "4", True)
    assert parsed(await store.read("Patient/p1"))["meta"]["versionId"] == "4"


async def test_update_with_the_same_content_is_no_new_version_and_no_event(store: Ward) -> None:
    body = {"active": True}
    await store.put("Patient/p1", body)
    again = await store.put("Patient/p1", body)
    assert (again.status, again.version) == (200, "1")
    assert len(await store.announced()) == 1


async def test_update_needs_the_id_of_its_address(store: Ward) -> None:
    wrong = await store.ask(pb.KIND_UPDATE, "Patient/p1", {"resourceType": "Patient", "id": "p2"})
    assert issue(wrong) == (400, "invalid", "Patient.id")
    none = await store.ask(pb.KIND_UPDATE, "Patient/p1", {"resourceType": "Patient"})
    assert issue(none)[0] == 400
    long = "a" * 65
    assert issue(await store.put(f"Patient/{long}", {}))[:2] == (400, "value")


async def test_version_that_is_not_the_newest_any_more_is_not_changed(store: Ward) -> None:
    await store.put("Patient/p1", {})
    assert (await store.put("Patient/p1", {"active": True}, if_match="1")).status == 200
    assert issue(await store.put("Patient/p1", {}, if_match="1"))[:2] == (412, "conflict")
    assert (await store.ask(pb.KIND_DELETE, "Patient/p1", if_match="1")).status == 412
    assert (await store.put("Patient/p2", {}, if_match="1")).status == 412
    assert (await store.put("Patient/p1", {}, if_none_match="*")).status == 412
    assert (await store.put("Patient/p2", {}, if_none_match="*")).status == 201


async def test_conditional_create_finds_creates_or_refuses(store: Ward) -> None:
    condition = [("identifier", "urn:mrn|1")]
    made = await store.create(identified("1"), if_none_exist=condition)
    assert made.status == 201
    found = await store.create(identified("1"), if_none_exist=condition)
    assert (found.status, found.id, found.has_location) == (200, made.id, True)
    await store.create(identified("1"))
    assert issue(await store.create(identified("1"), if_none_exist=condition))[0] == 412
    unknown = await store.create(identified("1"), if_none_exist=[("nonsense", "1")])
    assert issue(unknown) == (400, "not-supported", "http.nonsense")


async def test_conditional_update_patch_and_delete_find_one_resource(store: Ward) -> None:
    query = [("identifier", "urn:mrn|1")]
    asks: dict[str, Any] = {"is_conditional": True, "query": query}
    made = await store.ask(pb.KIND_UPDATE, "Patient", identified("1"), **asks)
    assert made.status == 201
    changed = await store.ask(pb.KIND_UPDATE, "Patient", identified("1", "Other"), **asks)
    assert (changed.status, changed.id, changed.version) == (200, made.id, "2")
    other_id = await store.ask(pb.KIND_UPDATE, "Patient", {**identified("1"), "id": "x"}, **asks)
    assert issue(other_id)[0] == 400
    merge = {"active": True}
    kind: dict[str, Any] = {"body_type": "application/merge-patch+json"}
    assert (await store.ask(pb.KIND_PATCH, "Patient", merge, **asks, **kind)).version == "3"
    await store.create(identified("1"))
    assert (await store.ask(pb.KIND_DELETE, "Patient", **asks)).status == 412
    await store.ask(pb.KIND_DELETE, f"Patient/{made.id}")
    assert (await store.ask(pb.KIND_DELETE, "Patient", **asks)).status == 204
    assert (await store.ask(pb.KIND_DELETE, "Patient", **asks)).status == 404
    mine = {**identified("9"), "id": "mine"}
    asks["query"] = [("identifier", "urn:mrn|9")]
    assert (await store.ask(pb.KIND_UPDATE, "Patient", mine, **asks)).id == "mine"


async def test_patch_keeps_the_text_of_numbers_and_the_id(store: Ward) -> None:
    body = b'{"resourceType":"Observation","id":"o","status":"final","code":{},"valueQuantity":{"value":5.40}}'
    await store.ask(pb.KIND_UPDATE, "Observation/o", body)
    patch = [{"op": "replace", "path": "/status", "value": "amended"}]
    json_patch: dict[str, Any] = {"body_type": "application/json-patch+json"}
    done = await store.ask(pb.KIND_PATCH, "Observation/o", patch, **json_patch)
    assert (done.status, done.version) == (200, "2")
    assert b'"value":5.40' in done.body
    moved = [{"op": "replace", "path": "/id", "value": "other"}]
    assert (await store.ask(pb.KIND_PATCH, "Observation/o", moved, **json_patch)).status == 422
    wrong = [{"op": "test", "path": "/status", "value": "final"}]
    assert (await store.ask(pb.KIND_PATCH, "Observation/o", wrong, **json_patch)).status == 422
    assert (await store.ask(pb.KIND_PATCH, "Observation/o", b"[{]", **json_patch)).status == 400
    assert (await store.ask(pb.KIND_PATCH, "Observation/o", b"{}", body_type="x/y")).status == 415


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "structure"),
        (b"[]", "structure"),
        (b'{"resourceType":"Patient"', "structure"),
        (b'{"resourceType":"Patient","active":true,"active":false}', "structure"),
        (b'{"resourceType":"Patient","x":{"a":1,"\\u0061":2}}', "structure"),
        (b'{"resourceType":"Patient","x":NaN}', "structure"),
        (b'{"resourceType":"Patient","x":' + b"[" * 200 + b"]" * 200 + b"}", "structure"),
        (b'{"resourceType":"Unheard"}', "structure"),
        (b'{"resourceType":"DomainResource"}', "structure"),
        (b'{"resourceType":"Patient","id":"no blanks"}', "value"),
        (b'{"resourceType":"Patient","meta":[]}', "structure"),
        (b'{"resourceType":"Patient","x":"\xff"}', "structure"),
        (b'{"resourceType":"Device"}', "invalid"),
        (b'{"resourceType":"Patient","name":[{"family":"\\ud800"}]}', "structure"),
    ],
)
async def test_malformed_resource_is_refused_with_its_reason(
    store: Ward, body: bytes, code: str
) -> None:
    outcome = await store.ask(pb.KIND_CREATE, "Patient", body)
    assert issue(outcome)[:2] == (400, code)
    assert await store.ids("Patient") == []


async def test_body_beyond_the_bound_is_413(tmp_path: Path) -> None:
    async with ward(tmp_path, limits={"body_bytes": 1024}) as store:
        assert issue(await store.create(patient("x" * 2000)))[:2] == (413, "too-long")


async def test_answer_is_as_long_as_the_client_prefers(store: Ward) -> None:
    minimal = await store.create(patient(), prefer_return=pb.RETURN_MINIMAL)
    assert (minimal.status, minimal.body) == (201, b"")
    told = await store.create(patient(), prefer_return=pb.RETURN_OUTCOME)
    assert parsed(told)["resourceType"] == "OperationOutcome"


async def test_history_goes_back_page_by_page_with_deletions(tmp_path: Path) -> None:
    clock = FakeClock()
    async with ward(tmp_path, clock=clock) as store:
        await store.put("Patient/p1", {})
        clock.advance(10)
        since = clock.now_ms()
        await store.put("Patient/p1", {"active": True})
        await store.ask(pb.KIND_DELETE, "Patient/p1")
        await store.put("Patient/p2", {})
        whole = await store.ask(pb.KIND_HISTORY, "Patient/p1")
        entries = parsed(whole)["entry"]
        assert [one["request"]["method"] for one in entries] == ["DELETE", "PUT", "PUT"]
        assert "resource" not in entries[0]
        assert [one["response"]["status"] for one in entries] == ["204", "200", "201"]
        first = await store.ask(pb.KIND_HISTORY, "Patient", query=[("_count", "3")])
        assert (parsed(first)["total"], len(parsed(first)["entry"])) == (4, 3)
        await store.put("Patient/p3", {})
        rest = await store.ask(
            pb.KIND_HISTORY, "Patient", query=[("_count", "3")], cursor=first.next_cursor
        )
        assert [one["resource"]["id"] for one in parsed(rest)["entry"]] == ["p1"]
        assert rest.next_cursor == ""
        from adapters.fhir.store.times import instant

        newer = await store.ask(pb.KIND_HISTORY, query=[("_since", instant(since))])
        assert parsed(newer)["total"] == 4
        assert issue(await store.ask(pb.KIND_HISTORY, query=[("_since", "x")]))[0] == 400
        assert (await store.ask(pb.KIND_HISTORY, "Patient/nobody")).status == 404


async def test_validate_judges_and_stores_nothing(store: Ward) -> None:
    fine = await store.ask(pb.KIND_VALIDATE, "Patient", patient())
    assert (fine.status, parsed(fine)["issue"][0]["severity"]) == (200, "information")
    assert (await store.ask(pb.KIND_VALIDATE, "Patient", b"{}")).status == 400
    assert await store.ids("Patient") == []


async def test_capabilities_name_types_parameters_and_interactions(store: Ward) -> None:
    statement = parsed(await store.ask(pb.KIND_CAPABILITIES))
    assert statement["fhirVersion"] == "4.0.1"
    own = {one["type"]: one for one in statement["rest"][0]["resource"]}
    found = {one["name"]: one["type"] for one in own["Patient"]["searchParam"]}
    assert found["identifier"] == "token"
    assert "composite" not in {one["type"] for kind in own.values() for one in kind["searchParam"]}


async def test_changes_are_events_in_their_patients_partition(store: Ward) -> None:
    made = await store.create(patient())
    await store.put(f"Patient/{made.id}", {"active": True})
    seen = await store.create(observation(f"Patient/{made.id}"))
    await store.ask(pb.KIND_DELETE, f"Observation/{seen.id}")
    await store.ask(pb.KIND_DELETE, f"Patient/{made.id}")
    found = await store.announced()
    names = [subject.rpartition(".")[0] for subject, _ in found]
    assert names == [
        "evt.north.patient.patient_created",
        "evt.north.patient.patient_updated",
        "evt.north.result.observation_created",
        "evt.north.result.observation_deleted",
        "evt.north.patient.patient_deleted",
    ]
    assert len({subject.rpartition(".")[2] for subject, _ in found}) == 1
    stamp = found[-1][1].pop("meta")
    assert found[-1][1] == {"resourceType": "Patient", "id": made.id}
    assert stamp["versionId"] == "3"


async def test_what_was_stored_is_there_after_a_restart_and_its_event_once(tmp_path: Path) -> None:
    from tests.unit.adapters.memory_events import MemoryEvents

    events = MemoryEvents(service="store")
    async with ward(tmp_path, events=events) as store:
        made = await store.create(patient())
    async with ward(tmp_path, events=events) as store:
        assert (await store.read(f"Patient/{made.id}")).status == 200
        assert len(await store.announced()) == 1


async def test_release_of_a_database_cannot_change(tmp_path: Path) -> None:
    from schemas.errors import ConfigurationError

    async with ward(tmp_path):
        pass
    with pytest.raises(ConfigurationError, match="release"):
        async with ward(tmp_path, release="R5"):
            pass


def test_outcome_json_has_no_content() -> None:
    from adapters.fhir.store.refusals import invalid

    assert json.loads(invalid("text", expression="Patient.id").body)["issue"][0] == {
        "severity": "error",
        "code": "invalid",
        "diagnostics": "text",
        "expression": ["Patient.id"],
    }
