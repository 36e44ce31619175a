from __future__ import annotations

from pathlib import Path

import pytest

from bus.envelope.signed import sign_object
from bus.envelope.suites import KemKey, SigningKey
from bus.envelope.types import Reason, Refused
from bus.trust import CertificateRefused, ForeignAuthority, GenerationTaken, NoAuthority, Root
from bus.trust.authority import Authority
from bus.trust.objects import (
    CERTIFICATE,
    REQUEST,
    head_body,
    merkle_root,
    open_certificate,
    open_head,
    open_request,
    spiffe_id,
)
from schemas.errors import SubjectError
from schemas.generated.medmesh.control.v1 import control_pb2
from schemas.generated.medmesh.envelope.v1 import envelope_pb2
from tests.unit.bus.trust.world import DAY_S, Instance, World, no_passphrase


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_first_start_creates_and_second_loads(world: World) -> None:
    assert world.load_authority().root == world.authority.root


def test_the_folder_of_another_mesh_is_refused(world: World) -> None:
    with pytest.raises(ForeignAuthority, match=r"'st-elsewhere'.*mesh.name is 'other'"):
        Authority.create_or_load(
            world.folder, mesh="other", clock=world.clock, passphrase=no_passphrase
        )


def test_loading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoAuthority, match="holds no authority"):
        Authority.load(tmp_path, mesh="m", clock=World(tmp_path).clock, passphrase=no_passphrase)


def test_a_certificate_says_what_was_asked(world: World) -> None:
    instance = Instance(publish=("evt.north.>",), subscribe=("ctl.north.*",))
    certificate = world.issue(instance)
    assert certificate.service == "spiffe://st-elsewhere/north/his-out"
    assert certificate.sign_key == instance.sign.public_bytes
    assert certificate.kem_key == instance.kem.public_bytes
    assert certificate.seal_key == instance.seal.public_bytes
    assert (certificate.publish, certificate.subscribe) == (("evt.north.>",), ("ctl.north.*",))
    assert certificate.not_before_ms == world.clock.now_ms()
    assert certificate.not_after_ms - certificate.not_before_ms == DAY_S * 1000


@pytest.mark.parametrize("field", ["sig", "pq_sig"])
def test_each_of_the_two_signatures_is_needed(world: World, field: str) -> None:
    raw = world.authority.issue(Instance().request(world.clock.now_ms()))
    for spoilt in (b"", bytes(64), bytes(3309)):
        signed = envelope_pb2.SignedObject.FromString(raw)
        setattr(signed, field, spoilt)
        with pytest.raises(Refused) as refused:
            open_certificate(signed.SerializeToString(), world.authority.root)
        assert refused.value.reason is Reason.BAD_SIGNATURE


def test_a_certificate_of_another_authority_is_refused(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    raw = other.authority.issue(Instance().request(other.clock.now_ms()))
    with pytest.raises(Refused) as refused:
        open_certificate(raw, world.authority.root)
    assert refused.value.reason is Reason.BAD_SIGNATURE


def test_a_certificate_does_not_pass_for_a_head(world: World) -> None:
    raw = world.authority.issue(Instance().request(world.clock.now_ms()))
    with pytest.raises(Refused) as refused:
        open_head(raw, world.authority.root)
    assert refused.value.reason is Reason.MALFORMED


def test_nobody_gets_a_certificate_for_a_key_that_it_does_not_hold(world: World) -> None:
    body = envelope_pb2.SignedObject.FromString(Instance().request(world.clock.now_ms())).body
    stolen = sign_object(REQUEST, body, SigningKey.generate())
    with pytest.raises(CertificateRefused, match="bad_signature"):
        world.authority.issue(stolen)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spiffe_id", "spiffe://st-elsewhere/north"),
        ("spiffe_id", "spiffe://st-elsewhere/north/a/b"),
        ("spiffe_id", "spiffe://st-elsewhere/north/UPPER"),
        ("spiffe_id", "spiffe://other/north/his-out"),
        ("instance", "../../etc"),
        ("instance", ""),
        ("kem_key", b"short"),
        ("kem_key", b"\xff" * 1216),
        ("seal_key", b""),
        ("kem_generation", 0),
        ("serial", b""),
        ("suite", 3),
        ("suite", 2),
        ("publish", ["evt..x"]),
        ("subscribe", ["Evt.>"]),
        ("publish", ["a"] * 257),
        ("not_before_ms", 1),
    ],
)
def test_a_malformed_request_is_refused(world: World, field: str, value: object) -> None:
    instance = Instance()
    raw = envelope_pb2.SignedObject.FromString(instance.request(world.clock.now_ms())).body
    wanted = control_pb2.ServiceCert.FromString(raw)
    if isinstance(value, list):
        getattr(wanted, field).extend(value)
    else:
        setattr(wanted, field, value)
    if wanted.suite == 1:
        request = sign_object(REQUEST, wanted.SerializeToString(), instance.sign)
    else:
        signed = envelope_pb2.SignedObject(kind=REQUEST, body=wanted.SerializeToString())
        request = signed.SerializeToString()
    with pytest.raises(CertificateRefused):
        world.authority.issue(request)


def test_suite_2_works_from_the_authority_to_the_instance(tmp_path: Path) -> None:
    from bus.trust import TrustSettings

    world = World(tmp_path, TrustSettings(suite=2))
    instance = Instance(
        sign=SigningKey.generate(2), kem=KemKey.generate(2), seal=KemKey.generate(2)
    )
    assert world.issue(instance).suite == 2
    assert world.authority.root.suite == 2
    assert len(open_head(world.authority.head(), world.authority.root).live) == 1


def test_two_instances_cannot_certify_two_keys_as_one_generation(world: World) -> None:
    first, second = Instance(), Instance(name="f" * 16)
    world.issue(first)
    with pytest.raises(GenerationTaken, match="generation 1"):
        world.issue(second)
    second.kem = first.kem
    world.issue(second)


def test_an_instance_certified_again_begins_later_even_at_the_same_moment(world: World) -> None:
    instance = Instance()
    assert world.issue(instance).not_before_ms < world.issue(instance).not_before_ms


def test_versions_of_the_head_rise_over_restarts_and_restored_backups(world: World) -> None:
    def version() -> int:
        return open_head(world.authority.head(renew=True), world.authority.root).version

    seen = [version(), version()]
    backup = (world.folder / "head").read_bytes()
    world.clock.advance(1)
    world.authority = world.load_authority()
    seen += [version(), version()]
    (world.folder / "head").write_bytes(backup)
    world.clock.advance(1)
    seen += [version()]
    (world.folder / "head").unlink()
    world.clock.advance(1)
    seen += [version()]
    assert seen == sorted(set(seen))


def test_a_young_head_that_is_true_is_given_again(world: World) -> None:
    first = world.authority.head()
    world.clock.advance(59)
    assert world.authority.head() == first
    world.issue(Instance())
    assert world.authority.head() != first
    second = world.authority.head()
    assert world.authority.head() == second
    world.clock.advance(60.1)
    assert world.authority.head() != second


def test_the_head_names_the_newest_certificate_of_each_instance(world: World) -> None:
    instance, other = Instance(), Instance(service=spiffe_id("st-elsewhere", "north", "emr-in"))
    old = world.issue(instance)
    new, also = world.issue(instance), world.issue(other)
    head = open_head(world.authority.head(), world.authority.root)
    assert head.live == {new.id, also.id}
    assert old.id not in head.revoked
    assert head.expires_ms - head.issued_ms == 600_000


def test_revoking_takes_every_certificate_of_the_instance_and_its_key(world: World) -> None:
    instance = Instance()
    old, new = world.issue(instance), world.issue(instance)
    world.authority.revoke(new.id)
    head = open_head(world.authority.head(), world.authority.root)
    assert head.revoked == {old.id, new.id}
    assert head.live == set()
    with pytest.raises(CertificateRefused, match="revoked"):
        world.issue(instance)
    instance.name = "f" * 16
    with pytest.raises(CertificateRefused, match="revoked"):
        world.issue(instance)


def test_a_revocation_is_told_for_as_long_as_old_messages_wait(world: World) -> None:
    certificate = world.issue(Instance())
    world.authority.revoke(certificate.id)
    world.clock.advance(8 * DAY_S)
    assert certificate.id in open_head(world.authority.head(), world.authority.root).revoked
    world.clock.advance(60 * DAY_S)
    assert open_head(world.authority.head(), world.authority.root).revoked == set()


def test_an_authority_whose_keys_were_exchanged_is_refused(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    (world.folder / "keys/sign").write_bytes((other.folder / "keys/sign").read_bytes())
    with pytest.raises(ForeignAuthority, match="not those of its root"):
        world.load_authority()


def test_the_root_comes_back_from_its_file(world: World) -> None:
    root = world.authority.root
    assert Root.from_bytes(root.to_bytes()) == root
    for spoilt in (b"", b"{}", b"[]", root.to_bytes().replace(b'"suite": 1', b'"suite": 2')):
        with pytest.raises(Refused):
            Root.from_bytes(spoilt)


def test_heads_that_contradict_themselves_are_refused(world: World) -> None:
    a, b = bytes(16), b"\1" * 16

    def signed(**changes: object) -> bytes:
        body = head_body(version=1, issued_ms=1, expires_ms=2, live=[a, b], revoked=[])
        head = control_pb2.DirectoryHead.FromString(body)
        for name, value in changes.items():
            if isinstance(value, list):
                head.ClearField(name)  # type: ignore[arg-type]  # the name comes from the table below
                getattr(head, name).extend(value)
            else:
                setattr(head, name, value)
        return world.authority._keys.sign("DirectoryHead", head.SerializeToString())

    open_head(signed(), world.authority.root)
    for changes in (
        {"live": [b, a]},
        {"live": [a]},
        {"live": [a, a], "root": merkle_root([a, a])},
        {"live": [b"x"], "root": merkle_root([b"x"])},
        {"root": bytes(32)},
        {"revoked": [b"short"]},
        {"expires_ms": 1},
        {"expires_ms": 3_600_002},
    ):
        with pytest.raises(Refused):
            open_head(signed(**changes), world.authority.root)


def test_a_certificate_that_ends_before_it_begins_or_has_a_foreign_issuer_is_refused(
    world: World,
) -> None:
    body = envelope_pb2.SignedObject.FromString(
        world.authority.issue(Instance().request(world.clock.now_ms()))
    ).body
    for name, value in (
        ("not_after_ms", 5),
        ("issuer", bytes(16)),
        ("spiffe_id", "spiffe://x/y/z"),
    ):
        cert = control_pb2.ServiceCert.FromString(body)
        setattr(cert, name, value)
        raw = world.authority._keys.sign(CERTIFICATE, cert.SerializeToString())
        with pytest.raises(Refused):
            open_certificate(raw, world.authority.root)


def test_names_are_checked_before_they_are_asked_for() -> None:
    with pytest.raises(SubjectError, match="service 'His Out'"):
        spiffe_id("m", "s", "His Out")


def test_garbage_is_no_request() -> None:
    for raw in (b"", b"\xff\xff", bytes(70_000)):
        with pytest.raises(Refused):
            open_request(raw)
