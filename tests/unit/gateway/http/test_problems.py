"""Problem documents: each error has its status, and none shows content."""

from __future__ import annotations

import orjson
import pytest

from bus.envelope.types import ContentTooLarge, NobodyMayRead
from bus.services.protocol import (
    BadAnswer,
    CallFailed,
    CallRefused,
    InvalidRequest,
    NoInstance,
    NotFoundThere,
    Overloaded,
)
from bus.transport.protocol import PayloadTooLarge, StreamFull
from gateway.access.protocol import Forbidden, TooMany, Unauthenticated
from gateway.http.problems import problem_of
from schemas.errors import (
    Closed,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    SubjectError,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unauthenticated("who?"), 401),
        (Forbidden("no"), 403),
        (TooMany("slow", retry_after_s=2.5), 429),
        (Overloaded("busy", retry_after_s=1.2), 503),
        (NoInstance("none"), 503),
        (NobodyMayRead("none"), 503),
        (DeadlineExceeded("late"), 504),
        (CallRefused("not_yours", ""), 403),
        (InvalidRequest("bad", ""), 422),
        (NotFoundThere("none", ""), 404),
        (CallFailed("broken", ""), 502),
        (BadAnswer("forged"), 502),
        (SubjectError("bad"), 400),
        (ContentTooLarge("large"), 413),
        (PayloadTooLarge("large"), 413),
        (StreamFull("full"), 503),
        (PermissionRefused("no"), 403),
        (Unavailable("away"), 503),
        (Closed("stopped"), 503),
        (MeshError("strange"), 500),
    ],
)
def test_each_error_has_its_status(error: MeshError, status: int) -> None:
    problem = problem_of(error)
    document = orjson.loads(problem.body())
    assert document["status"] == problem.status == status
    assert document["type"] == f"urn:medmesh:problem:{error.code}"
    assert document["code"] == error.code
    assert document["title"]
    has_pause = any(name == b"retry-after" for name, _ in problem.all_headers())
    assert has_pause is (status in (429, 503))


def test_a_pause_is_told_in_whole_seconds_and_is_bounded() -> None:
    assert (b"retry-after", b"3") in problem_of(TooMany("x", retry_after_s=2.5)).all_headers()
    assert (b"retry-after", b"3600") in problem_of(Overloaded("x", retry_after_s=1e9)).all_headers()


def test_a_challenge_tells_how_to_prove_who_asks() -> None:
    problem = problem_of(Unauthenticated("no", challenge='Bearer error="invalid_token"'))
    assert (b"www-authenticate", b'Bearer error="invalid_token"') in problem.all_headers()


def test_the_code_of_a_service_travels_beside_ours() -> None:
    document = orjson.loads(problem_of(InvalidRequest("no_ward", "there is none")).body())
    assert (document["code"], document["reason"]) == ("invalid_request", "no_ward")


def test_the_words_of_a_fault_of_ours_stay_inside() -> None:
    assert b"Mustermann" not in problem_of(MeshError("Mustermann")).body()
