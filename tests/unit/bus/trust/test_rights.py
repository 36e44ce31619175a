"""Rights, revocation and age as a real sealer and a real opener feel them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bus.envelope.opener import Opener
from bus.envelope.sealer import Sealer
from bus.envelope.types import (
    Envelope,
    EpochId,
    KeyPackageMissing,
    NobodyMayRead,
    Plain,
    Reason,
    Refused,
    SealedEnvelope,
)
from bus.trust import Authority, ServiceIdentity, Trust
from schemas.clock import FakeClock
from schemas.errors import PermissionRefused
from schemas.generated.medmesh.content.v1 import content_pb2
from tests.unit.bus.trust.world import DAY_S, HOUR_S, carrier, no_passphrase, open_trust

EVENT = "evt.north.raw.hl7v2.3"


@dataclass
class Route:
    """A sender and a reader on one mesh, as the runtime joins them."""

    trust: Trust
    sender: ServiceIdentity
    reader: ServiceIdentity
    sealer: Sealer
    opener: Opener
    clock: FakeClock
    folder: Path

    async def seal(self, subject: str = EVENT) -> SealedEnvelope:
        batch = self.sealer.seal([Plain(subject=subject, content=content_pb2.Content(type="x"))])
        for epoch, raw in batch.key_packages:
            await self.trust.store_key_package(epoch, raw)
        return batch.envelopes[0]

    async def open(self, raw: SealedEnvelope, subject: str = EVENT) -> Envelope:
        try:
            return self.opener.open(subject, raw)
        except KeyPackageMissing as missing:
            self.opener.learn(await self.trust.key_package(EpochId(missing.epoch)))
            return self.opener.open(subject, raw)

    async def days(self, days: float) -> None:
        for _ in range(round(days * 4)):
            self.clock.advance(DAY_S / 4)
            await self.trust.tick()

    def revoke(self, identity: ServiceIdentity) -> None:
        authority = Authority.load(
            self.folder / "authority",
            mesh="st-elsewhere",
            clock=self.clock,
            passphrase=no_passphrase,
        )
        authority.revoke(identity.certificate.id)


@pytest.fixture
async def path(tmp_path: Path) -> Route:
    clock = FakeClock()
    folder = tmp_path / "trust"
    trust = await open_trust(folder, await carrier(clock), clock)
    sender = await trust.identity("emr-in", publish=["evt.north.raw.>"])
    reader = await trust.identity("his-out", subscribe=["evt.north.raw.>"])
    sealer = Sealer(sender.signing_key, sender.certificate, trust.directory, clock)
    sender.on_renewed(lambda certificate: sealer.renew(sender.signing_key, certificate))
    opener = Opener(reader.service, reader.kem_keys, trust.directory, clock)
    return Route(trust, sender, reader, sealer, opener, clock, folder)


async def test_a_message_passes_from_sender_to_reader(path: Route) -> None:
    opened = await path.open(await path.seal())
    assert opened.sender.service == path.sender.service
    await path.trust.stop()


async def test_a_message_that_waited_three_days_opens_after_every_renewal(path: Route) -> None:
    sealed = await path.seal()
    await path.days(3)
    assert path.sender.certificate.not_before_ms > path.clock.now_ms() - DAY_S * 1000
    assert path.reader.certificate.kem_generation > 1
    opened = await path.open(sealed)
    assert opened.sender.not_after_ms < path.clock.now_ms()
    await path.trust.stop()


async def test_a_message_that_waited_three_days_opens_after_a_restart(path: Route) -> None:
    sealed = await path.seal()
    await path.days(3)
    await path.trust.stop()
    again = await open_trust(path.folder, None, path.clock)
    reader = await again.identity("his-out", subscribe=["evt.north.raw.>"])
    path.trust, path.reader = again, reader
    path.opener = Opener(reader.service, reader.kem_keys, again.directory, path.clock)
    assert (await path.open(sealed)).subject == EVENT
    await again.stop()


async def test_after_retention_the_key_is_gone_and_the_message_closed(path: Route) -> None:
    sealed = await path.seal()
    await path.days(10)
    with pytest.raises(Refused) as refused:
        await path.open(sealed)
    assert refused.value.reason in (Reason.NOT_A_RECIPIENT, Reason.UNKNOWN_SIGNER)
    await path.trust.stop()


async def test_a_revoked_sender_is_refused_with_what_it_sealed_before(path: Route) -> None:
    sealed = await path.seal()
    path.revoke(path.sender)
    await path.trust.tick()
    with pytest.raises(Refused) as refused:
        await path.open(sealed)
    assert refused.value.reason is Reason.SIGNER_REVOKED
    await path.trust.stop()


async def test_a_revoked_reader_gets_no_further_key(path: Route) -> None:
    first = await path.open(await path.seal())
    path.revoke(path.reader)
    await path.trust.tick()
    with pytest.raises(NobodyMayRead):
        await path.seal()
    assert first.subject == EVENT
    await path.trust.stop()


async def test_a_sender_cannot_publish_beyond_its_certificate(path: Route) -> None:
    await path.trust.identity("spy", subscribe=["evt.north.order.>"])
    with pytest.raises(PermissionRefused):
        await path.seal("evt.north.order.placed.1")
    await path.trust.stop()


async def test_a_service_without_the_right_cannot_open(path: Route) -> None:
    sealed = await path.seal()
    spy = await path.trust.identity("spy", subscribe=["evt.north.order.>"])
    path.opener = Opener(spy.service, spy.kem_keys, path.trust.directory, path.clock)
    with pytest.raises(Refused) as refused:
        await path.open(sealed)
    assert refused.value.reason is Reason.NOT_A_RECIPIENT
    await path.trust.stop()


async def test_a_sender_that_lost_a_right_is_refused_by_receivers(path: Route) -> None:
    old = Sealer(path.sender.signing_key, path.sender.certificate, path.trust.directory, path.clock)
    await path.trust.identity("emr-in", publish=["evt.north.order.>"])
    path.clock.advance(HOUR_S)
    await path.trust.tick()
    path.sealer = old  # a program that goes on under its older, wider certificate
    with pytest.raises(Refused) as refused:
        await path.open(await path.seal())
    assert refused.value.reason is Reason.SIGNER_EXPIRED
    await path.trust.stop()


async def test_a_new_reader_gets_messages_from_the_next_batch_on(path: Route) -> None:
    early = await path.seal()
    late_comer = await path.trust.identity("archive", subscribe=["evt.>"])
    late = await path.seal()
    path.opener = Opener(late_comer.service, late_comer.kem_keys, path.trust.directory, path.clock)
    assert (await path.open(late)).subject == EVENT
    with pytest.raises(Refused):
        await path.open(early)
    await path.trust.stop()
