"""The façade: an address becomes the right call, an outcome the right answer, and every error an OperationOutcome."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from bus.services.protocol import CallFailed, CallRefused, NoInstance, Overloaded
from bus.transport.protocol import PayloadTooLarge
from gateway.access.protocol import Deed
from schemas.errors import DeadlineExceeded, MeshError, Unavailable
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.gateway.fhir.parts import (
    BASE,
    FOUND,
    PATIENT,
    always,
    client,
    outcome,
    request,
    town,
    two_owners,
)


@pytest.mark.parametrize(
    ("method", "path", "kind", "fields"),
    [
        ("GET", "Patient/1", pb.KIND_READ, {"resource_type": "Patient", "id": "1"}),
        ("GET", "Patient/1/_history/2", pb.KIND_VREAD, {"id": "1", "version": "2"}),
        ("GET", "Patient/1/_history", pb.KIND_HISTORY, {"id": "1"}),
        ("GET", "Patient/_history", pb.KIND_HISTORY, {"resource_type": "Patient", "id": ""}),
        ("GET", "_history", pb.KIND_HISTORY, {"resource_type": ""}),
        ("GET", "Patient", pb.KIND_SEARCH, {"resource_type": "Patient"}),
        ("POST", "Patient/_search", pb.KIND_SEARCH, {"resource_type": "Patient"}),
        ("DELETE", "Patient/1", pb.KIND_DELETE, {"id": "1"}),
    ],
)
async def test_an_address_becomes_the_interaction_that_it_names(
    method: str, path: str, kind: int, fields: dict[str, str]
) -> None:
    mesh = town(always(status=200, body=b'{"resourceType":"Bundle","type":"searchset"}'))
    response = await mesh.facade().respond(request(method, path))
    assert response.status == 200
    assert mesh.last.kind == kind
    assert {name: getattr(mesh.last, name) for name in fields} == fields
    assert mesh.last.base == BASE
    assert mesh.last.requester.client == "portal"


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "is_safe"),
    [
        ("POST", "Patient", PATIENT, pb.KIND_CREATE, False),
        ("PUT", "Patient/1", PATIENT, pb.KIND_UPDATE, False),
        ("POST", "Patient/$validate", PATIENT, pb.KIND_VALIDATE, True),
    ],
)
async def test_a_body_reaches_the_owner_byte_for_byte(
    method: str, path: str, body: bytes, kind: int, is_safe: bool
) -> None:
    spaced = body.replace(b",", b" ,\n")
    mesh = town(always(status=200))
    await mesh.facade().respond(request(method, path, spaced))
    assert (mesh.last.kind, mesh.last.body) == (kind, spaced)
    assert mesh.idempotent == [is_safe]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "patient", 404),
        ("GET", "Patient/a b", 404),
        ("GET", "Patient/1/2/3/4", 404),
        ("GET", "Patient/1/Observation", 404),
        ("GET", "Patient/$everything", 404),
        ("GET", "", 405),
        ("POST", "metadata", 405),
        ("POST", "Patient/1", 405),
        ("PUT", "_history", 405),
        ("DELETE", "Patient/1/_history/1", 405),
    ],
)
async def test_what_is_not_there_is_an_operation_outcome(
    method: str, path: str, status: int
) -> None:
    response = await town(always(status=200)).facade().respond(request(method, path))
    assert outcome(response)[0] == status
    if status == 405:
        assert dict(response.headers)["allow"]


async def test_an_answer_carries_version_time_and_place() -> None:
    mesh = town(always(**FOUND | {"status": 201, "has_location": True}))
    response = await mesh.facade().respond(request("POST", "Patient", PATIENT))
    assert response.status == 201
    assert dict(response.headers) == {
        "etag": 'W/"3"',
        "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "location": f"{BASE}/Patient/1/_history/3",
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": 'W/"3"'}, 304),
        ({"if_none_match": 'W/"2", W/"3"'}, 304),
        ({"if_none_match": 'W/"2"'}, 200),
        ({"if_modified_since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 304),
        ({"if_modified_since": "Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
        ({"if_modified_since": "yesterday"}, 200),
    ],
)
async def test_what_a_client_has_is_not_sent_again(headers: dict[str, Any], status: int) -> None:
    response = await town(always(**FOUND)).facade().respond(request("GET", "Patient/1", **headers))
    assert response.status == status
    assert bool(response.body) is (status == 200)


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    response = await town(always(**FOUND)).facade().respond(request("HEAD", "Patient/1"))
    assert (response.status, response.body) == (200, b"")
    assert dict(response.headers)["etag"] == 'W/"3"'


async def test_a_query_on_a_create_is_a_condition_and_never_ignored() -> None:
    mesh = town(always(status=200))
    wanted = request("POST", "Patient", PATIENT, query=[("identifier", "a|1")])
    await mesh.facade().respond(wanted)
    assert [(p.name, p.value) for p in mesh.last.if_none_exist] == [("identifier", "a|1")]


@pytest.mark.parametrize("given", ["identifier=a%7C1", "Patient?identifier=a%7C1"])
async def test_if_none_exist_is_a_condition(given: str) -> None:
    mesh = town(always(status=200))
    await mesh.facade().respond(request("POST", "Patient", PATIENT, if_none_exist=given))
    assert [(p.name, p.value) for p in mesh.last.if_none_exist] == [("identifier", "a|1")]


async def test_a_change_without_id_needs_a_condition() -> None:
    mesh = town(always(status=200))
    refused = await mesh.facade().respond(request("DELETE", "Patient"))
    assert outcome(refused) == (412, "required")
    assert not mesh.asked
    await mesh.facade().respond(request("DELETE", "Patient", query=[("identifier", "a|1")]))
    assert mesh.last.is_conditional


async def test_a_form_and_a_query_are_searched_together() -> None:
    mesh = town(always(status=200))
    wanted = request(
        "POST", "Patient/_search", b"name=a%20b&_cursor=x&name=c",
        query=[("_format", "json"), ("active", "true")],
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    await mesh.facade().respond(wanted)
    assert [(p.name, p.value) for p in mesh.last.parameters] == [
        ("active", "true"), ("name", "a b"), ("name", "c"),
    ]  # fmt: skip
    assert mesh.last.cursor == "x"


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        (b"{", "Patient", "structure"),
        (b"[1]", "Patient", "structure"),
        (b'{"resourceType":"Patient"}', "Observation", "invalid"),
        (b'\xff{"resourceType":"Patient"}', "Patient", "structure"),
    ],
)
async def test_a_body_that_is_not_what_the_address_says_is_refused(
    body: bytes, path: str, code: str
) -> None:
    mesh = town(always(status=201))
    assert outcome(await mesh.facade().respond(request("POST", path, body))) == (400, code)
    assert not mesh.asked


async def test_an_update_whose_id_is_another_is_refused() -> None:
    response = await town(always(status=200)).facade().respond(request("PUT", "Patient/2", PATIENT))
    assert outcome(response) == (400, "invalid")


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"accept": "application/fhir+xml"}, [], 406),
        ({"accept": "application/fhir+json, */*; q=0.1"}, [], 200),
        ({"accept": "text/html"}, [], 406),
        ({"accept": "application/json;q=0"}, [], 406),
        ({"accept": "application/fhir+json; fhirVersion=5.0"}, [], 406),
        ({"accept": "application/fhir+json; fhirVersion=4.0"}, [], 200),
        ({"accept": "application/fhir+xml"}, [("_format", "json")], 200),
        ({}, [("_format", "xml")], 406),
        ({}, [("_format", "application/fhir json")], 200),
    ],
)
async def test_answers_are_json_or_it_is_said(
    headers: dict[str, Any], query: list[tuple[str, str]], status: int
) -> None:
    wanted = request("GET", "Patient/1", query=query, **headers)
    assert (await town(always(**FOUND)).facade().respond(wanted)).status == status


@pytest.mark.parametrize(
    ("kind", "status", "patch"),
    [
        ("application/json-patch+json", 200, "application/json-patch+json"),
        ("application/merge-patch+json; charset=utf-8", 200, "application/merge-patch+json"),
        ("application/json", 200, "application/merge-patch+json"),
        ("application/fhir+json", 415, ""),
        ("application/json-patch+json; charset=latin-1", 415, ""),
    ],
)
async def test_a_patch_says_which_kind_it_is(kind: str, status: int, patch: str) -> None:
    mesh = town(always(status=200))
    response = await mesh.facade().respond(request("PATCH", "Patient/1", b"[]", content_type=kind))
    assert response.status == status
    if status == 200:
        assert mesh.last.body_type == patch


async def test_versions_are_conditions_and_nonsense_is_refused() -> None:
    mesh = town(always(status=200))
    await mesh.facade().respond(request("PUT", "Patient/1", PATIENT, if_match='W/"3"'))
    assert mesh.last.if_match == "3"
    await mesh.facade().respond(request("PUT", "Patient/1", PATIENT, if_none_match="*"))
    assert mesh.last.if_none_match == "*"
    refused = await mesh.facade().respond(request("PUT", "Patient/1", PATIENT, if_match="3"))
    assert outcome(refused) == (400, "value")


async def test_preferences_travel_and_are_confirmed() -> None:
    mesh = town(always(status=200))
    wanted = request(
        "PUT", "Patient/1", PATIENT, prefer="return=minimal; handling=strict, respond-async"
    )
    response = await mesh.facade().respond(wanted)
    assert mesh.last.prefer_return == pb.RETURN_MINIMAL
    assert mesh.last.is_strict
    assert dict(response.headers)["preference-applied"] == "return=minimal, handling=strict"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NoInstance("none"), 503, "transient"),
        (Overloaded("busy", retry_after_s=3), 503, "throttled"),
        (DeadlineExceeded("late"), 504, "timeout"),
        (PayloadTooLarge("big"), 413, "too-long"),
        (CallRefused("no", "may not"), 403, "forbidden"),
        (CallFailed("internal", "EXAMPLE^PATIENT"), 502, "exception"),
        (Unavailable("away"), 503, "transient"),
    ],
)
async def test_a_failed_call_is_told_without_the_words_of_the_service(
    error: MeshError, status: int, code: str
) -> None:
    mesh = town(always())
    mesh.failure = error
    response = await mesh.facade().respond(request("GET", "Patient/1"))
    assert outcome(response) == (status, code)
    assert b"EXAMPLE" not in response.body
    if status == 503:
        assert dict(response.headers)["retry-after"]


@pytest.mark.parametrize("raw", [b"\xff\xff", b""])
async def test_an_owner_that_answers_nonsense_is_a_bad_gateway(raw: bytes) -> None:
    mesh = town(always())
    mesh.raw = raw
    assert outcome(await mesh.facade().respond(request("GET", "Patient/1"))) == (502, "exception")


# -- owners --------------------------------------------------------------------------------------


async def test_a_service_that_names_a_type_answers_before_one_that_takes_all() -> None:
    mesh = two_owners()
    await mesh.facade().respond(request("GET", "Observation/1"))
    await mesh.facade().respond(request("GET", "Patient/1"))
    assert [service for service, _ in mesh.asked] == ["lab", "store"]


async def test_a_type_that_nobody_owns_is_said_to_be_nobodys() -> None:
    mesh = town(always(status=200), types="Patient")
    response = await mesh.facade().respond(request("GET", "Observation/1"))
    assert outcome(response) == (404, "not-supported")


async def test_a_service_that_is_not_trusted_is_never_asked_whatever_it_says() -> None:
    mesh = two_owners()
    mesh.trusted = frozenset({"store"})
    await mesh.facade().respond(request("GET", "Observation/1"))
    assert [service for service, _ in mesh.asked] == ["store"]


async def test_an_owner_of_another_release_is_not_asked() -> None:
    mesh = town(always(status=200))
    mesh.metadata = {"store": {"fhir.releases": "R5", "fhir.types": "*"}}
    assert outcome(await mesh.facade().respond(request("GET", "Patient/1")))[0] == 404


# -- who may, and the record ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "query", "forbidden"),
    [
        ("GET", "Patient/1", [], ("Patient", "r")),
        ("GET", "Patient", [], ("Patient", "s")),
        ("GET", "Patient/1/_history", [], ("Patient", "r")),
        ("GET", "_history", [], ("*", "s")),
        ("POST", "Patient", [], ("Patient", "c")),
        ("POST", "Patient", [("identifier", "1")], ("Patient", "s")),
        ("PUT", "Patient/1", [], ("Patient", "u")),
        ("PUT", "Patient", [("identifier", "1")], ("Patient", "s")),
        ("PATCH", "Patient/1", [], ("Patient", "u")),
        ("DELETE", "Patient/1", [], ("Patient", "d")),
        ("GET", "Observation", [("subject:Patient.name", "x")], ("Patient", "s")),
        ("GET", "Observation", [("subject.name", "x")], ("*", "s")),
        ("GET", "Patient", [("_has:Observation:patient:code", "x")], ("Observation", "s")),
    ],
)
async def test_what_a_client_may_not_is_refused_recorded_and_never_asked(
    method: str, path: str, query: list[tuple[str, str]], forbidden: tuple[str, str]
) -> None:
    mesh = town(always(status=200))
    mesh.access.forbidden = {forbidden}
    body = PATIENT if method in ("POST", "PUT") else b"[]" if method == "PATCH" else b""
    kind = "application/json-patch+json" if method == "PATCH" else "application/fhir+json"
    response = await mesh.facade().respond(
        request(method, path, body, query=query, content_type=kind)
    )
    assert outcome(response) == (403, "forbidden")
    assert not mesh.asked
    assert [(one.allowed, one.status) for one in mesh.access.records] == [(False, 403)]


async def test_what_an_include_brings_is_given_to_those_alone_who_may_read_it() -> None:
    body = (
        b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Observation"}},'
        b'{"resource":{"resourceType":"Patient"}}]}'
    )
    mesh = town(always(status=200, body=body))
    mesh.access.forbidden = {("Patient", "r")}
    wanted = request("GET", "Observation", query=[("_include", "Observation:subject")])
    response = await mesh.facade().respond(wanted)
    assert outcome(response) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        b"no Bundle",
        b'{"resourceType":"Patient"}',
        b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"id":"1"}}]}',
        b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":[]}]}',
    ],
)
async def test_results_of_which_nobody_can_say_what_they_are_are_not_given_out(body: bytes) -> None:
    mesh = town(always(status=200, body=body))
    response = await mesh.facade().respond(request("GET", "Observation"))
    assert outcome(response) == (502, "exception")


async def test_each_read_and_write_is_recorded_with_who_and_what() -> None:
    mesh = town(always(**FOUND))
    facade = mesh.facade()
    await facade.respond(request("GET", "Patient/1", who=client(user="dr-example")))
    await facade.respond(request("PUT", "Patient/1", PATIENT))
    mesh.owners["store"] = always(status=200, body=b'{"resourceType":"Bundle","type":"searchset"}')
    await facade.respond(request("GET", "Patient", query=[("name", "x")]))
    assert [(one.deed, one.what, one.status) for one in mesh.access.records] == [
        (Deed.READ, "Patient/1", 200),
        (Deed.WRITE, "Patient/1", 200),
        (Deed.SEARCH, "Patient?name=x", 200),
    ]
    assert mesh.access.records[0].client.user == "dr-example"


async def test_nothing_is_given_out_that_could_not_be_recorded() -> None:
    mesh = town(always(**FOUND))
    mesh.access.failure = Unavailable("away")
    response = await mesh.facade().respond(request("GET", "Patient/1"))
    assert outcome(response) == (503, "transient")
    assert b"birthDate" not in response.body


async def test_a_client_of_one_patient_is_served_only_where_the_owner_keeps_to_that() -> None:
    confined = client(compartment="Patient/1")
    refused = (
        await town(always(**FOUND)).facade().respond(request("GET", "Patient/1", who=confined))
    )
    assert outcome(refused) == (403, "forbidden")
    mesh = town(always(**FOUND), **{"fhir.compartments": "yes"})
    allowed = await mesh.facade().respond(request("GET", "Patient/1", who=confined))
    assert allowed.status == 200
    assert mesh.last.requester.compartment == "Patient/1"


# -- capabilities --------------------------------------------------------------------------------


async def test_capabilities_are_those_of_the_owners_now() -> None:
    def offer(*types: str) -> bytes:
        resources = [{"type": name, "interaction": [{"code": "read"}]} for name in types]
        rest = [{"mode": "server", "resource": resources, "interaction": [{"code": "transaction"}]}]
        return orjson.dumps({"resourceType": "CapabilityStatement", "rest": rest})

    mesh = two_owners()
    mesh.owners["store"] = always(status=200, body=offer("Patient", "Observation"))
    mesh.owners["lab"] = always(status=200, body=offer("Observation", "Specimen", "Patient"))
    response = await mesh.facade(smart=True).respond(request("GET", "metadata"))
    document = orjson.loads(response.body)
    assert document["fhirVersion"] == "4.0.1"
    rest = document["rest"][0]
    assert [one["type"] for one in rest["resource"]] == ["Observation", "Patient", "Specimen"]
    assert {one["code"] for one in rest["interaction"]} == {"batch", "transaction"}
    assert rest["security"]["service"]


async def test_an_owner_that_does_not_say_hides_nobody_else() -> None:
    mesh = two_owners()
    mesh.owners["lab"] = always(status=200, body=b"{")
    response = await mesh.facade().respond(request("GET", "metadata"))
    assert response.status == 200
