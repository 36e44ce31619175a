"""Whatever comes as a credential gives a client or a refusal, nothing else; granting never widens."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.access import GatewayAccess
from gateway.access.jwks import BadKeys, KeySet
from gateway.access.jwt import read
from gateway.access.protocol import Credentials, Unauthenticated
from gateway.access.rights import allows_fhir
from schemas.gateway.scopes import DEEDS, FhirScope, Level, ScopeRefused, fhir_scope, granted
from schemas.subjects import matches
from tests.unit.gateway.access.tokens_kit import World, ec, key_set, public

UNTIMED = settings(deadline=None)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
CLAIMS = st.dictionaries(
    st.sampled_from(
        [
            "iss",
            "aud",
            "exp",
            "nbf",
            "iat",
            "sub",
            "azp",
            "client_id",
            "scope",
            "scp",
            "cnf",
            "patient",
            "jti",
        ]
    ),
    JSON,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), JSON)
DEEDS_SOME = st.sets(st.sampled_from(DEEDS), min_size=1).map(
    lambda some: "".join(one for one in DEEDS if one in some)
)
SCOPES = st.builds(
    FhirScope, st.sampled_from(Level), st.sampled_from(["*", "Patient", "Group"]), DEEDS_SOME
)
TOKENS = st.sampled_from(["a", "b", "*"])


@lru_cache(maxsize=1)
def access() -> GatewayAccess:
    folder = Path(tempfile.mkdtemp(prefix="medmesh-property-"))
    return asyncio.run(World(folder).open())


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(autouse=True, scope="module")
def opened() -> None:
    """Made once, before the first example is timed."""
    access()


def refused(credentials: Credentials) -> None:
    try:
        client = asyncio.run(access().identify(credentials))
    except Unauthenticated:
        return
    raise AssertionError(f"{client.name} was let in")


@UNTIMED
@given(st.text(max_size=200), st.text(max_size=200), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_is_refused(authorization: str, api_key: str, names: list[str]) -> None:
    refused(
        Credentials(authorization=authorization, api_key=api_key, certificate_names=tuple(names))
    )


@UNTIMED
@given(st.text(max_size=300))
def test_any_bearer_text_is_refused(text: str) -> None:
    refused(Credentials(authorization=f"Bearer {text}"))


@UNTIMED
@given(HEADERS, CLAIMS, st.binary(max_size=100))
def test_any_token_that_nobody_signed_is_refused(
    header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    token = f"{part(header)}.{part(claims)}.{part(signature)}"
    refused(Credentials(authorization=f"Bearer {token}"))


@UNTIMED
@given(st.binary(max_size=100), st.binary(max_size=100), st.binary(max_size=100))
def test_any_parts_give_a_token_or_a_refusal(first: bytes, second: bytes, third: bytes) -> None:
    try:
        read(f"{part(first)}.{part(second)}.{part(third)}")
    except Unauthenticated:
        return


@UNTIMED
@given(st.text(max_size=100))
def test_any_text_gives_a_token_or_a_refusal(text: str) -> None:
    try:
        read(text)
    except Unauthenticated:
        return


@UNTIMED
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps({"keys": [value]}).encode()))
def test_any_bytes_give_keys_or_a_refusal(document: bytes) -> None:
    try:
        KeySet.parse(document)
    except BadKeys:
        return


@UNTIMED
@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops"]), JSON
    )
)
def test_a_bad_key_does_not_take_a_good_one_away(entry: dict[str, Any]) -> None:
    parsed = KeySet.parse(key_set(entry, public(ec(), "good")))

    assert parsed.find("good", "ES384") is not None


@UNTIMED
@given(SCOPES, st.lists(SCOPES, max_size=4))
def test_granting_never_widens(requested: FhirScope, configured: list[FhirScope]) -> None:
    def allowed(scopes: list[FhirScope], of_type: str, deed: str) -> bool:
        return allows_fhir(tuple(map(str, scopes)), of_type, deed, confined=True)

    found = list(granted(requested, configured))

    for of_type in ("*", "Patient", "Group", "Encounter"):
        for deed in DEEDS:
            if allowed(found, of_type, deed):
                assert allowed([requested], of_type, deed)
                assert allowed(configured, of_type, deed)
    assert all(one.level is requested.level for one in found)


@UNTIMED
@given(st.text(max_size=60))
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        scope = fhir_scope(text)
    except ScopeRefused:
        return
    assert fhir_scope(str(scope)) == scope


@UNTIMED
@given(
    right=st.lists(TOKENS, min_size=1, max_size=4),
    asked=st.lists(TOKENS, min_size=1, max_size=4),
    rest=st.booleans(),
)
def test_a_covered_pattern_reaches_nothing_else(
    right: list[str], asked: list[str], *, rest: bool
) -> None:
    """Every subject of a covered pattern is covered: what `may_subscribe` stands on."""
    held = ".".join([*right, ">"] if rest else right)
    pattern = ".".join(asked)
    if matches(held, pattern):
        for filler in ("a", "b", "c"):
            assert matches(held, pattern.replace("*", filler))
