from __future__ import annotations

from pathlib import Path

import pytest

from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from bus.trust import TrustSettings, WhenStale
from bus.trust.objects import Head, head_body, open_head, spiffe_id
from schemas.errors import ConfigurationError
from tests.unit.bus.trust.world import DAY_S, HOUR_S, Instance, World

EMR = spiffe_id("st-elsewhere", "north", "emr-in")
EVENT = "evt.north.raw.hl7v2.3"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def refusal(world: World, certificate: Certificate, at_ms: int | None = None) -> Reason | None:
    try:
        now = world.clock.now_ms()
        world.directory.certificate(certificate.id, at_ms=now if at_ms is None else at_ms)
    except Refused as refused:
        return refused.reason
    return None


def test_a_certified_instance_is_known(world: World) -> None:
    certificate = world.admit(Instance())
    found = world.directory.certificate(certificate.id, at_ms=world.clock.now_ms())
    assert found == certificate


def test_an_unknown_signer_is_refused(world: World) -> None:
    with pytest.raises(Refused) as refused:
        world.directory.certificate(CertificateId(bytes(16)), at_ms=0)
    assert refused.value.reason is Reason.UNKNOWN_SIGNER


def test_a_message_sealed_days_ago_verifies_after_its_signers_certificate_ended(
    world: World,
) -> None:
    certificate = world.admit(Instance())
    world.clock.advance(HOUR_S)
    sealed_ms = world.clock.now_ms()
    world.clock.advance(3 * DAY_S)
    world.show_head()
    assert refusal(world, certificate, sealed_ms) is None
    assert refusal(world, certificate) is Reason.SIGNER_EXPIRED
    assert refusal(world, certificate, certificate.not_before_ms - 121_000) is Reason.SIGNER_EXPIRED


def test_a_certificate_is_forgotten_only_when_told(world: World) -> None:
    certificate = world.admit(Instance())
    assert world.directory.forget(certificate.not_after_ms) == []
    assert world.directory.forget(certificate.not_after_ms + 1) == [certificate.id]
    assert refusal(world, certificate) is Reason.UNKNOWN_SIGNER
    assert world.directory.readers(EVENT) == ()


def test_a_revoked_certificate_is_refused_for_every_time_and_reads_nothing(world: World) -> None:
    certificate = world.admit(Instance(subscribe=("evt.>",)))
    assert world.directory.readers(EVENT) == (certificate,)
    before = world.directory.version
    world.authority.revoke(certificate.id)
    world.show_head()
    assert refusal(world, certificate) is Reason.SIGNER_REVOKED
    assert refusal(world, certificate, certificate.not_before_ms) is Reason.SIGNER_REVOKED
    assert world.directory.readers(EVENT) == ()
    assert world.directory.version != before


def test_revoking_the_newest_certificate_does_not_bring_back_an_older_one(world: World) -> None:
    instance = Instance(subscribe=("evt.>",))
    world.admit(instance)
    newest = world.admit(instance)
    world.authority.revoke(newest.id)
    world.show_head()
    assert world.directory.readers(EVENT) == ()


def test_changed_rights_replace_the_older_certificate_at_once(world: World) -> None:
    instance = Instance(subscribe=("evt.north.>",))
    world.admit(instance)
    assert len(world.directory.readers(EVENT)) == 1
    instance.subscribe = ("evt.north.order.>",)
    narrower = world.admit(instance)
    assert world.directory.readers(EVENT) == ()
    assert world.directory.readers("evt.north.order.placed.1") == (narrower,)


def test_an_instance_that_is_gone_reads_until_its_certificate_ends(world: World) -> None:
    gone = Instance(subscribe=("evt.north.>",))
    certificate = world.admit(gone)
    world.clock.advance(DAY_S / 2)
    staying = world.admit(Instance(name="f" * 16, kem=gone.kem))
    assert world.directory.readers(EVENT) == (certificate,)
    world.clock.advance(DAY_S / 2)
    world.show_head()
    assert world.directory.readers(EVENT) == ()
    assert world.directory.instances(staying.service) == [staying]


def test_one_reader_for_each_service_with_its_newest_generation(world: World) -> None:
    old = Instance(subscribe=("evt.>",))
    new = Instance(subscribe=("evt.>",), name="f" * 16, generation=2)
    emr = Instance(service=EMR, subscribe=("evt.north.*.hl7v2.>",))
    world.admit(old)
    newest, other = world.admit(new), world.admit(emr)
    assert world.directory.readers(EVENT) == (other, newest)


def test_the_version_changes_when_time_changes_the_answer(world: World) -> None:
    world.admit(Instance(subscribe=("evt.>",)))
    settled = world.directory.version
    world.clock.advance(60)
    world.show_head()
    assert world.directory.version == settled
    world.clock.advance(DAY_S - 60)
    assert world.directory.version > settled
    assert world.directory.readers(EVENT) == ()


def test_answers_are_cached_and_the_cache_is_bounded(world: World) -> None:
    world.admit(Instance(subscribe=("evt.>",)))
    first = world.directory.readers(EVENT)
    assert world.directory.readers(EVENT) is first
    for number in range(9000):
        world.directory.readers(f"evt.north.raw.x{number}.1")
    assert len(world.directory._cache) <= 8192


def test_a_signer_without_narrower_rights_ends_early_for_what_it_lost(world: World) -> None:
    instance = Instance(publish=("evt.north.>",))
    wide = world.admit(instance)
    world.clock.advance(HOUR_S)
    sealed_ms = world.clock.now_ms()
    instance.publish = ("evt.north.order.>",)
    world.admit(instance)
    assert refusal(world, wide, sealed_ms) is None
    world.clock.advance(HOUR_S)
    world.show_head()
    assert refusal(world, wide) is Reason.SIGNER_EXPIRED
    assert refusal(world, wide, sealed_ms) is None


def test_a_renewed_signer_with_the_same_rights_overlaps(world: World) -> None:
    instance = Instance(publish=("evt.north.raw.>",))
    older = world.admit(instance)
    instance.publish = ("evt.north.>",)
    world.clock.advance(HOUR_S)
    world.admit(instance)
    world.clock.advance(HOUR_S)
    world.show_head()
    assert refusal(world, older) is None


def test_an_older_head_is_refused_though_it_verifies(world: World) -> None:
    world.show_head()
    old = open_head(world.authority.head(), world.authority.root)
    world.clock.advance(61)
    world.show_head()
    with pytest.raises(Refused, match="older than") as refused:
        world.directory.accept(old)
    assert refused.value.reason is Reason.DIRECTORY_STALE


def test_a_head_below_the_version_on_disk_is_refused(world: World) -> None:
    head = open_head(world.authority.head(), world.authority.root)
    world.directory.require_version(head.version + 1)
    with pytest.raises(Refused, match="older than"):
        world.directory.accept(head)


def test_two_heads_of_one_version_are_refused(world: World) -> None:
    world.show_head()
    held = world.directory.head
    assert held is not None
    other = Head(
        version=held.version,
        issued_ms=held.issued_ms,
        expires_ms=held.expires_ms,
        live=frozenset(),
        revoked=frozenset(),
        digest=bytes(32),
    )
    with pytest.raises(Refused, match="second directory head"):
        world.directory.accept(other)
    world.directory.accept(held)


def test_a_head_from_the_future_is_refused(world: World) -> None:
    now = world.clock.now_ms()
    body = head_body(
        version=now, issued_ms=now + 121_000, expires_ms=now + 200_000, live=[], revoked=[]
    )
    head = open_head(world.authority._keys.sign("DirectoryHead", body), world.authority.root)
    with pytest.raises(Refused) as refused:
        world.directory.accept(head)
    assert refused.value.reason is Reason.CLOCK_SKEW


def test_without_any_head_nobody_signs_and_nobody_reads(world: World) -> None:
    certificate = world.issue(Instance(subscribe=("evt.>",)))
    world.directory.add(certificate)
    assert refusal(world, certificate) is Reason.DIRECTORY_STALE
    assert world.directory.readers(EVENT) == ()
    world.show_head()
    assert refusal(world, certificate) is None
    assert world.directory.readers(EVENT) == (certificate,)


def test_with_a_stale_head_known_signers_go_on_and_new_ones_are_refused(world: World) -> None:
    known = world.admit(Instance(subscribe=("evt.>",)))
    world.clock.advance(601)
    assert not world.directory.fresh
    new = world.issue(Instance(service=EMR, subscribe=("evt.>",)))
    world.directory.add(new)
    assert refusal(world, known) is None
    assert refusal(world, new) is Reason.DIRECTORY_STALE
    assert world.directory.readers(EVENT) == (known,)
    world.show_head()
    assert refusal(world, new) is None
    assert len(world.directory.readers(EVENT)) == 2


def test_with_a_stale_head_ended_certificates_wait_for_a_fresh_one(world: World) -> None:
    certificate = world.admit(Instance())
    sealed_ms = world.clock.now_ms()
    world.clock.advance(DAY_S + HOUR_S)
    assert refusal(world, certificate, sealed_ms) is Reason.DIRECTORY_STALE
    world.show_head()
    assert refusal(world, certificate, sealed_ms) is None


def test_a_site_may_choose_to_stop_when_the_head_is_stale(tmp_path: Path) -> None:
    world = World(tmp_path, TrustSettings(when_stale=WhenStale.REFUSE))
    certificate = world.admit(Instance(subscribe=("evt.>",)))
    assert refusal(world, certificate) is None
    world.clock.advance(601)
    assert refusal(world, certificate) is Reason.DIRECTORY_STALE
    with pytest.raises(Refused):
        world.directory.readers(EVENT)


def test_a_replaced_certificate_whose_successor_is_withheld_reads_nothing(world: World) -> None:
    instance = Instance(subscribe=("evt.>",))
    world.admit(instance)
    instance.subscribe = ()
    world.issue(instance)
    world.clock.advance(1)
    world.show_head()
    assert world.directory.readers(EVENT) == ()


def test_an_expired_head_informs_but_vouches_for_nothing(world: World) -> None:
    certificate = world.issue(Instance(subscribe=("evt.>",)))
    raw = world.authority.head()
    world.clock.advance(700)
    world.directory.add(certificate)
    world.directory.accept(open_head(raw, world.authority.root))
    assert not world.directory.fresh
    assert refusal(world, certificate) is Reason.DIRECTORY_STALE


def test_adding_a_certificate_twice_changes_nothing(world: World) -> None:
    certificate = world.admit(Instance())
    world.directory.add(certificate)
    assert world.directory.history(certificate.service) == [certificate]


@pytest.mark.parametrize(
    "settings",
    [
        {"head_lifetime_s": 60.0},
        {"head_lifetime_s": 3601.0},
        {"certificate_lifetime_s": 0.0},
        {"bucket_max_age_s": DAY_S},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        TrustSettings(**settings)  # type: ignore[arg-type]  # every setting of the table is a float
