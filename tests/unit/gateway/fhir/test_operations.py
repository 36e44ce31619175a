"""Operations: an owner names those that it has, with the letters of SMART that they need."""

from __future__ import annotations

import orjson
import pytest

from gateway.access.protocol import Deed
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.gateway.fhir.parts import Town, always, request, town

OPERATIONS = {"fhir.operations": "Patient/$match.s,Patient/$purge"}


def with_operations() -> Town:
    return town(always(status=200, body=b'{"resourceType":"Parameters"}'), **OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "id_", "operation"),
    [("GET", "Patient/$match", "", "$match"), ("GET", "Patient/1/$match", "1", "$match"),
     ("GET", "Patient/1/$purge", "1", "$purge")],
)  # fmt: skip
async def test_an_operation_goes_to_its_owner(
    method: str, path: str, id_: str, operation: str
) -> None:
    place = with_operations()
    answer = await place.facade().respond(request(method, path))
    assert answer.status == 200
    asked = place.last
    assert (asked.kind, asked.id, asked.operation) == (pb.KIND_OPERATION, id_, operation)
    assert place.idempotent == [False]
    assert place.access.records[-1].deed is Deed.CALL


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "Patient/$other", 404), ("GET", "Observation/$match", 404), ("PUT", "Patient/$match", 405),
     ("DELETE", "Patient/1/$match", 405), ("GET", "Patient/1/$", 404)],
)  # fmt: skip
async def test_what_nobody_has_is_refused(method: str, path: str, status: int) -> None:
    place = with_operations()
    answer = await place.facade().respond(request(method, path))
    assert answer.status == status
    assert orjson.loads(answer.body)["resourceType"] == "OperationOutcome"
    assert not place.asked


@pytest.mark.parametrize(
    ("operation", "letter", "status"),
    [("$match", "s", 403), ("$match", "d", 200), ("$purge", "d", 403)],
)
async def test_an_operation_needs_the_letters_that_its_owner_names_or_all(
    operation: str, letter: str, status: int
) -> None:
    place = with_operations()
    place.access.forbidden.add(("Patient", letter))
    answer = await place.facade().respond(request("GET", f"Patient/{operation}"))
    assert answer.status == status
