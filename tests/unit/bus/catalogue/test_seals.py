"""Nobody but a writer with the right to it can say what subjects are bound to; the carrier least of all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bus.catalogue.seals import KIND, MAX_RECORD_BYTES, BindingSigner, BindingVerifier
from bus.envelope.signed import sign_object
from bus.envelope.suites import SigningKey
from bus.envelope.types import Certificate, Reason, Refused
from bus.trust.objects import spiffe_id
from schemas.registry.errors import SchemaError
from schemas.registry.models import Revision, SignedRevision, encode
from schemas.registry.patterns import key_of
from schemas.subjects import SiteId
from tests.unit.bus.trust.world import DAY_S, Instance, World
from tests.unit.schemas.registry.test_models import HL7

RIGHT = "ctl.north.schemas.bindings"
KEY = key_of(HL7.pattern)


@dataclass
class Identity:
    certificate: Certificate
    signing_key: SigningKey


class Desk:
    """A writer whose certificate has these rights, and a reader."""

    def __init__(self, folder: Path, *publish: str) -> None:
        self.world = World(folder)
        self.instance = Instance(
            service=spiffe_id("st-elsewhere", "north", "registrar"), publish=publish
        )
        self.raw = self.world.authority.issue(self.instance.request(self.world.clock.now_ms()))
        self.certificate = self.world.admit(self.instance)
        self.signer = BindingSigner(Identity(self.certificate, self.instance.sign), self.raw)
        self.verifier = BindingVerifier(
            self.world.authority.root, self.world.directory, site=SiteId("north"), clock=self.world.clock
        )  # fmt: skip

    def revision(self) -> Revision:
        return Revision(binding=HL7, version=1, written_ms=self.world.clock.now_ms())

    def refusal(self, raw: bytes, key: str = KEY) -> Reason:
        with pytest.raises(Refused) as refused:
            self.verifier.open(key, raw)
        return refused.value.reason


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, RIGHT)


def test_binding_that_a_registrar_signed_is_believed(desk: Desk) -> None:
    believed = desk.verifier.open(KEY, desk.signer.seal(desk.revision()))
    assert believed.revision == desk.revision()
    assert believed.writer == "registrar"


def test_binding_is_believed_long_after_its_writers_certificate_ended(desk: Desk) -> None:
    raw = desk.signer.seal(desk.revision())
    desk.world.clock.advance(1000 * DAY_S)
    assert desk.verifier.open(KEY, raw).revision.version == 1


@pytest.mark.parametrize(
    "right",
    ["evt.north.>", "ctl.north.replay.>", "ctl.south.schemas.bindings", "ctl.north.schemas"],
)
def test_service_without_the_right_cannot_bind(tmp_path: Path, right: str) -> None:
    desk = Desk(tmp_path, right)
    assert desk.refusal(desk.signer.seal(desk.revision())) is Reason.MAY_NOT_PUBLISH


def test_every_changed_byte_is_refused(desk: Desk) -> None:
    raw = desk.signer.seal(desk.revision())
    for at in range(0, len(raw), 41):
        with pytest.raises(Refused):
            desk.verifier.open(KEY, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    assert desk.refusal(raw[:-1]) in {Reason.MALFORMED, Reason.BAD_SIGNATURE}
    assert desk.refusal(b"") is Reason.MALFORMED
    assert desk.refusal(b"x" * (MAX_RECORD_BYTES + 1)) is Reason.TOO_LARGE


def test_certificate_of_another_mesh_is_refused(tmp_path: Path, desk: Desk) -> None:
    other = Desk(tmp_path / "other", RIGHT)
    assert desk.refusal(other.signer.seal(other.revision())) in {
        Reason.BAD_SIGNATURE, Reason.MALFORMED,
    }  # fmt: skip


def test_somebody_elses_certificate_does_not_help_a_forger(desk: Desk) -> None:
    forger = SigningKey.generate()
    body = encode(SignedRevision(certificate=desk.raw, revision=desk.revision()))
    assert desk.refusal(sign_object(KIND, body, forger)) is Reason.BAD_SIGNATURE
    # an object of another kind that the registrar signed is no binding
    assert desk.refusal(sign_object("instance", body, desk.instance.sign)) is Reason.MALFORMED


def test_binding_under_the_key_of_another_pattern_is_refused(desk: Desk) -> None:
    raw = desk.signer.seal(desk.revision())
    assert desk.refusal(raw, key_of("evt.north.>")) is Reason.SUBJECT_MISMATCH


def test_registrar_of_a_site_binds_only_its_own_subjects(desk: Desk) -> None:
    for pattern in ("evt.south.raw.>", "evt.*.raw.>", "ctl.north.>", "evt.>"):
        wrong = replace(desk.revision(), binding=replace(HL7, pattern=pattern))
        assert desk.refusal(desk.signer.seal(wrong), key_of(pattern)) is Reason.SUBJECT_MISMATCH


def test_time_outside_of_the_certificates_window_or_in_the_future_is_refused(desk: Desk) -> None:
    hour_ms = 3_600_000
    early = replace(desk.revision(), written_ms=desk.world.clock.now_ms() - 48 * hour_ms)
    assert desk.refusal(desk.signer.seal(early)) is Reason.SIGNER_EXPIRED
    future = replace(desk.revision(), written_ms=desk.world.clock.now_ms() + hour_ms)
    assert desk.refusal(desk.signer.seal(future)) is Reason.CLOCK_SKEW


def test_revoked_writer_is_refused(desk: Desk) -> None:
    raw = desk.signer.seal(desk.revision())
    desk.world.authority.revoke(desk.certificate.id)
    desk.world.clock.advance(61.0)
    desk.world.show_head()
    assert desk.refusal(raw) in {Reason.SIGNER_REVOKED, Reason.BAD_SIGNATURE}


def test_binding_that_is_too_large_to_be_read_is_not_written(desk: Desk) -> None:
    many = tuple(f"hl7v2/{i:04}{'X' * 70}" for i in range(512))
    large = replace(HL7, content_types=many, former=())
    signer = BindingSigner(Identity(desk.certificate, desk.instance.sign), desk.raw * 50)
    with pytest.raises(SchemaError):
        signer.seal(replace(desk.revision(), binding=large))
