"""Tokens of authorisation servers: each thing that can be wrong with one is refused; the refusal tells no content."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey, RSAKey
from pydantic import ValidationError

from gateway.access.protocol import Credentials, Forbidden, Proof, Unauthenticated
from schemas.errors import ConfigurationError
from schemas.gateway.access import IssuerSection
from tests.unit.gateway.access.tokens_kit import (
    World,
    bearer,
    claims,
    ec,
    key_set,
    public,
    rsa,
    signed,
    unsigned,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_good_token_names_its_client_and_its_user(world: World) -> None:
    access = await world.open()

    client = await bearer(access, world.token())

    assert (client.name, client.proof, client.user) == ("lab", Proof.JWT, "f3a1")
    assert client.scopes == ("mesh/publish", "system/Patient.rs")
    assert client.expires_ms == world.clock.now_ms() + 330_000
    access.may_publish(client, "evt.north.result.final.7")
    access.may_fhir(client, "Patient", "r")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"iss": "https://other.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"iss": 5}, "iss"),
        ({"iss": "https://login.example/realms/north/"}, "iss"),
        ({"aud": "https://other.example"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": ["https://other.example"]}, "aud"),
        ({"aud": 7}, "aud"),
        ({"aud": {"https://gateway.example": 1}}, "aud"),
        ({"azp": "other-app"}, "client"),
        ({"azp": "other-app", "client_id": "lab-app", "sub": "lab-app"}, "client"),
        ({"azp": None, "sub": None}, "client"),
        ({"azp": ["lab-app"]}, "azp"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": -1}, "exp"),
        ({"exp": 1e300}, "exp"),
        ({"nbf": "now"}, "nbf"),
        ({"cnf": {"jkt": "x"}}, "cnf"),
        ({"cnf": "x"}, "cnf"),
        ({"cnf": {"x5t#S256": "AAAA"}}, "cnf"),
        ({"scope": 5}, "scope"),
        ({"scope": "x " * 4000}, "scopes"),
        ({"patient": "../Patient/1"}, "patient"),
    ],
)
async def test_a_token_with_wrong_claims_is_refused(
    world: World, wrong: dict[str, Any], why: str
) -> None:
    access = await world.open()

    with pytest.raises(Unauthenticated, match=why) as refusal:
        await bearer(access, world.token(**wrong))

    assert 'error="invalid_token"' in refusal.value.challenge
    assert "other.example" not in str(refusal.value)
    assert "other-app" not in str(refusal.value)


async def test_the_end_of_a_token_is_kept_within_the_skew(world: World) -> None:
    access = await world.open()
    token = world.token()

    world.clock.advance(329)
    assert (await bearer(access, token)).name == "lab"
    world.clock.advance(1)
    for _ in range(2):  # neither what was remembered nor a fresh look lets it in
        with pytest.raises(Unauthenticated):
            await bearer(access, token)
        access = await world.open()


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_of_the_future_is_refused_beyond_the_skew(world: World, claim: str) -> None:
    access = await world.open()
    now_s = world.clock.now_ms() // 1000

    assert (await bearer(access, world.token(**{claim: now_s + 30}))).name == "lab"
    with pytest.raises(Unauthenticated, match="clocks"):
        await bearer(access, world.token(**{claim: now_s + 31}))


async def test_a_foreign_signature_is_refused(world: World) -> None:
    access = await world.open()

    with pytest.raises(Unauthenticated, match="signature"):
        await bearer(access, signed(rsa(7), "RS256", claims(world.clock)))


async def test_a_changed_token_is_refused(world: World) -> None:
    access = await world.open()
    head, _, signature = world.token().split(".")
    changed = unsigned({}, claims(world.clock, scope="system/*.cruds")).split(".")[1]

    with pytest.raises(Unauthenticated, match="signature"):
        await bearer(access, f"{head}.{changed}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_no_token_without_a_signature(world: World, algorithm: str) -> None:
    access = await world.open()
    for signature in (b"", b"x"):
        token = unsigned({"alg": algorithm, "kid": "k1"}, claims(world.clock), signature)
        with pytest.raises(Unauthenticated, match="algorithm"):
            await bearer(access, token)


async def test_a_public_key_is_no_shared_secret(world: World) -> None:
    access = await world.open()
    unfinished = unsigned({"alg": "HS256", "kid": "k1", "typ": "JWT"}, claims(world.clock))[:-1]
    for secret in (rsa().as_pem(private=False), rsa().as_der(private=False)):
        signature = hmac.digest(secret, unfinished.encode(), "sha256")
        token = f"{unfinished}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        with pytest.raises(Unauthenticated, match="algorithm"):
            await bearer(access, token)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS384", "HS512", "EdDSA", "ES256K"])
def test_no_configuration_allows_signatures_by_shared_secrets_or_none(algorithm: str) -> None:
    with pytest.raises(ValidationError):
        IssuerSection.model_validate(
            {"issuer": "x", "audience": ["y"], "jwks": "z", "algorithms": [algorithm]}
        )


@pytest.mark.parametrize(
    "place", ["http://x.example/jwks", "ftp://x", "https://u:p@x.example/k", "file:///k"]
)
def test_keys_come_from_https(place: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        IssuerSection.model_validate({"issuer": "x", "audience": ["y"], "jwks_url": place})


async def test_algorithms_that_are_not_allowed_are_refused_though_the_key_could(
    world: World,
) -> None:
    world.issuer = {"algorithms": ["ES256"]}
    access = await world.open()

    with pytest.raises(Unauthenticated, match="algorithm"):
        await bearer(access, world.token())
    token = signed(ec("P-256"), "ES256", claims(world.clock), kid="k2")
    assert (await bearer(access, token)).name == "lab"


async def test_a_key_of_another_kind_than_the_algorithm_is_not_taken(world: World) -> None:
    access = await world.open()
    token = signed(rsa(), "RS256", claims(world.clock), kid="k2")  # k2 is an EC key

    with pytest.raises(Unauthenticated, match="no key"):
        await bearer(access, token)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
async def test_rsa_signatures(world: World, algorithm: str) -> None:
    world.issuer = {"algorithms": [algorithm]}
    access = await world.open()

    assert (await bearer(access, signed(rsa(), algorithm, claims(world.clock)))).name == "lab"


@pytest.mark.parametrize(
    ("algorithm", "curve"), [("ES256", "P-256"), ("ES384", "P-384"), ("ES512", "P-521")]
)
async def test_elliptic_signatures(world: World, algorithm: str, curve: str) -> None:
    world.issuer = {"algorithms": [algorithm]}
    world.issuer_keys.write_bytes(key_set(public(ec(curve), "k1")))
    access = await world.open()

    assert (await bearer(access, signed(ec(curve), algorithm, claims(world.clock)))).name == "lab"


async def test_edwards_signatures(world: World) -> None:
    key = OKPKey.generate_key("Ed25519")
    world.issuer = {"algorithms": ["Ed25519"]}
    world.issuer_keys.write_bytes(key_set(public(key, "k1")))
    access = await world.open()

    assert (await bearer(access, signed(key, "Ed25519", claims(world.clock)))).name == "lab"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"b64": False},
        {"typ": "dpop+jwt"},
        {"typ": "logout+jwt"},
        {"kid": 5},
        {"kid": "x" * 600},
    ],
)
async def test_headers_that_ask_for_more_are_refused(world: World, header: dict[str, Any]) -> None:
    access = await world.open()
    token = unsigned({"alg": "RS256", "kid": "k1", **header}, claims(world.clock), b"x" * 256)

    with pytest.raises(Unauthenticated):
        await bearer(access, token)


async def test_a_key_that_the_token_brings_itself_is_not_believed(world: World) -> None:
    access = await world.open()
    attacker: RSAKey = rsa(9)
    header = {"jwk": public(attacker, "k1"), "jku": "https://attacker.example/jwks"}

    with pytest.raises(Unauthenticated, match="signature"):
        await bearer(access, signed(attacker, "RS256", claims(world.clock), header=header))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "..",
        "ü.ü.ü",
        "A" * 20_000,
        "e30.e30.e30",
        "W10.W10.W10",
        "\x00.\x00.\x00",
    ],
)
async def test_what_is_no_token_is_refused(world: World, text: str) -> None:
    access = await world.open()

    with pytest.raises(Unauthenticated):
        await bearer(access, text)


@pytest.mark.parametrize("places", [{}, {"jwks": "f", "jwks_url": "https://x.example/jwks"}])
def test_keys_come_from_one_place(places: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="one of"):
        IssuerSection.model_validate({"issuer": "x", "audience": ["y"], **places})


async def test_text_that_is_no_utf8_is_no_token(world: World) -> None:
    access = await world.open()
    broken = (
        base64.urlsafe_b64encode(b'{"alg": "RS256", "kid": "\xed\xa0\x80"}').decode().rstrip("=")
    )

    for token in (f"{broken}.e30.e30", f"e30.{broken}.e30"):
        with pytest.raises(Unauthenticated, match="no JWT"):
            await bearer(access, token)


async def test_the_first_claim_that_names_a_client_decides(world: World) -> None:
    access = await world.open()

    assert (await bearer(access, world.token(azp=None, client_id="lab-app"))).name == "lab"
    by_subject = await bearer(access, world.token(azp=None, sub="lab-app"))
    assert (by_subject.name, by_subject.user) == ("lab", "")


async def test_scopes_that_are_not_configured_give_nothing(world: World) -> None:
    access = await world.open()

    client = await bearer(
        access, world.token(scope="system/*.cruds mesh/call mesh/operate user/Patient.rs launch")
    )

    assert client.scopes == ("system/*.rs", "user/Patient.rs")
    with pytest.raises(Forbidden):
        access.may_fhir(client, "Patient", "c")
    with pytest.raises(Forbidden):  # configured, and the token does not name it
        access.may_publish(client, "evt.north.result.final.7")


@pytest.mark.parametrize(
    "scope",
    ["", "system/Patient.rs?_id=1", "system/Patient.xyz", "patient/Observation.rs", "*/*.*"],
)
async def test_scopes_that_are_not_understood_grant_nothing(world: World, scope: str) -> None:
    access = await world.open()

    assert (await bearer(access, world.token(scope=scope))).scopes == ()


async def test_scopes_may_come_as_a_list(world: World) -> None:
    access = await world.open()

    client = await bearer(access, world.token(scope=None, scp=["system/Patient.r"]))

    assert client.scopes == ("system/Patient.r",)


async def test_an_issuer_without_scopes_of_ours_gives_what_is_configured(world: World) -> None:
    world.issuer = {"scopes": "configured"}
    access = await world.open()

    client = await bearer(access, world.token(scope="openid"))

    access.may_publish(client, "evt.north.result.final.7")
    access.may_fhir(client, "Observation", "s")


async def test_a_token_for_one_patient_is_confined_to_it(world: World) -> None:
    access = await world.open()

    client = await bearer(
        access, world.token(scope="patient/*.rs mesh/publish mesh/subscribe", patient="p-1")
    )

    assert client.compartment == "Patient/p-1"
    access.may_fhir(client, "Observation", "r")
    with pytest.raises(Forbidden):
        access.may_publish(client, "evt.north.result.final.7")
    with pytest.raises(Forbidden):
        access.may_subscribe(client, "evt.north.order.placed.7")
    assert "p-1" not in repr(client)


async def test_a_bound_token_is_of_use_only_with_its_certificate(world: World) -> None:
    access = await world.open()
    digest = hashlib.sha256(b"certificate").digest()
    thumbprint = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    token = world.token(cnf={"x5t#S256": thumbprint})

    assert (await bearer(access, token, certificate_hash=digest)).name == "lab"
    for stolen in ({}, {"certificate_hash": hashlib.sha256(b"other").digest()}):
        with pytest.raises(Unauthenticated, match="bound"):
            await access.identify(Credentials(authorization=f"Bearer {token}", **stolen))  # type: ignore[arg-type]


async def test_a_certificate_of_one_client_does_not_go_with_a_token_of_another(
    world: World,
) -> None:
    world.clients = [{"name": "ris", "certificates": ["ris.example"]}]
    access = await world.open()

    with pytest.raises(Unauthenticated, match="two clients"):
        await bearer(access, world.token(), certificate_names=("ris.example",))


async def test_keys_that_cannot_be_read_stop_the_start(world: World) -> None:
    for document in (b"{}", b"[]", b"x", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "eA"}]}'):
        world.issuer_keys.write_bytes(document)
        with pytest.raises(ConfigurationError, match="jwks of issuer"):
            await world.open()
    world.issuer_keys.unlink()
    with pytest.raises(ConfigurationError, match="jwks of issuer"):
        await world.open()


async def test_a_client_of_an_issuer_that_is_not_there_stops_the_start(world: World) -> None:
    world.lab["token"] = [{"issuer": "https://nobody.example", "id": "lab-app"}]

    with pytest.raises(ConfigurationError, match=r"no \[\[gateway.access.issuer\]\]"):
        await world.open()


async def test_a_token_is_verified_once_and_remembered(world: World) -> None:
    access = await world.open()
    token = world.token()
    await bearer(access, token)
    world.issuer_keys.write_bytes(b"gone")

    assert (await bearer(access, token)).name == "lab"


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.access.tokens._REMEMBERED", 3)
    access = await world.open()

    for number in range(8):
        await bearer(access, world.token(sub=f"user-{number}"))

    assert len(access._tokens._known) == 3  # type: ignore[attr-defined]  # what is bounded
