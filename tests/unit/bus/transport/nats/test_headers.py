"""Header blocks: nats-py's reading of them, nothing that could leave its line, nothing decoded unasked."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from nats.aio.client import Client

from bus.transport.nats.headers import (
    Headers,
    block,
    decode,
    encode,
    message_id,
    says_no_responders,
    with_status,
)
from schemas.errors import SubjectError


def as_nats_py_reads(raw: bytes) -> dict[str, str]:
    fields = asyncio.run(cast("Any", Client())._process_headers(raw))
    return {str.__str__(key): value for key, value in (fields or {}).items()}


@pytest.mark.parametrize(
    "raw",
    [
        b"NATS/1.0\r\nA: 1\r\nB:2\r\nA: 3\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\nbad key: 1\r\n: 2\r\nK: a:b\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n",
        b"NATS/1.0\r\nK: \xff\xfe\r\n\xff: 1\r\n\r\n",
    ],
)
def test_fields_are_those_that_nats_py_finds(raw: bytes) -> None:
    found = as_nats_py_reads(raw)
    found.pop("", None)
    assert decode(raw) == found


@pytest.mark.parametrize("key", ["", "a b", "a:b", "a\r\nb", "ä"])
def test_key_that_is_no_token_is_refused(key: str) -> None:
    with pytest.raises(SubjectError):
        encode({key: "v"})


def test_message_id_cannot_leave_its_line() -> None:
    assert message_id("a\r\nNats-Rollup: all") == b"Nats-Msg-Id: a  Nats-Rollup: all\r\n"


def test_headers_are_a_mapping_equal_to_a_dictionary_of_the_same() -> None:
    headers = Headers(b"NATS/1.0\r\nA: 1\r\n\r\n")
    plain = {"A": "1"}
    assert headers == plain
    assert plain == headers
    assert (len(headers), list(headers), headers["A"], headers.get("B")) == (1, ["A"], "1", None)
    assert repr(headers) == "Headers({'A': '1'})"
    assert not Headers(block(b""))


def test_headers_that_came_go_on_as_they_are() -> None:
    raw = b"NATS/1.0\r\nA:  odd \r\n\r\n"
    assert encode(Headers(raw)) is raw
    assert encode(Headers(b"NATS/1.0 503\r\nA: 1\r\n\r\n")).startswith(b"NATS/1.0\r\n")


def test_status_that_nats_py_has_put_among_the_fields_is_a_status_again() -> None:
    raw = with_status({"Status": "503", "Description": "No Responders", "K": "v"})
    assert raw == b"NATS/1.0 503 No Responders\r\nK: v\r\n\r\n"
    assert says_no_responders(raw, b"")
    assert not says_no_responders(raw, b"x")
    assert not says_no_responders(None, b"")
    assert with_status({"K": "v"}) == b"NATS/1.0\r\nK: v\r\n\r\n"
