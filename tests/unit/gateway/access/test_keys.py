"""API keys: only their hash is kept, each belongs to one client, and a wrong or ended one opens nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.access.keys import ApiKeys, new_api_key
from gateway.access.protocol import Credentials, Proof, Unauthenticated
from schemas.clock import FakeClock
from schemas.gateway.access import ClientSection
from tests.unit.gateway.access.kit import by_key, keyed, opened

YEAR_2027_MS = 1_798_761_600_000


async def test_a_key_names_its_client(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    client = await by_key(access, key)

    assert (client.name, client.proof) == ("lab", Proof.API_KEY)


async def test_a_key_may_come_as_a_bearer_token(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    client = await access.identify(Credentials(authorization=f"bearer {key.text}"))

    assert client.name == "lab"


@pytest.mark.parametrize("name", ["lab", "lab_2", "a-b", "lab_2_x"])
def test_names_may_hold_what_separates_them_from_the_key(name: str) -> None:
    key = new_api_key(name)
    keys = ApiKeys([ClientSection.model_validate({"name": name, "key": [{"hash": key.hash}]})])

    assert keys.verify(key.text, now_ms=0) == (name, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "mm_lab_",
        "mm_lab_" + "x" * 43,
        "mm_ris_" + "x" * 43,
        "mm__" + "x" * 43,
        "mm_lab_" + "x" * 4000,
        "mm_lab_ümläut",
        "x",
    ],
)
def test_a_wrong_key_is_refused_and_not_repeated(wrong: str) -> None:
    key = new_api_key("lab")
    keys = ApiKeys([ClientSection.model_validate({"name": "lab", "key": [{"hash": key.hash}]})])

    with pytest.raises(Unauthenticated) as refusal:
        keys.verify(wrong, now_ms=0)

    assert not wrong or wrong not in str(refusal.value) or wrong == "x"


async def test_the_key_of_one_client_does_not_open_another(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    _, ris = keyed("ris")
    access = await opened(tmp_path, lab, ris)

    with pytest.raises(Unauthenticated):
        await access.identify(Credentials(api_key=key.text.replace("mm_lab_", "mm_ris_")))


async def test_two_keys_hold_while_one_is_exchanged_for_the_other(tmp_path: Path) -> None:
    first, second = new_api_key("lab"), new_api_key("lab")
    clock = FakeClock(now_ms=YEAR_2027_MS - 1000)
    lab = {
        "name": "lab",
        "key": [
            {"hash": first.hash, "until": "2027-01-01T00:00:00Z"},
            {"hash": second.hash},
        ],
    }
    access = await opened(tmp_path, lab, clock=clock)

    assert (await by_key(access, first)).expires_ms == YEAR_2027_MS
    assert (await by_key(access, second)).expires_ms == 0
    clock.advance(1.0)
    with pytest.raises(Unauthenticated, match="has ended"):
        await by_key(access, first)
    assert (await by_key(access, second)).name == "lab"


async def test_a_key_that_was_seen_before_still_says_what_it_comes_for(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    assert (await access.identify(Credentials(api_key=key.text))).purpose == ""
    told = await access.identify(Credentials(api_key=key.text, purpose="TREAT"))
    assert (told.name, told.purpose) == ("lab", "TREAT")
    assert (await access.identify(Credentials(api_key=key.text))).purpose == ""


async def test_a_key_that_was_seen_before_does_not_outweigh_another_proof(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    assert (await access.identify(Credentials(api_key=key.text))).name == "lab"
    with pytest.raises(Unauthenticated, match="two proofs"):
        await access.identify(Credentials(api_key=key.text, authorization="Bearer x"))
    with pytest.raises(Unauthenticated):
        await access.identify(Credentials(authorization=f"Basic {key.text}"))


def test_an_end_without_a_zone_is_utc() -> None:
    key = new_api_key("lab")
    section = ClientSection.model_validate(
        {"name": "lab", "key": [{"hash": key.hash, "until": "2027-01-01T00:00:00"}]}
    )

    assert ApiKeys([section]).verify(key.text, now_ms=0) == ("lab", YEAR_2027_MS)


async def test_a_hash_is_no_key(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    for text in (key.hash, "mm_lab_" + key.hash, key.hash.removeprefix("sha256:")):
        with pytest.raises(Unauthenticated):
            await access.identify(Credentials(api_key=text))


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(),
        Credentials(authorization="Basic bGFiOmxhYg=="),
        Credentials(authorization="Bearer"),
        Credentials(authorization="Bearer  "),
        Credentials(certificate_names=("nobody.example",)),
    ],
)
async def test_without_a_proof_nobody_is_let_in(tmp_path: Path, credentials: Credentials) -> None:
    _, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    with pytest.raises(Unauthenticated) as refusal:
        await access.identify(credentials)

    assert refusal.value.challenge.startswith("Bearer")


async def test_two_proofs_at_once_are_refused(tmp_path: Path) -> None:
    key, lab = keyed("lab")
    access = await opened(tmp_path, lab)

    with pytest.raises(Unauthenticated, match="two proofs"):
        await access.identify(Credentials(api_key=key.text, authorization=f"Bearer {key.text}"))


def test_nothing_shows_a_key_or_its_hash() -> None:
    key = new_api_key("lab")
    section = ClientSection.model_validate({"name": "lab", "key": [{"hash": key.hash}]})
    digest = key.hash.removeprefix("sha256:")

    for shown in (repr(key), repr(section), repr(Credentials(api_key=key.text))):
        assert key.text not in shown
        assert digest not in shown


def test_keys_are_never_the_same_and_long_enough() -> None:
    keys = {new_api_key("lab").text for _ in range(200)}

    assert len(keys) == 200
    assert {len(key.rpartition("_")[2]) for key in keys} == {43}


@pytest.mark.parametrize("name", ["", "Lab", "a b", "x" * 64, "lab\n"])
def test_no_key_is_made_for_a_name_that_no_client_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        new_api_key(name)


@pytest.mark.parametrize("text", ["abc", "sha256:ABC", "sha256:" + "g" * 64, "mm_lab_" + "x" * 43])
def test_what_is_no_hash_stops_the_start(text: str) -> None:
    with pytest.raises(ValidationError):
        ClientSection.model_validate({"name": "lab", "key": [{"hash": text}]})
