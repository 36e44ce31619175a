"""A service's KEM key passes between machines, and to nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.envelope.suites import KemKey, SigningKey
from bus.envelope.types import Reason, Refused
from bus.transport.memory import MemoryTransport
from bus.trust import Authority, Trust, TrustSettings
from bus.trust.generations import Generation
from bus.trust.objects import spiffe_id
from bus.trust.sharing import open_share, seal_share
from schemas.clock import FakeClock
from tests.unit.bus.trust.world import DAY_S, Instance, World, carrier, no_passphrase, open_trust

FAST = TrustSettings(share_wait_s=0.3, tick_s=0.02)


class Pair:
    """Two machines with a keystore each, certified by one authority, on one carrier."""

    def __init__(self, folder: Path, clock: FakeClock, transport: MemoryTransport) -> None:
        self.folder, self.clock, self.transport = folder, clock, transport
        self.opened: list[Trust] = []

    async def machine(self, name: str, settings: TrustSettings = FAST) -> Trust:
        trust = await open_trust(
            self.folder / name,
            self.transport,
            self.clock,
            settings=settings,
            authority_folder=self.folder / "one/authority",
        )
        self.opened.append(trust)
        return trust

    async def stop(self) -> None:
        for trust in self.opened:
            await trust.stop()

    async def rounds(self, count: int = 4) -> None:
        for _ in range(count):
            for trust in self.opened:
                await trust.tick()
                for _ in range(5):
                    await asyncio.sleep(0.001)


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    clock = FakeClock()
    return Pair(tmp_path, clock, await carrier(clock))


async def test_a_new_instance_gets_the_services_key_from_a_running_one(pair: Pair) -> None:
    one = await pair.machine("one")
    first = await one.identity("his-out", subscribe=["evt.>"])
    await one.start()
    two = await pair.machine("two", TrustSettings(share_wait_s=30.0))
    second = await two.identity("his-out", subscribe=["evt.>"])
    assert second.instance != first.instance
    assert second.signing_key.public_bytes != first.signing_key.public_bytes
    assert second.can_read
    assert set(second.kem_keys) == set(first.kem_keys)
    assert second.certificate.kem_key == first.certificate.kem_key
    await two.tick()
    await pair.rounds()
    assert await (await pair.transport.key_value("svckeys")).keys() == []
    await pair.stop()


async def test_the_key_stays_after_the_newcomer_restarts(pair: Pair) -> None:
    one = await pair.machine("one")
    first = await one.identity("his-out", subscribe=["evt.>"])
    await one.start()
    two = await pair.machine("two", TrustSettings(share_wait_s=30.0))
    await two.identity("his-out", subscribe=["evt.>"])
    await pair.stop()
    again = await pair.machine("two")
    assert set((await again.identity("his-out", subscribe=["evt.>"])).kem_keys) == set(
        first.kem_keys
    )
    await again.stop()


async def test_a_rotated_key_reaches_every_instance_before_senders_use_it(pair: Pair) -> None:
    one = await pair.machine("one")
    first = await one.identity("his-out", subscribe=["evt.>"])
    await one.start()
    two = await pair.machine("two", TrustSettings(share_wait_s=30.0))
    second = await two.identity("his-out", subscribe=["evt.>"])
    for _ in range(3):
        pair.clock.advance(DAY_S / 2)
        await pair.rounds()
        for _ in range(8):
            pair.clock.advance(10)
            await pair.rounds(1)
            for trust in pair.opened:
                (reader,) = trust.directory.readers("evt.x")
                keys = [key.public_bytes for key in first.kem_keys.values()]
                assert reader.kem_key in keys
                assert reader.kem_key in [key.public_bytes for key in second.kem_keys.values()]
    assert first.certificate.kem_generation == second.certificate.kem_generation == 2
    assert set(first.kem_keys) == set(second.kem_keys)
    await pair.stop()


async def test_without_a_living_instance_the_next_generation_is_made(pair: Pair) -> None:
    one = await pair.machine("one")
    first = await one.identity("his-out", subscribe=["evt.>"])
    await one.stop()
    pair.opened.clear()
    two = await pair.machine("two")
    second = await two.identity("his-out", subscribe=["evt.>"])
    assert second.can_read
    assert second.certificate.kem_generation == first.certificate.kem_generation + 1
    assert two.directory.readers("evt.x") == (second.certificate,)
    await two.stop()


async def test_two_first_starts_at_once_end_with_one_key(pair: Pair) -> None:
    settings = TrustSettings(share_wait_s=30.0, tick_s=0.02)
    one, two = await pair.machine("one", settings), await pair.machine("two", settings)
    await one.start()
    await two.start()
    # neither has seen the other's certificate: both make generation 1, and the authority decides
    first, second = await asyncio.gather(
        one.identity("his-out", subscribe=["evt.>"]), two.identity("his-out", subscribe=["evt.>"])
    )
    assert first.can_read
    assert second.can_read
    assert set(first.kem_keys) == set(second.kem_keys)
    await pair.stop()


async def test_an_instance_that_this_authority_did_not_certify_gets_nothing(
    pair: Pair, tmp_path: Path
) -> None:
    one = await pair.machine("one")
    await one.identity("his-out", subscribe=["evt.>"])
    rogue = World(tmp_path / "rogue")
    raw = rogue.authority.issue(Instance(name="e" * 16).request(rogue.clock.now_ms()))
    bucket = await pair.transport.key_value("certs")
    await bucket.put(f"his-out.{'e' * 16}.{'0' * 32}", raw)
    await pair.rounds()
    assert await (await pair.transport.key_value("svckeys")).keys() == []
    await pair.stop()


async def test_a_revoked_instance_gets_no_further_generation(pair: Pair) -> None:
    one = await pair.machine("one")
    first = await one.identity("his-out", subscribe=["evt.>"])
    await one.start()
    two = await pair.machine("two", TrustSettings(share_wait_s=30.0))
    second = await two.identity("his-out", subscribe=["evt.>"])
    Authority.load(
        tmp_authority(pair), mesh="st-elsewhere", clock=pair.clock, passphrase=no_passphrase
    ).revoke(second.certificate.id)
    await pair.rounds()
    pair.clock.advance(DAY_S)
    await pair.rounds()
    pair.clock.advance(10)
    await pair.rounds()
    assert first.certificate.kem_generation == 2
    new = next(
        one for one in first.kem_keys.values() if one.public_bytes == first.certificate.kem_key
    )
    assert new.id not in second.kem_keys
    await pair.stop()


def tmp_authority(pair: Pair) -> Path:
    return pair.folder / "one/authority"


class TestShares:
    """One share, looked at closely."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return World(tmp_path)

    @staticmethod
    def two(world: World) -> tuple[Instance, Instance, bytes]:
        old, new = Instance(subscribe=("evt.>",)), Instance(name="f" * 16)
        new.kem = old.kem
        sender, recipient = world.admit(old), world.admit(new)
        generation = Generation(number=1, created_ms=world.clock.now_ms(), key=old.kem)
        now = world.clock.now_ms()
        raw = seal_share(generation, to=recipient, sender=sender, key=old.sign, now_ms=now)
        return old, new, raw

    @staticmethod
    def take(world: World, recipient: Instance, raw: bytes) -> bytes:
        own = [
            one.id
            for one in world.directory.history(recipient.service)
            if one.instance == recipient.name
        ]
        taken = open_share(
            raw,
            own=own,
            service=recipient.service,
            seals=[KemKey.generate(), recipient.seal],
            directory=world.directory,
        )
        return taken.seed

    def test_the_named_instance_opens_it(self, world: World) -> None:
        old, new, raw = self.two(world)
        assert self.take(world, new, raw) == old.kem.seed

    def test_every_changed_bit_is_refused(self, world: World) -> None:
        _, new, raw = self.two(world)
        for position in range(0, len(raw) * 8, 5):
            bad = bytearray(raw)
            bad[position // 8] ^= 1 << position % 8
            with pytest.raises(Refused):
                self.take(world, new, bytes(bad))

    def test_nobody_else_opens_it(self, world: World) -> None:
        old, new, raw = self.two(world)
        with pytest.raises(Refused) as refused:
            self.take(world, old, raw)
        assert refused.value.reason is Reason.NOT_A_RECIPIENT
        new.seal = KemKey.generate()
        with pytest.raises(Refused) as refused:
            self.take(world, new, raw)
        assert refused.value.reason is Reason.KEY_PACKAGE_INVALID

    def test_another_service_cannot_send_it(self, world: World) -> None:
        _, new, _ = self.two(world)
        stranger = Instance(service=spiffe_id("st-elsewhere", "north", "emr-in"))
        certificate = world.admit(stranger)
        recipient = next(
            one for one in world.directory.history(new.service) if one.instance == new.name
        )
        generation = Generation(number=1, created_ms=0, key=stranger.kem)
        with pytest.raises(ValueError, match="own instances"):
            seal_share(generation, to=recipient, sender=certificate, key=stranger.sign, now_ms=0)

    def test_a_key_that_is_not_the_certified_one_is_refused(self, world: World) -> None:
        old, new, _ = self.two(world)
        sender, recipient = (
            next(one for one in world.directory.history(new.service) if one.instance == i.name)
            for i in (old, new)
        )
        for number in (1, 3):
            forged = Generation(number=number, created_ms=0, key=KemKey.generate())
            raw = seal_share(
                forged, to=recipient, sender=sender, key=old.sign, now_ms=world.clock.now_ms()
            )
            with pytest.raises(Refused, match="not the certified one"):
                self.take(world, new, raw)

    def test_another_signature_than_the_senders_is_refused(self, world: World) -> None:
        old, new, _ = self.two(world)
        sender, recipient = (
            next(one for one in world.directory.history(new.service) if one.instance == i.name)
            for i in (old, new)
        )
        generation = Generation(number=1, created_ms=0, key=old.kem)
        raw = seal_share(
            generation,
            to=recipient,
            sender=sender,
            key=SigningKey.generate(),
            now_ms=world.clock.now_ms(),
        )
        with pytest.raises(Refused) as refused:
            self.take(world, new, raw)
        assert refused.value.reason is Reason.BAD_SIGNATURE
