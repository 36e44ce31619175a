"""What is missing to open a message is fetched once, waited for a little, and not for ever."""

from __future__ import annotations

import asyncio

import pytest

from bus.envelope.seals import Opening
from bus.envelope.types import EpochId, KeyPackageMissing, Plain, Reason, Refused
from bus.services.opening import CallOpener, is_sealed
from bus.telemetry.counters import Counters
from schemas.errors import Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.unit.bus.events.kit import LoopClock, PaperSeals, Vault, run_jumping

SUBJECT = "svc.north.beds.v1.rpc.free"


class Counting(PaperSeals):
    """Counts lookups; the first ones find nothing."""

    def __init__(self, vault: Vault, *, late: int = 0) -> None:
        super().__init__(vault)
        self.asked = 0
        self.late = late

    async def supply(self, refusal: Refused, sealed: bytes, opener: Opening) -> bool:
        self.asked += 1
        if self.asked <= self.late:
            await asyncio.sleep(0)
            return False
        return await super().supply(refusal, sealed, opener)


def opener(seals: PaperSeals) -> CallOpener:
    return CallOpener(seals, LoopClock(), Counters(), replay_window=True)


def envelopes(vault: Vault, count: int) -> list[bytes]:
    """Messages of one sender, all under one key, whose package is stored."""
    seals = PaperSeals(vault, service="emr")
    batch = seals.seal([Plain(subject=SUBJECT, content=pb.Content())] * count)
    vault.packages.update(dict(batch.key_packages))
    return list(batch.envelopes)


async def fetched(calls: CallOpener, sealed: bytes) -> str:
    try:
        calls.open(SUBJECT, sealed)
    except Refused as refusal:
        envelope = await calls.open_later(SUBJECT, sealed, refusal)
        return envelope.sender.service
    raise AssertionError("it was known already")


async def test_one_lookup_serves_all_who_miss_the_same_package() -> None:
    vault = Vault()
    seals = Counting(vault)
    calls = opener(seals)
    await asyncio.gather(*(fetched(calls, sealed) for sealed in envelopes(vault, 50)))
    assert seals.asked == 1


async def test_package_that_comes_a_moment_late_is_waited_for() -> None:
    vault = Vault()
    seals = Counting(vault, late=2)
    (sealed,) = envelopes(vault, 1)
    assert (await fetched(opener(seals), sealed)).endswith("/emr")
    assert seals.asked == 3


async def test_package_that_never_comes_is_a_refusal() -> None:
    vault = Vault()
    (sealed,) = envelopes(vault, 1)
    vault.packages.clear()
    with pytest.raises(KeyPackageMissing):
        await fetched(opener(PaperSeals(vault)), sealed)


def test_flood_of_unknown_keys_does_not_wait_for_each() -> None:
    """After a burst of lookups that find nothing, more are refused without a pause."""
    run_jumping(_flood())


async def _flood() -> None:
    vault = Vault()
    seals = Counting(vault, late=1 << 30)
    calls = opener(seals)
    for number in range(100):
        refusal = KeyPackageMissing(EpochId(number.to_bytes(32, "big")))
        with pytest.raises(Refused):
            await asyncio.wait_for(calls.open_later(SUBJECT, *_unknown(vault, refusal)), 5)
    assert seals.asked < 200


def _unknown(vault: Vault, refusal: KeyPackageMissing) -> tuple[bytes, Refused]:
    return envelopes(Vault(), 1)[0], refusal


async def test_store_that_cannot_be_asked_is_no_refusal() -> None:
    vault = Vault()
    (sealed,) = envelopes(vault, 1)
    vault.failure = Unavailable("no buckets")
    with pytest.raises(Unavailable):
        await fetched(opener(PaperSeals(vault)), sealed)


async def test_bad_package_is_refused_for_good() -> None:
    vault = Vault()
    (sealed,) = envelopes(vault, 1)
    vault.signer = Refused(Reason.SIGNER_REVOKED, "revoked")
    with pytest.raises(Refused) as caught:
        await fetched(opener(PaperSeals(vault)), sealed)
    assert caught.value.reason is Reason.SIGNER_REVOKED


async def test_lookup_goes_on_when_the_first_who_asked_has_left() -> None:
    vault = Vault()
    seals = Counting(vault, late=3)
    calls = opener(seals)
    one, two = envelopes(vault, 2)
    first, second = (asyncio.create_task(fetched(calls, sealed)) for sealed in (one, two))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).endswith("/emr")


def test_plain_requests_are_told_from_envelopes() -> None:
    assert not is_sealed(b"")
    assert not is_sealed(b'{"ward": 3}')
    assert not is_sealed(b"\x0a\x01x\x12\x01y\x1a\x01z\x2a\x01w")
