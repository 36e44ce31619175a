"""Watching reads the outside of an envelope: who, what subject, how large. Nothing is opened, nothing believed."""

from __future__ import annotations

import pytest

from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from bus.transport.protocol import Incoming
from medmesh.watching import Mark, Totals, look, without_partition
from schemas.clock import FakeClock
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

SUBJECT = "evt.north.raw.hl7v2.17"


class OneSender:
    """A directory that knows one service."""

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        if certificate_id != b"s" * 16:
            raise Refused(Reason.UNKNOWN_SIGNER, "unknown")
        return Certificate(
            id=certificate_id,
            service="spiffe://st-elsewhere/north/emr-in",
            instance="1",
            suite=1,
            sign_key=b"",
            kem_key=b"",
            seal_key=b"",
            kem_generation=1,
            publish=("evt.north.raw.hl7v2.*",),
            subscribe=(),
            not_before_ms=0,
            not_after_ms=1,
        )

    def readers(self, subject: str) -> list[Certificate]:
        return []


def envelope(*, signer: bytes = b"s" * 16, subject: str = SUBJECT) -> bytes:
    batch = pb.BatchHeader(suite=1, signer=signer, size=3, created_ms=5)
    head = pb.MessageHead(subject=subject)
    return pb.Envelope(
        batch=batch.SerializeToString(), head=head.SerializeToString(), body=b"x" * 100
    ).SerializeToString()


@pytest.mark.parametrize(
    ("subject", "payload", "sender", "mark"),
    [
        (SUBJECT, envelope(), "emr-in", Mark.NONE),
        (SUBJECT, envelope(signer=b"t" * 16), "unknown", Mark.UNKNOWN_SENDER),
        ("evt.north.raw.hl7v2.18", envelope(), "emr-in", Mark.OTHER_SUBJECT),
        ("evt.north.order.placed.1", envelope(subject="evt.north.order.placed.1"), "emr-in", Mark.NOT_ALLOWED),
        (SUBJECT, b"MSH|^~\\&|plain", "unknown", Mark.NO_ENVELOPE),
        (SUBJECT, b"", "unknown", Mark.NO_ENVELOPE),
    ],
)  # fmt: skip
def test_what_is_odd_is_marked(subject: str, payload: bytes, sender: str, mark: Mark) -> None:
    seen = look(Incoming(subject=subject, payload=payload), OneSender())
    assert (seen.sender, seen.mark, seen.size) == (sender, mark, len(payload))


def test_a_sighting_says_the_type_from_the_subject_and_the_batch() -> None:
    seen = look(Incoming(subject=SUBJECT, payload=envelope()), OneSender())
    assert (seen.type, seen.suite, seen.batch) == ("raw/hl7v2", 1, 3)


def test_partitions_are_one_line() -> None:
    assert without_partition(SUBJECT) == "evt.north.raw.hl7v2.*"
    assert without_partition("dlq.evt-north.his-out") == "dlq.evt-north.his-out"


def test_rates_are_those_of_the_last_seconds_and_memory_is_bounded() -> None:
    clock = FakeClock()
    totals = Totals(clock)
    for second in range(10):
        for _ in range(20):
            totals.add(look(Incoming(subject=SUBJECT, payload=envelope()), OneSender()))
        clock.advance(1.0 if second < 9 else 0)
    assert totals.rate() == pytest.approx(20, rel=0.25)
    clock.advance(60)
    assert totals.rate() == 0
    for n in range(2000):
        totals.add(look(Incoming(subject=f"evt.a.b{n}.c.1", payload=b"x"), OneSender()))
    assert len(totals.subjects) <= 1001
    assert totals.messages == 2200
