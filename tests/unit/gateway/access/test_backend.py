"""The token endpoint: an assertion is taken once across gateways, and gives no more than is configured."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from gateway.access.backend import TokenRefused
from gateway.access.protocol import Forbidden, Proof, TooMany, Unauthenticated
from schemas.errors import ConfigurationError, MeshError
from tests.unit.gateway.access.tokens_kit import (
    AUDIENCE,
    World,
    assertion_claims,
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


async def refusal_of(world: World, **changes: Any) -> TokenRefused:
    access = await world.open()
    with pytest.raises(TokenRefused) as refusal:
        await access.backend.issue(world.form(world.assertion(**changes)))
    return refusal.value


async def test_an_assertion_gives_a_token_that_any_gateway_believes(world: World) -> None:
    here, there = await world.open(), await world.open()

    issued = await here.backend.issue(world.form(scope="system/Patient.r system/*.rs mesh/call"))
    client = await bearer(there, issued.text)

    assert issued.lifetime_s == 300
    assert (client.name, client.proof) == ("ehr", Proof.SMART)
    assert client.scopes == issued.scopes
    assert issued.scopes == (
        "system/Observation.rs",
        "system/Patient.r",
        "system/Patient.rs",
    )
    there.may_fhir(client, "Patient", "s")
    with pytest.raises(Forbidden):
        there.may_fhir(client, "Patient", "c")


async def test_es384_assertions(world: World) -> None:
    access = await world.open()
    assertion = signed(ec(), "ES384", assertion_claims(world.clock), kid="k2")

    assert (await access.backend.issue(world.form(assertion))).text


async def test_an_assertion_is_taken_once_whichever_gateway_it_comes_to(world: World) -> None:
    here, there = await world.open(), await world.open()
    form = world.form()
    await here.backend.issue(form)

    for gateway in (there, here):
        with pytest.raises(TokenRefused, match="jti") as refusal:
            await gateway.backend.issue(form)
        assert refusal.value.error == "invalid_client"


async def test_of_many_at_once_one_is_taken(world: World) -> None:
    gateways = [await world.open() for _ in range(4)]
    form = world.form()

    answers = await asyncio.gather(
        *(gateway.backend.issue(form) for gateway in gateways * 5), return_exceptions=True
    )

    assert sum(not isinstance(one, Exception) for one in answers) == 1


async def test_a_replayed_id_is_refused_in_another_assertion(world: World) -> None:
    access = await world.open()
    await access.backend.issue(world.form(world.assertion(jti="once")))

    with pytest.raises(TokenRefused, match="jti"):
        await access.backend.issue(world.form(world.assertion(jti="once")))


async def test_ids_are_each_clients_own(world: World) -> None:
    world.clients = [{"name": "ris", "jwks": str(world.client_keys), "fhir": ["system/*.rs"]}]
    access = await world.open()
    await access.backend.issue(world.form(world.assertion(jti="once")))

    other = world.assertion(jti="once", iss="ris", sub="ris")
    assert (await access.backend.issue(world.form(other))).text


async def test_an_id_is_remembered_as_long_as_its_assertion_can_be_valid(world: World) -> None:
    world.access_keys = {"clock_skew_s": 300.0}
    access = await world.open()
    now_s = world.clock.now_ms() // 1000
    form = world.form(world.assertion(exp=now_s + 590, iat=None))
    await access.backend.issue(form)

    world.clock.advance(880)
    with pytest.raises(TokenRefused, match="jti"):
        await access.backend.issue(form)
    world.clock.advance(20)
    with pytest.raises(TokenRefused, match="exp"):
        await access.backend.issue(form)


async def test_a_refused_assertion_uses_up_no_id(world: World) -> None:
    access = await world.open()
    wrong = signed(rsa(7), "RS384", assertion_claims(world.clock, jti="mine"))
    with pytest.raises(TokenRefused, match="signature"):
        await access.backend.issue(world.form(wrong))

    assert (await access.backend.issue(world.form(world.assertion(jti="mine")))).text


async def test_where_nobody_can_know_no_token_is_given(world: World) -> None:
    access = await world.open()

    async def away(bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> Any:
        raise MeshError("the carrier is away")

    access.backend.once._records = away
    with pytest.raises(MeshError, match="away"):
        await access.backend.issue(world.form())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "nobody", "sub": "nobody"}, "iss"),
        ({"iss": "lab", "sub": "lab"}, "iss"),
        ({"sub": "lab"}, "sub"),
        ({"sub": None}, "sub"),
        ({"aud": "https://gateway.example"}, "aud"),
        ({"aud": "https://gateway.example/auth/token/"}, "aud"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 5}, "jti"),
        ({"jti": "x" * 600}, "jti"),
    ],
)
async def test_wrong_claims_are_refused(world: World, changes: dict[str, Any], why: str) -> None:
    refusal = await refusal_of(world, **changes)

    assert refusal.error == "invalid_client"
    assert why in str(refusal)


async def test_an_assertion_holds_five_minutes_at_most(world: World) -> None:
    now_s = world.clock.now_ms() // 1000

    assert "300 s" in str(await refusal_of(world, exp=now_s + 331))
    access = await world.open()
    assert (await access.backend.issue(world.form(world.assertion(exp=now_s + 330)))).text


async def test_an_ended_assertion_is_refused(world: World) -> None:
    now_s = world.clock.now_ms() // 1000

    assert "exp" in str(await refusal_of(world, exp=now_s - 30))
    assert "iat" in str(await refusal_of(world, iat=now_s + 31))
    assert "nbf" in str(await refusal_of(world, nbf=now_s + 31))


async def test_only_rs384_and_es384_sign_assertions(world: World) -> None:
    access = await world.open()
    for algorithm in ("RS256", "PS384", "RS512"):
        wrong = signed(rsa(1), algorithm, assertion_claims(world.clock))
        with pytest.raises(TokenRefused, match="algorithm"):
            await access.backend.issue(world.form(wrong))
    for head in ({"alg": "none"}, {"alg": "HS384", "kid": "k1"}):
        with pytest.raises(TokenRefused, match="algorithm"):
            await access.backend.issue(world.form(unsigned(head, assertion_claims(world.clock))))


async def test_the_key_of_another_client_signs_nothing(world: World) -> None:
    other = world.folder / "ris.json"
    other.write_bytes(key_set(public(rsa(3), "k1")))
    world.clients = [{"name": "ris", "jwks": str(other), "fhir": ["system/*.cruds"]}]
    access = await world.open()

    with pytest.raises(TokenRefused, match="signature"):
        await access.backend.issue(
            world.form(signed(rsa(1), "RS384", assertion_claims(world.clock, iss="ris", sub="ris")))
        )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, "invalid_client"),
        ({"client_assertion": "x"}, "invalid_client"),
        ({"client_id": "lab"}, "invalid_client"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "system/Encounter.rs"}, "invalid_scope"),
        ({"scope": "system/Patient.cud"}, "invalid_scope"),
        ({"scope": "mesh/publish"}, "invalid_scope"),
        ({"scope": "patient/Patient.rs"}, "invalid_scope"),
        ({"scope": "user/Patient.rs"}, "invalid_scope"),
        ({"scope": "launch/patient"}, "invalid_scope"),
        ({"scope": "system/Patient"}, "invalid_scope"),
        ({"scope": "system/Patient.rs system/Observation.rs?category=laboratory"}, "invalid_scope"),
        ({"scope": "system/Patient.rs " * 400}, "invalid_scope"),
    ],
)
async def test_wrong_requests_are_refused(
    world: World, changes: dict[str, str], error: str
) -> None:
    access = await world.open()

    with pytest.raises(TokenRefused) as refusal:
        await access.backend.issue(world.form(**changes))

    assert refusal.value.error == error


async def test_limits_by_search_parameters_are_said_not_to_be_supported(world: World) -> None:
    access = await world.open()

    with pytest.raises(TokenRefused, match="limits by search parameters"):
        await access.backend.issue(world.form(scope="system/Observation.rs?category=laboratory"))


async def test_a_client_asks_for_tokens_at_its_rate(world: World) -> None:
    world.ehr["rate"] = 1.0
    access = await world.open()
    await access.backend.issue(world.form())

    with pytest.raises(TooMany):
        await access.backend.issue(world.form())


async def test_our_token_ends(world: World) -> None:
    access = await world.open()
    issued = await access.backend.issue(world.form())

    world.clock.advance(329)
    await bearer(access, issued.text)
    world.clock.advance(1)
    for gateway in (access, await world.open()):
        with pytest.raises(Unauthenticated):
            await bearer(gateway, issued.text)


async def test_our_token_gives_no_more_than_is_configured_when_it_is_used(world: World) -> None:
    issued = await (await world.open()).backend.issue(world.form(scope="system/*.rs"))

    world.ehr["fhir"] = ["system/Patient.r"]
    client = await bearer(await world.open(), issued.text)

    assert client.scopes == ("system/Patient.r",)


async def test_our_token_is_nothing_without_its_client(world: World) -> None:
    issued = await (await world.open()).backend.issue(world.form())
    access = await world.open()
    access.backend.rights.pop("ehr")  # type: ignore[attr-defined]  # as if it was taken out

    with pytest.raises(Unauthenticated, match="any more"):
        await bearer(access, issued.text)


async def test_tokens_of_another_site_key_are_refused(world: World) -> None:
    issued = await (await world.open()).backend.issue(world.form())
    world.site_key = b"x" * 32

    with pytest.raises(Unauthenticated, match="of this site"):
        await bearer(await world.open(), issued.text)


async def test_nobody_else_makes_a_token_of_ours(world: World) -> None:
    access = await world.open()
    own = access.backend.tokens
    kid = own.jwks()["keys"][0]["kid"]
    said = claims(world.clock, iss=own.issuer, aud=own.issuer, client_id="ehr")
    header = {"typ": "at+jwt"}

    for token in (
        signed(rsa(), "RS256", said, kid=kid, header=header),
        signed(rsa(1), "RS384", said, kid=kid, header=header),
        unsigned({"alg": "none", "kid": kid, **header}, said),
        unsigned({"alg": "Ed25519", "kid": kid, **header}, said, b"x" * 64),
    ):
        with pytest.raises(Unauthenticated):
            await bearer(access, token)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": AUDIENCE}, "aud"),
        ({"iat": None}, "longer"),
        ({"exp": 4_000_000_000}, "longer"),
        ({"scope": "system/Patient.rs?_id=1"}, "scopes"),
        ({"scope": "system/Patient." + "x" * 5000}, "scopes"),
        ({"client_id": "nobody"}, "any more"),
        ({"client_id": None}, "any more"),
    ],
)
async def test_even_our_own_key_signs_only_what_we_would(
    world: World, changes: dict[str, Any], why: str
) -> None:
    access = await world.open()
    own = access.backend.tokens
    said = {"iss": own.issuer, "aud": own.issuer, "client_id": "ehr", "scope": "system/Patient.rs"}
    kid = own.jwks()["keys"][0]["kid"]

    def token(**more: Any) -> str:
        every = claims(world.clock, **(said | more))
        return signed(own._key, "Ed25519", every, kid=kid, header={"typ": "at+jwt"})

    assert (await bearer(access, token())).name == "ehr"
    with pytest.raises(Unauthenticated, match=why):
        await bearer(access, token(**changes))


async def test_another_kind_of_token_is_no_assertion(world: World) -> None:
    access = await world.open()
    header = {"typ": "at+jwt"}
    wrong = signed(rsa(1), "RS384", assertion_claims(world.clock), header=header)

    with pytest.raises(TokenRefused, match="typ"):
        await access.backend.issue(world.form(wrong))


async def test_an_assertion_is_no_access_token(world: World) -> None:
    access = await world.open()

    with pytest.raises(Unauthenticated):
        await bearer(access, world.assertion())


async def test_an_access_token_is_no_assertion(world: World) -> None:
    access = await world.open()
    issued = await access.backend.issue(world.form())

    for token in (issued.text, world.token()):
        with pytest.raises(TokenRefused, match="iss"):
            await access.backend.issue(world.form(token))


async def test_a_token_that_was_asked_for_with_a_certificate_is_bound_to_it(world: World) -> None:
    access = await world.open()
    digest = hashlib.sha256(b"certificate").digest()
    issued = await access.backend.issue(world.form(), certificate_hash=digest)

    assert (await bearer(access, issued.text, certificate_hash=digest)).name == "ehr"
    with pytest.raises(Unauthenticated, match="bound"):
        await bearer(access, issued.text)


async def test_the_public_key_is_shown_and_nothing_else(world: World) -> None:
    here, there = await world.open(), await world.open()
    keys = here.backend.tokens.jwks()

    assert keys == there.backend.tokens.jwks()
    assert set(keys["keys"][0]) == {"kty", "crv", "x", "kid", "alg", "use"}
    for shown in (repr(keys), repr(here.backend), repr(await here.backend.issue(world.form()))):
        assert base64.urlsafe_b64encode(world.site_key).decode() not in shown
        assert "eyJ" not in shown


async def test_refusals_are_counted_by_their_code(world: World) -> None:
    access = await world.open()
    with pytest.raises(TokenRefused):
        await access.backend.issue(world.form(scope="launch"))

    assert world.counters.get("token_refused", reason="invalid_scope") == 1


async def test_assertions_need_an_address_to_be_meant_for(world: World) -> None:
    keys = world.section_keys()
    assert keys["public_url"] == AUDIENCE
    world.section_keys = lambda: keys | {"public_url": ""}  # type: ignore[method-assign]

    with pytest.raises(ConfigurationError, match="public_url"):
        await world.open()
