"""A host that was taken is not looked at again; nothing else passes for it."""

from __future__ import annotations

import pytest

from gateway.http.origins import Origins

OWN = {b"host": b"localhost:8443"}


def local() -> Origins:
    """The rules of a gateway that listens on this machine only, with one request behind it."""
    origins = Origins((), hosts=frozenset({b"localhost"}))
    assert not origins.is_usual(OWN)
    assert origins.refusal("http", OWN) is None
    assert origins.is_usual(OWN)
    return origins


@pytest.mark.parametrize("host", [b"evil.example", b"localhost.evil.example", b"localhost"])
def test_another_host_is_looked_at(host: bytes) -> None:
    assert not local().is_usual({b"host": host})


def test_a_refused_host_never_becomes_usual() -> None:
    origins, foreign = local(), {b"host": b"evil.example"}
    for _ in range(2):
        assert origins.refusal("http", foreign) is not None
        assert not origins.is_usual(foreign)


def test_what_comes_from_a_page_is_always_looked_at() -> None:
    origins = local()
    page = {**OWN, b"origin": b"https://evil.example"}
    assert not origins.is_usual(page)
    assert origins.refusal("http", page) is not None


def test_a_gateway_under_any_name_looks_at_pages_only() -> None:
    origins = Origins((), hosts=frozenset())
    assert origins.is_usual({b"host": b"gateway.example"})
    assert not origins.is_usual({b"host": b"gateway.example", b"origin": b"null"})


def test_hosts_that_are_remembered_are_bounded() -> None:
    origins = Origins((), hosts=frozenset({b"localhost"}))
    for port in range(1000):
        assert origins.refusal("http", {b"host": b"localhost:%d" % port}) is None
    assert len(origins._usual) <= 64
