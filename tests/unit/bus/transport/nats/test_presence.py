"""Events of the server about connections, also hostile ones."""

from __future__ import annotations

import json

import pytest

from bus.transport.nats.presence import departed


def event(**fields: object) -> bytes:
    return json.dumps({"client": {"name": "lab/1"}, "reason": "Client Closed", **fields}).encode()


@pytest.mark.parametrize("reason", ["Client Closed", "Read Error", "Stale Connection", ""])
def test_name_of_the_connection_that_ended(reason: str) -> None:
    assert departed(event(reason=reason)) == "lab/1"


def test_stop_of_the_server_is_nobodys_departure() -> None:
    assert departed(event(reason="Server Shutdown")) == ""


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 60_000,
        event(client=None),
        event(client={"name": 7}),
        b" " * 70_000,
    ],
)
def test_anything_else_names_nobody(payload: bytes) -> None:
    assert departed(payload) == ""
