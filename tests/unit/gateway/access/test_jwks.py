"""Key sets: what may verify is taken, what may not is left out; they are read again seldom, whoever asks how often."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence

import pytest
from joserfc.jwk import OctKey

from bus.telemetry.counters import Counters
from gateway.access.jwks import BadKeys, Keys, KeySet
from gateway.access.protocol import Unauthenticated
from schemas.clock import FakeClock
from schemas.errors import Unavailable
from tests.unit.gateway.access.tokens_kit import ec, key_set, public, rsa


class Server:
    """Answers with what the test says, and counts."""

    def __init__(self, *documents: bytes | Exception) -> None:
        self.documents: Sequence[bytes | Exception] = documents
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes:
        await self.gate.wait()
        document = self.documents[min(self.asked, len(self.documents) - 1)]
        self.asked += 1
        if isinstance(document, Exception):
            raise document
        return document


def keys_of(server: Server, clock: FakeClock, counters: Counters | None = None) -> Keys:
    return Keys(
        server, who="issuer x", refresh_s=3600.0, clock=clock, counters=counters or Counters()
    )


FIRST = key_set(public(rsa(), "a"))
SECOND = key_set(public(rsa(), "a"), public(rsa(1), "b"))
AWAY = Unavailable("away")


async def test_keys_are_read_when_the_first_token_comes() -> None:
    server = Server(FIRST)
    keys = keys_of(server, FakeClock())

    await keys.find("a", "RS256")
    await keys.find("a", "RS256")

    assert server.asked == 1


async def test_a_new_key_is_found_at_once() -> None:
    server = Server(FIRST, SECOND)
    keys = keys_of(server, FakeClock())
    await keys.find("a", "RS256")

    assert await keys.find("b", "RS256") is not None
    assert server.asked == 2


async def test_a_flood_of_unknown_keys_reads_seldom_and_stops_nobody() -> None:
    clock, counters = FakeClock(), Counters()
    server = Server(FIRST)
    keys = keys_of(server, clock, counters)
    await keys.find("a", "RS256")

    for number in range(1000):
        with pytest.raises(Unauthenticated):
            await keys.find(f"unknown-{number}", "RS256")
        await keys.find("a", "RS256")
    assert server.asked == 2
    assert counters.get("keys_read_refused", reason="rate") == 999

    clock.advance(30)
    with pytest.raises(Unauthenticated):
        await keys.find("unknown", "RS256")
    assert server.asked == 3


async def test_those_who_wait_share_one_read() -> None:
    server = Server(FIRST)
    server.gate.clear()
    keys = keys_of(server, FakeClock())
    waiting = [asyncio.create_task(keys.find("a", "RS256")) for _ in range(50)]
    await asyncio.sleep(0)
    server.gate.set()

    await asyncio.gather(*waiting)

    assert server.asked == 1


async def test_one_who_leaves_does_not_end_the_read_of_the_others() -> None:
    server = Server(FIRST)
    server.gate.clear()
    keys = keys_of(server, FakeClock())
    leaver = asyncio.create_task(keys.find("a", "RS256"))
    stayer = asyncio.create_task(keys.find("a", "RS256"))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    server.gate.set()

    assert await stayer is not None


async def test_old_keys_are_used_while_they_are_read_again() -> None:
    clock = FakeClock()
    server = Server(FIRST, SECOND)
    keys = keys_of(server, clock)
    await keys.find("a", "RS256")
    server.gate.clear()
    clock.advance(3600)

    await keys.find("a", "RS256")  # while the server does not answer
    server.gate.set()
    assert await keys.find("b", "RS256") is not None


async def test_keys_hold_for_a_day_without_their_server_and_no_longer() -> None:
    clock = FakeClock()
    server = Server(FIRST, AWAY)
    keys = keys_of(server, clock)
    await keys.find("a", "RS256")

    clock.advance(3600 + 86_399)
    await keys.find("a", "RS256")
    clock.advance(1)
    with pytest.raises(Unavailable):
        await keys.find("a", "RS256")


async def test_without_any_keys_nobody_can_know() -> None:
    counters = Counters()
    keys = keys_of(Server(AWAY), FakeClock(), counters)

    with pytest.raises(Unavailable, match="issuer x"):
        await keys.find("a", "RS256")
    assert counters.get("keys_read_failed", reason="unavailable") == 1


async def test_a_bad_document_leaves_the_keys_that_are_known() -> None:
    server = Server(FIRST, b"<html>")
    keys = keys_of(server, FakeClock())
    await keys.find("a", "RS256")
    with pytest.raises(Unauthenticated):
        await keys.find("b", "RS256")

    assert await keys.find("a", "RS256") is not None


async def test_a_read_that_is_under_way_ends_with_the_gateway() -> None:
    server = Server(FIRST)
    server.gate.clear()
    keys = keys_of(server, FakeClock())
    keys.begin()

    await keys.stop()

    assert server.asked == 0


def number(bits: int) -> str:
    """An odd number of so many bits, as a JWK writes it."""
    raw = ((1 << (bits - 1)) + 1).to_bytes((bits + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_keys_that_must_not_verify_are_left_out() -> None:
    parsed = KeySet.parse(
        key_set(
            public(rsa(), "good"),
            public(rsa(1), "encrypts", use="enc"),
            public(rsa(2), "other", alg="RS512"),
            {**public(rsa(3), "signs"), "key_ops": ["sign"]},
            {"kty": "RSA", "kid": "short", "n": number(1024), "e": "AQAB"},
            {"kty": "RSA", "kid": "almost", "n": number(2047), "e": "AQAB"},
            {"kty": "RSA", "kid": "huge", "n": number(16_384), "e": "AQAB"},
            {**OctKey.generate_key(256).as_dict(private=True), "kid": "secret"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {"kty": "RSA", "kid": "half", "n": "AQAB"},
            {"kty": "EC", "kid": "curve", "crv": "P-999", "x": "AA", "y": "AA"},
            {"kty": "AKP", "kid": "later"},
            {"kid": 5, "kty": "RSA"},
            public(ec("P-256"), "curved"),
        )
    )

    assert parsed.find("good", "RS256") is not None
    assert parsed.find("curved", "ES256") is not None
    for kid in (
        "encrypts",
        "signs",
        "short",
        "almost",
        "huge",
        "secret",
        "broken",
        "half",
        "curve",
        "later",
    ):
        for algorithm in ("RS256", "HS256", "ES256"):
            assert parsed.find(kid, algorithm) is None
    assert parsed.find("other", "RS256") is None
    assert parsed.find("other", "RS512") is not None
    assert parsed.find("curved", "ES384") is None
    assert parsed.find("curved", "RS256") is None


def test_a_private_key_in_a_key_set_is_not_kept() -> None:
    document = json.dumps({"keys": [{**rsa().as_dict(private=True), "kid": "a"}]}).encode()
    key = KeySet.parse(document).find("a", "RS256")

    assert key is not None
    assert not key.is_private


def test_without_a_name_the_only_key_that_fits_is_taken() -> None:
    one = KeySet.parse(key_set(public(rsa(), "a"), public(ec(), "b")))
    two = KeySet.parse(SECOND)

    assert one.find("", "RS256") is not None
    assert two.find("", "RS256") is None


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": 5}',
        b'{"keys": []}',
        b'{"keys": [5]}',
        b"[" * 100_000,
        b"\xff",
        b'{"keys": [{"kid": "\xed\xa0\x80"}]}',
    ],
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(BadKeys):
        KeySet.parse(document)


def test_the_number_of_keys_is_bounded() -> None:
    with pytest.raises(BadKeys, match="at most 64"):
        KeySet.parse(key_set(*({"kty": "RSA"} for _ in range(65))))
