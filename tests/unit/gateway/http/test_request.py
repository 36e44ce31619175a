"""Bodies are bounded in bytes and time; headers that say nothing sensible are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.http.exchange import Gone, Refused
from gateway.http.request import Bounds, Request

BOUNDS = Bounds(max_body=10, body_timeout_s=5.0, request_timeout_s=30.0)


def request(*messages: Mapping[str, Any], query: str = "", **headers: str) -> Request:
    inbox: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
    for message in messages:
        inbox.put_nowait(message)
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"headers": raw, "method": "POST", "path": "/x", "query_string": query.encode()}
    return Request(scope, inbox.get)


def piece(body: bytes, *, more: bool = True) -> Mapping[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def refusal(of: Request, bounds: Bounds = BOUNDS) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await of.body(bounds)
    return caught.value.problem.status, caught.value.problem.code


async def test_a_body_is_read_to_its_announced_end_and_no_further() -> None:
    assert await request(piece(b"hel"), piece(b"lo"), content_length="5").body(BOUNDS) == b"hello"


async def test_a_body_of_unknown_length_is_read_to_its_end() -> None:
    messages = (piece(b"hel"), piece(b"lo"), piece(b"", more=False))
    assert await request(*messages, transfer_encoding="chunked").body(BOUNDS) == b"hello"


async def test_a_body_that_announces_nothing_is_not_waited_for() -> None:
    assert await request(content_length="0").body(BOUNDS) == b""


async def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    assert await refusal(request(content_length="11")) == (413, "body_too_large")
    assert await refusal(request(content_length="9" * 40)) == (413, "body_too_large")


async def test_a_body_that_grows_too_large_is_refused() -> None:
    messages = (piece(b"123456"), piece(b"123456"))
    assert await refusal(request(*messages)) == (413, "body_too_large")


async def test_a_body_that_does_not_come_is_refused_in_time() -> None:
    bounds = Bounds(max_body=10, body_timeout_s=0.01, request_timeout_s=1.0)
    assert await refusal(request(piece(b"1"), content_length="5"), bounds) == (408, "body_timeout")


async def test_a_compressed_body_is_refused() -> None:
    got = await refusal(request(piece(b"1", more=False), content_encoding="gzip"))
    assert got == (415, "content_encoding")


async def test_a_client_that_leaves_in_the_middle_is_gone() -> None:
    with pytest.raises(Gone):
        await request(piece(b"1"), {"type": "http.disconnect"}, content_length="5").body(BOUNDS)


@pytest.mark.parametrize(("told", "wait_s"), [("", 30.0), ("2", 2.0), ("0.5", 0.5), ("1e9", 30.0)])
def test_the_clients_patience_is_bounded_by_ours(told: str, wait_s: float) -> None:
    assert request(**({"request_timeout": told} if told else {})).timeout_s(30.0) == wait_s


@pytest.mark.parametrize("told", ["0", "-1", "nan", "inf", "soon", "1,5"])
def test_a_patience_that_is_no_number_of_seconds_is_refused(told: str) -> None:
    with pytest.raises(Refused) as caught:
        request(request_timeout=told).timeout_s(30.0)
    assert caught.value.problem.code == "request_timeout"


@pytest.mark.parametrize(
    ("accept", "is_fine"),
    [
        ("application/json", True),
        ("application/*", True),
        ("text/html, */*;q=0.1", True),
        ("application/json;q=0", False),
        ("application/json; q=0, text/html", False),
        ("text/html", False),
    ],
)
def test_accept_is_obeyed(accept: str, *, is_fine: bool) -> None:
    asked = request(accept=accept)
    if is_fine:
        asked.accepts("application/json")
        return
    with pytest.raises(Refused) as caught:
        asked.accepts("application/json")
    assert caught.value.problem.status == 406


def test_another_method_is_told_which_ones_are_taken() -> None:
    with pytest.raises(Refused) as caught:
        request().require("GET", "HEAD")
    assert (b"allow", b"GET, HEAD") in caught.value.problem.headers


def test_a_query_that_cannot_be_read_is_refused() -> None:
    assert request(query="v=1&v=2").query() == {"v": "2"}
    with pytest.raises(Refused):
        request(query="&".join("a=1" for _ in range(100))).query()


def test_only_a_trace_context_of_the_known_form_is_carried() -> None:
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    assert request(traceparent=good).traceparent == good
    assert request(traceparent="x").traceparent == ""
