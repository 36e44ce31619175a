from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.envelope.sealer import Sealer
from bus.envelope.types import CertificateId, EpochId, Plain, Reason, Refused
from bus.telemetry.counters import Counters
from bus.transport.protocol import NotFound
from bus.trust import (
    Authority,
    CertificateRefused,
    ForeignAuthority,
    NoAuthority,
    PassphraseWrong,
    ServiceIdentity,
    Trust,
    TrustSettings,
)
from bus.trust.cache import DiskCache
from bus.trust.objects import open_head
from schemas.clock import FakeClock
from schemas.errors import SubjectError, Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2
from tests.unit.bus.trust.world import DAY_S, HOUR_S, carrier, no_passphrase, open_trust

EVENT = "evt.north.raw.hl7v2.3"
FAST = TrustSettings(share_wait_s=0.2, carrier_timeout_s=0.2, tick_s=0.05)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def settle(trust: Trust) -> None:
    """Let watches report, and what they reported be taken in."""
    for _ in range(20):
        await asyncio.sleep(0.002)
    await trust.tick()


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def spoil(folder: Path) -> None:
    """Change one bit in the middle of every file."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)


async def seal(trust: Trust, sender: ServiceIdentity, clock: FakeClock) -> tuple[EpochId, bytes]:
    sealer = Sealer(sender.signing_key, sender.certificate, trust.directory, clock)
    batch = sealer.seal([Plain(subject=EVENT, content=content_pb2.Content(type="x"))])
    return batch.key_packages[0]


async def test_first_start_creates_and_second_loads(tmp_path: Path, clock: FakeClock) -> None:
    transport = await carrier(clock)
    first = await open_trust(tmp_path / "trust", transport, clock)
    one = await first.identity("his-out", subscribe=["evt.>"])
    await first.stop()
    second = await open_trust(tmp_path / "trust", transport, clock)
    two = await second.identity("his-out", subscribe=["evt.>"])
    assert second.root == first.root
    assert second.site_key == first.site_key
    assert len(first.site_key) == 32
    assert two.instance == one.instance
    assert set(two.kem_keys) == set(one.kem_keys)
    assert two.service == "spiffe://st-elsewhere/north/his-out"
    assert two.can_read
    await second.stop()


async def test_every_file_is_private(tmp_path: Path, clock: FakeClock) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    await trust.identity("his-out", subscribe=["evt.>"])
    await trust.stop()
    for path in (tmp_path / "trust", *(tmp_path / "trust").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


async def test_keys_lie_under_a_passphrase_when_there_is_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    async def opened(passphrase: str) -> Trust:
        return await Trust.open(
            tmp_path / "trust",
            mesh="m",
            site="s",
            buckets=None,
            clock=clock,
            passphrase=lambda: passphrase,
        )

    trust = await opened("horse")
    identity = await trust.identity("his-out")
    await trust.stop()
    stored = everything_in(tmp_path)
    assert trust.site_key not in stored
    assert identity.signing_key.to_bytes() not in stored
    assert all(key.seed not in stored for key in identity.kem_keys.values())
    with pytest.raises(PassphraseWrong):
        await opened("donkey")


async def test_certificates_reach_other_processes_through_the_carrier(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    one = await open_trust(tmp_path / "one", transport, clock)
    two = await open_trust(
        tmp_path / "two", transport, clock, authority_folder=tmp_path / "one/authority"
    )
    reader = await one.identity("his-out", subscribe=["evt.>"])
    await settle(two)
    assert two.directory.readers(EVENT) == (reader.certificate,)
    await one.stop()
    await two.stop()


async def test_changed_rights_replace_the_certificate_of_the_same_identity(
    tmp_path: Path, clock: FakeClock
) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    renewals: list[CertificateId] = []
    identity.on_renewed(lambda certificate: renewals.append(certificate.id))
    assert await trust.identity("his-out", subscribe=["evt.>"]) is identity
    assert renewals == []
    assert await trust.identity("his-out", subscribe=["ctl.>"]) is identity
    assert renewals == [identity.certificate.id]
    assert trust.directory.readers(EVENT) == ()
    assert trust.directory.readers("ctl.x") == (identity.certificate,)
    await trust.stop()


async def test_a_changed_configuration_counts_after_a_restart(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    first = await open_trust(tmp_path / "trust", transport, clock)
    await first.identity("his-out", subscribe=["evt.>"])
    await first.stop()
    second = await open_trust(tmp_path / "trust", transport, clock)
    assert len(second.directory.readers(EVENT)) == 1
    await second.identity("his-out", subscribe=["ctl.>"])
    assert second.directory.readers(EVENT) == ()
    await second.stop()


async def test_certificates_renew_at_half_life_and_heads_each_minute(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    trust = await open_trust(tmp_path / "trust", transport, clock)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    first = identity.certificate
    clock.advance(DAY_S / 2 - 1)
    await trust.tick()
    assert identity.certificate == first
    assert trust.directory.fresh
    clock.advance(1)
    await trust.tick()
    assert identity.certificate.id != first.id
    assert trust.directory.readers(EVENT) == (identity.certificate,)
    bucket = await transport.key_value("directory")
    raw = (await bucket.get("head")).value
    assert raw is not None
    head = open_head(raw, trust.root)
    assert head == trust.directory.head
    assert identity.certificate.id in head.live
    await trust.stop()


async def test_generations_rotate_each_day_and_go_after_retention(
    tmp_path: Path, clock: FakeClock
) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    first = next(iter(identity.kem_keys))
    for _ in range(24 * 9 - 1):
        clock.advance(HOUR_S)
        await trust.tick()
    assert identity.certificate.kem_generation == 9
    assert first in identity.kem_keys
    clock.advance(HOUR_S)
    await trust.tick()
    assert first not in identity.kem_keys
    await trust.stop()


async def test_what_a_waiting_message_needs_is_kept(tmp_path: Path, clock: FakeClock) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    sender = await trust.identity("emr-in", publish=["evt.>"])
    reader = await trust.identity("his-out", subscribe=["evt.>"])
    first, key = sender.certificate, next(iter(reader.kem_keys))
    sealed_ms = clock.now_ms()
    trust.keep_since(sealed_ms)
    for _ in range(30):
        clock.advance(DAY_S)
        await trust.tick()
    assert key in reader.kem_keys
    assert trust.directory.certificate(first.id, at_ms=sealed_ms) == first
    trust.keep_since(None)
    await trust.tick()
    assert key not in reader.kem_keys
    assert not trust.directory.known(first.id)
    await trust.stop()


async def test_revocation_takes_effect_at_the_next_round(tmp_path: Path, clock: FakeClock) -> None:
    transport = await carrier(clock)
    trust = await open_trust(tmp_path / "trust", transport, clock)
    other = await open_trust(
        tmp_path / "other", transport, clock, authority_folder=tmp_path / "trust/authority"
    )
    identity = await trust.identity("his-out", subscribe=["evt.>"], publish=["evt.>"])
    await settle(other)
    assert len(other.directory.readers(EVENT)) == 1
    Authority.load(
        tmp_path / "trust/authority", mesh="st-elsewhere", clock=clock, passphrase=no_passphrase
    ).revoke(identity.certificate.id)
    await trust.tick()
    await settle(other)
    assert other.directory.readers(EVENT) == ()
    with pytest.raises(Refused) as refused:
        other.directory.certificate(identity.certificate.id, at_ms=clock.now_ms())
    assert refused.value.reason is Reason.SIGNER_REVOKED
    await trust.stop()
    await other.stop()


async def test_everything_verifies_offline_from_the_disk(tmp_path: Path, clock: FakeClock) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    sender = await trust.identity("emr-in", publish=["evt.>"])
    reader = await trust.identity("his-out", subscribe=["evt.>"])
    epoch, raw = await seal(trust, sender, clock)
    await trust.store_key_package(epoch, raw)
    await trust.stop()
    (tmp_path / "trust/authority").rename(tmp_path / "elsewhere")
    offline = await open_trust(tmp_path / "trust", None, clock)
    assert offline.directory.readers(EVENT) == (reader.certificate,)
    known = offline.directory.certificate(sender.certificate.id, at_ms=clock.now_ms())
    assert known == sender.certificate
    assert await offline.key_package(epoch) == raw
    assert not offline.health().connected
    with pytest.raises(NoAuthority, match="no authority that could issue"):
        await offline.identity("his-out")
    clock.advance(HOUR_S)
    assert not offline.directory.fresh
    assert await offline.key_package(epoch) == raw
    await offline.stop()


async def test_what_was_changed_on_disk_is_not_believed(tmp_path: Path, clock: FakeClock) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    sender = await trust.identity("emr-in", publish=["evt.>"])
    await trust.identity("his-out", subscribe=["evt.>"])
    epoch, raw = await seal(trust, sender, clock)
    await trust.store_key_package(epoch, raw)
    await trust.stop()
    (tmp_path / "trust/authority").rename(tmp_path / "elsewhere")
    spoil(tmp_path / "trust/cache")
    offline = await open_trust(tmp_path / "trust", None, clock)
    assert offline.directory.readers(EVENT) == ()
    assert offline.directory.head is None
    with pytest.raises(Unavailable):
        await offline.key_package(epoch)
    await offline.stop()


async def test_a_carrier_that_shows_an_old_head_after_a_restart_is_not_believed(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    owner = await open_trust(tmp_path / "owner", transport, clock)
    bucket = await transport.key_value("directory")
    old = (await bucket.get("head")).value
    assert old is not None
    clock.advance(61)
    await owner.tick()
    await owner.stop()
    member = tmp_path / "member"
    member.mkdir(mode=0o700)
    (member / "root").write_bytes((tmp_path / "owner/root").read_bytes())
    (member / "root").chmod(0o600)
    first = await open_trust(member, transport, clock)
    assert first.directory.head is not None
    newest = first.directory.head.version
    await first.stop()
    await bucket.put("head", old)
    counters = Counters()
    again = await Trust.open(
        member,
        mesh="st-elsewhere",
        site="north",
        buckets=transport,
        clock=clock,
        counters=counters,
        passphrase=no_passphrase,
    )
    assert again.directory.head is not None
    assert again.directory.head.version == newest
    assert counters.get("trust_object_refused", who="DirectoryHead", reason="directory_stale") > 0
    await again.stop()


async def test_the_owner_repairs_a_carrier_that_went_back(tmp_path: Path, clock: FakeClock) -> None:
    transport = await carrier(clock)
    trust = await open_trust(tmp_path / "trust", transport, clock)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    heads, certificates = [await transport.key_value(name) for name in ("directory", "certs")]
    old = (await heads.get("head")).value
    assert old is not None
    clock.advance(61)
    await trust.tick()
    await heads.put("head", old)
    for key in await certificates.keys():
        await certificates.delete(key)
    await settle(trust)
    raw = (await heads.get("head")).value
    assert raw is not None
    assert open_head(raw, trust.root) == trust.directory.head
    assert any(key.endswith(identity.certificate.id.hex()) for key in await certificates.keys())
    await trust.stop()


async def test_renewals_go_on_while_the_carrier_is_away_and_arrive_later(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    trust = await open_trust(tmp_path / "trust", transport, clock, settings=FAST)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    first = identity.certificate
    transport.disconnect()
    clock.advance(DAY_S / 2)
    await trust.tick()
    assert identity.certificate.id != first.id
    assert trust.directory.fresh
    assert not trust.health().connected
    with pytest.raises(Unavailable):
        await trust.store_key_package(EpochId(bytes(32)), b"")
    transport.reconnect()
    await trust.tick()
    keys = await (await transport.key_value("certs")).keys()
    assert any(key.endswith(identity.certificate.id.hex()) for key in keys)
    assert trust.health().connected
    await trust.stop()


async def test_a_start_without_the_carrier_works_and_joins_later(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    first = await open_trust(tmp_path / "trust", transport, clock, settings=FAST)
    await first.stop()
    transport.disconnect()
    trust = await open_trust(tmp_path / "trust", transport, clock, settings=FAST)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    assert not trust.health().connected
    transport.reconnect()
    await trust.tick()
    keys = await (await transport.key_value("certs")).keys()
    assert any(key.endswith(identity.certificate.id.hex()) for key in keys)
    await trust.stop()


async def test_a_second_authority_for_a_mesh_that_has_one_is_not_made(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    trust = await open_trust(tmp_path / "trust", transport, clock)
    with pytest.raises(ForeignAuthority, match="has an authority already"):
        await open_trust(tmp_path / "other", transport, clock)
    assert not Authority.exists(tmp_path / "other/authority")
    with pytest.raises(NoAuthority, match="copy the file 'root'"):
        await Trust.open(
            tmp_path / "other",
            mesh="m",
            site="s",
            buckets=None,
            clock=clock,
            passphrase=no_passphrase,
            create_authority=False,
        )
    await trust.stop()


async def test_a_renamed_mesh_is_refused_in_words(tmp_path: Path, clock: FakeClock) -> None:
    await (await open_trust(tmp_path / "trust", None, clock)).stop()
    with pytest.raises(ForeignAuthority, match=r"mesh\.name"):
        await Trust.open(
            tmp_path / "trust",
            mesh="renamed",
            site="north",
            buckets=None,
            clock=clock,
            passphrase=no_passphrase,
        )


async def test_a_certificate_that_comes_after_its_message_is_fetched(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    one = await open_trust(tmp_path / "one", transport, clock)
    two = await open_trust(
        tmp_path / "two", transport, clock, authority_folder=tmp_path / "one/authority"
    )
    sender = await one.identity("emr-in", publish=["evt.>"])
    assert not two.directory.known(sender.certificate.id)
    assert await two.fetch_certificate(sender.certificate.id)
    assert not await two.fetch_certificate(CertificateId(bytes(16)))
    await one.stop()
    await two.stop()


async def test_a_certificate_that_cannot_be_asked_for_is_not_called_unknown(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    one = await open_trust(tmp_path / "one", transport, clock, settings=FAST)
    sender = await one.identity("emr-in", publish=["evt.>"])
    two = await open_trust(
        tmp_path / "two",
        transport,
        clock,
        settings=FAST,
        authority_folder=tmp_path / "one/authority",
    )
    assert await two.fetch_certificate(sender.certificate.id)
    stranger = CertificateId(bytes(16))
    transport.disconnect()
    for _ in range(5):  # within the pause between two looks and beyond it
        clock.advance(0.4)
        with pytest.raises(Unavailable, match="cannot be fetched"):
            await two.fetch_certificate(stranger)
    assert await two.fetch_certificate(sender.certificate.id), "what is known needs no carrier"
    transport.reconnect()
    clock.advance(2)
    assert not await two.fetch_certificate(stranger)
    await one.stop()
    await two.stop()


async def test_key_packages_pass_between_processes_and_are_verified(
    tmp_path: Path, clock: FakeClock
) -> None:
    transport = await carrier(clock)
    one = await open_trust(tmp_path / "one", transport, clock)
    two = await open_trust(
        tmp_path / "two", transport, clock, authority_folder=tmp_path / "one/authority"
    )
    sender = await one.identity("emr-in", publish=["evt.>"])
    await one.identity("his-out", subscribe=["evt.>"])
    epoch, raw = await seal(one, sender, clock)
    with pytest.raises(NotFound):
        await two.key_package(epoch)
    await one.store_key_package(epoch, raw)
    assert await two.key_package(epoch) == raw
    assert await two.key_package(epoch) == raw
    bucket = await transport.key_value("keys")
    await bucket.put("ab" * 32, raw)
    with pytest.raises(Refused, match="not the key package of this epoch"):
        await two.key_package(EpochId(bytes.fromhex("ab" * 32)))
    await bucket.put("cd" * 32, bytes(600_000))
    with pytest.raises(Refused) as refused:
        await two.key_package(EpochId(bytes.fromhex("cd" * 32)))
    assert refused.value.reason is Reason.TOO_LARGE
    await one.stop()
    await two.stop()


async def test_renewals_run_by_themselves_after_start(tmp_path: Path, clock: FakeClock) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock, settings=FAST)
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    renewed = asyncio.Event()
    identity.on_renewed(lambda _: renewed.set())
    await trust.start()
    await trust.start()
    clock.advance(DAY_S / 2)
    async with asyncio.timeout(10):
        await renewed.wait()
    await trust.stop()
    await trust.stop()


async def test_health_says_what_an_operator_must_know(tmp_path: Path, clock: FakeClock) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    assert trust.health().earliest_expiry_s == -1
    await trust.identity("his-out", subscribe=["evt.>"])
    health = trust.health()
    assert health.fresh
    assert health.connected
    assert health.has_authority
    assert health.earliest_expiry_s == DAY_S
    assert health.unreadable == ()
    clock.advance(700)
    assert not trust.health().fresh
    assert trust.health().head_age_s > 600
    await trust.stop()


async def test_a_service_or_pattern_that_is_no_subject_is_refused(
    tmp_path: Path, clock: FakeClock
) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    with pytest.raises(SubjectError):
        await trust.identity("His Out")
    with pytest.raises(SubjectError):
        await trust.identity("his-out", publish=["evt..x"])
    await trust.stop()


async def test_a_renewal_that_fails_is_counted_and_tried_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    failed = asyncio.Event()

    class Watched(Counters):
        def add(self, name: str, *, who: str = "", reason: str = "", count: int = 1) -> None:
            super().add(name, who=who, reason=reason, count=count)
            if (name, reason) == ("trust_renewal_failed", "keystore_unsafe"):
                failed.set()

    trust = await Trust.open(
        tmp_path / "trust",
        mesh="st-elsewhere",
        site="north",
        buckets=await carrier(clock),
        clock=clock,
        settings=FAST,
        counters=Watched(),
        passphrase=no_passphrase,
    )
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    first = identity.certificate
    (tmp_path / "trust/authority/issued").chmod(0o755)
    clock.advance(DAY_S / 2)
    await trust.start()
    async with asyncio.timeout(10):
        await failed.wait()
    assert identity.certificate == first
    (tmp_path / "trust/authority/issued").chmod(0o700)
    renewed = asyncio.Event()
    identity.on_renewed(lambda _: renewed.set())
    async with asyncio.timeout(10):
        await renewed.wait()
    await trust.stop()


async def test_the_folder_of_another_authority_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    for name in ("one", "two"):
        await (await open_trust(tmp_path / name, None, clock)).stop()
    (tmp_path / "one/authority").rename(tmp_path / "aside")
    (tmp_path / "two/authority").rename(tmp_path / "one/authority")
    with pytest.raises(ForeignAuthority, match="believes the authority"):
        await open_trust(tmp_path / "one", None, clock)


async def test_the_passphrase_is_asked_for_once(tmp_path: Path, clock: FakeClock) -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append("?")
        return ""

    trust = await Trust.open(
        tmp_path / "trust", mesh="m", site="s", buckets=None, clock=clock, passphrase=ask
    )
    await trust.stop()
    assert len(asked) == 1


async def test_key_packages_on_disk_are_bounded(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache")
    for number in range(10):
        disk.store_package(EpochId(bytes((number,)) * 32), b"x")
    assert disk.trim_packages(10) == 0
    assert disk.trim_packages(4) == 6
    assert disk.package(EpochId(b"\x09" * 32)) == b"x"
    assert disk.package(EpochId(b"\x00" * 32)) is None


async def test_the_version_on_disk_never_goes_back(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path / "cache")
    disk.store_head(7, b"seven")
    disk.store_head(5, b"five")
    assert DiskCache(tmp_path / "cache").head() == (7, b"seven")


async def test_the_place_of_a_service_that_was_refused_is_given_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    trust = await open_trust(tmp_path / "trust", await carrier(clock), clock)
    with pytest.raises(CertificateRefused):
        await trust.identity("his-out", subscribe=[f"evt.x{number}" for number in range(300)])
    places = trust._keystore.folders("services/his-out/instances")
    identity = await trust.identity("his-out", subscribe=["evt.>"])
    assert [identity.instance] == places
    await trust.stop()
