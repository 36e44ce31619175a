"""Routes: the longest prefix wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import Receive, Scope, Send
from gateway.http.router import Router
from gateway.part import Mount
from schemas.errors import ConfigurationError


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError


def router(*prefixes: str) -> Router:
    return Router(Mount(prefix=one, app=_app) for one in prefixes)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/healthz", "/healthz"),
        ("/healthz/", None),
        ("/healthz2", None),
        ("/fhir/R4/Patient/1", "/fhir/"),
        ("/fhir/R4/special/1", "/fhir/R4/special/"),
        ("/fhir/R4/special", "/fhir/"),
        ("/fhir", None),
        ("/", None),
        ("", None),
        ("fhir/R4", None),
    ],
)
def test_the_longest_prefix_wins(path: str, found: str | None) -> None:
    mount = router("/healthz", "/fhir/", "/fhir/R4/special/").find(path)
    assert (mount.prefix if mount else None) == found


def test_two_parts_cannot_claim_one_prefix() -> None:
    with pytest.raises(ConfigurationError, match="two parts"):
        router("/v1/", "/v1/")


def test_a_path_of_many_steps_costs_no_more_than_the_longest_prefix() -> None:
    assert router("/v1/").find("/" * 60_000) is None


@given(
    st.lists(st.sampled_from(["/a/", "/a/b/", "/a/b", "/c"]), unique=True),
    st.text("/abc", max_size=12),
)
def test_what_is_found_is_what_a_search_of_all_finds(prefixes: list[str], path: str) -> None:
    fits = [p for p in prefixes if path == p or (p.endswith("/") and path.startswith(p))]
    exact = [p for p in fits if not p.endswith("/")]
    best = exact or sorted(fits, key=len)[-1:]
    expected = best[0] if best else None
    found = router(*prefixes).find(path)
    assert (found.prefix if found else None) == expected
