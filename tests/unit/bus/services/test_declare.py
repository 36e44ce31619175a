"""Classes as services."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from bus.services.codecs import JSON, TEXT, DeclarationError
from bus.services.declare import endpoint, endpoints_of, offer_of, service
from bus.services.protocol import CallContext, InvalidRequest, Method, Priority
from schemas.errors import ConfigurationError, SubjectError


class Ward(BaseModel):
    name: str


class Beds(BaseModel):
    free: int


@service("bed-manager", version="1.2.0", zone="b", metadata={"owner": "nursing"})
class BedManager:
    """Knows which beds are free.

    More words.
    """

    def __init__(self, free: int) -> None:
        self.count = free

    @endpoint(idempotent=True)
    async def free(self, request: Ward) -> Beds:
        return Beds(free=self.count)

    @endpoint(name="reserve-bed")
    async def reserve(self, request: Ward, call: CallContext) -> str:
        return f"{call.caller}: {request.name}"

    @endpoint
    async def forget(self, request: None) -> None:
        self.count = 0

    async def not_offered(self, request: Ward) -> Beds:
        raise AssertionError


CALL = CallContext(
    caller="emr", method="m", id=bytes(16), attempt=1, priority=Priority.STAT, left_s=lambda: 1.0
)


def methods(of: object) -> dict[str, Method]:
    return {method.name: method for method in offer_of(of).methods}


def test_offer_says_what_the_class_says() -> None:
    offer = offer_of(BedManager(3))
    assert (offer.name, offer.version, offer.zone) == ("bed-manager", "1.2.0", "b")
    assert (offer.description, offer.metadata) == (
        "Knows which beds are free.",
        {"owner": "nursing"},
    )
    found = methods(BedManager(3))
    assert sorted(found) == ["forget", "free", "reserve-bed"]
    free = found["free"]
    assert (free.request_type, free.response_type, free.is_idempotent) == (JSON, JSON, True)
    assert (found["reserve-bed"].response_type, found["reserve-bed"].is_idempotent) == (TEXT, False)
    assert '"name"' in free.request_schema


async def test_handlers_decode_work_and_encode() -> None:
    beds = BedManager(3)
    found = methods(beds)
    assert await found["free"].handler(b'{"name":"3b"}', CALL) == b'{"free":3}'
    assert await found["reserve-bed"].handler(b'{"name":"3b"}', CALL) == b"emr: 3b"
    assert await found["forget"].handler(b"", CALL) == b""
    assert await found["free"].handler(b'{"name":"3b"}', CALL) == b'{"free":0}'


async def test_body_that_does_not_validate_never_reaches_the_method() -> None:
    with pytest.raises(InvalidRequest):
        await methods(BedManager(1))["free"].handler(b"{}", CALL)


async def test_subclass_offers_what_it_inherits_and_overrides() -> None:
    @service("bed-manager", version="2.0.0")
    class Full(BedManager):
        @endpoint(idempotent=True)
        async def free(self, request: Ward) -> Beds:
            return Beds(free=0)

    found = methods(Full(3))
    assert sorted(found) == ["forget", "free", "reserve-bed"]
    assert await found["free"].handler(b'{"name":"x"}', CALL) == b'{"free":0}'


def test_endpoints_give_the_codecs_of_each_method() -> None:
    found = endpoints_of(BedManager)
    assert found["reserve"].name == "reserve-bed"
    assert found["free"].response.decode(b'{"free":2}') == Beds(free=2)


def test_class_that_is_no_service_is_told() -> None:
    with pytest.raises(DeclarationError, match="@service"):
        offer_of(object())
    with pytest.raises(DeclarationError, match="no method"):
        service("x", version="1.0.0")(type("Empty", (), {}))


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0\n"])
def test_version_must_be_semantic(version: str) -> None:
    with pytest.raises(ConfigurationError, match="semantic"):
        service("x", version=version)


def test_names_must_fit_into_subjects() -> None:
    with pytest.raises(SubjectError):
        service("Bed.Manager", version="1.0.0")

    async def fine(self: Any, request: bytes) -> bytes:
        return request

    with pytest.raises(SubjectError):
        endpoint(name="Not A Token")(fine)


def not_async(self: Any, request: bytes) -> bytes:
    return request


async def no_type(self: Any, request) -> bytes:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return bytes(request)


async def no_answer(self: Any, request: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return request


async def bare(self: Any) -> bytes:
    return b""


async def too_many(self: Any, request: bytes, call: CallContext, more: int) -> bytes:
    return request


async def wrong_call(self: Any, request: bytes, call: int) -> bytes:
    return request


async def keywords(self: Any, *, request: bytes) -> bytes:
    return request


async def strange(self: Any, request: dict[str, int]) -> bytes:
    return b""


async def unknown(self: Any, request: NotThere) -> bytes:  # type: ignore[name-defined]  # noqa: F821
    return b""


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (not_async, "is not async"),
        (no_type, "'request' has no type"),
        (no_answer, "'return' has no type"),
        (bare, "must take"),
        (too_many, "must take"),
        (wrong_call, "CallContext"),
        (keywords, "must take"),
        (strange, "cannot travel"),
        (unknown, "'NotThere'"),
    ],
)
def test_methods_that_cannot_be_served_are_told_where_they_are_declared(
    function: Any, told: str
) -> None:
    with pytest.raises(DeclarationError, match=told) as caught:
        endpoint(function)
    assert function.__name__ in str(caught.value)


def test_two_methods_of_one_name_are_told() -> None:
    class Twice:
        @endpoint(name="same")
        async def one(self, request: bytes) -> bytes:
            return request

        @endpoint(name="same")
        async def two(self, request: bytes) -> bytes:
            return request

    with pytest.raises(DeclarationError, match="same twice"):
        service("x", version="1.0.0")(Twice)
