"""A small hospital for envelope tests: parties with keys, a directory in memory, a clock that tests move."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import ParamSpec

from bus.envelope import (
    Certificate,
    CertificateId,
    Envelope,
    KemKey,
    KeyPackageMissing,
    Limits,
    Opener,
    Plain,
    Reason,
    Refused,
    SealedBatch,
    Sealer,
    SigningKey,
)
from bus.envelope.scopes import covers
from schemas.clock import FakeClock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb

SUBJECT = "evt.north.raw.hl7v2.17"
PATTERN = "evt.north.raw.>"
TTL_MS = 3_600_000

P = ParamSpec("P")

_serial = count()


def counted_entropy(seed: bytes) -> Callable[[int], bytes]:
    """Random bytes that are the same in each run."""
    numbers = count()

    def entropy(size: int) -> bytes:
        return hashlib.shake_256(seed + next(numbers).to_bytes(8, "big")).digest(size)

    return entropy


def content(body: bytes = b"MSH|^~\\&|", *, kind: str = "hl7v2/ADT^A01") -> content_pb.Content:
    return content_pb.Content(
        id=hashlib.sha256(body).digest()[:16],
        type=kind,
        encoding=content_pb.BODY_ENCODING_IDENTITY,
        raw_size=len(body),
        body=body,
        source="emr-in",
        received_ms=1_800_000_000_000,
    )


def plain(body: bytes = b"MSH|^~\\&|", *, subject: str = SUBJECT) -> Plain:
    return Plain(subject=subject, content=content(body))


class Book:
    """A directory whose entries tests change at will."""

    def __init__(self) -> None:
        self.certificates: dict[CertificateId, Certificate] = {}
        self.revoked: set[CertificateId] = set()
        self.is_fresh = True
        self.asked_at: list[int] = []

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        self.asked_at.append(at_ms)
        if not self.is_fresh:
            raise Refused(Reason.DIRECTORY_STALE, "the directory is old")
        found = self.certificates.get(certificate_id)
        if found is None:
            raise Refused(Reason.UNKNOWN_SIGNER, "nobody")
        if certificate_id in self.revoked:
            raise Refused(Reason.SIGNER_REVOKED, "revoked")
        if not found.not_before_ms <= at_ms <= found.not_after_ms:
            raise Refused(Reason.SIGNER_EXPIRED, "out of date")
        return found

    def readers(self, subject: str) -> Sequence[Certificate]:
        found = {
            certificate.service: certificate
            for certificate in self.certificates.values()
            if covers(certificate.subscribe, subject) and certificate.id not in self.revoked
        }
        return list(found.values())


@dataclass
class Party:
    """A service with one instance."""

    key: SigningKey
    kem: KemKey
    certificate: Certificate


@dataclass
class World:
    """A sender `emr-in` and services that may read its events."""

    suite: int = 1
    readers: int = 1
    clock: FakeClock = field(default_factory=FakeClock)
    book: Book = field(default_factory=Book)
    packages: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sender = self.party("emr-in", publish=(PATTERN,))
        self.services = [
            self.party(f"reader-{i}", subscribe=(PATTERN,)) for i in range(self.readers)
        ]

    def party(
        self,
        name: str,
        *,
        publish: tuple[str, ...] = (),
        subscribe: tuple[str, ...] = (),
        key: SigningKey | None = None,
        suite: int | None = None,
    ) -> Party:
        suite = suite or self.suite
        key = key or SigningKey.generate(suite)
        kem = KemKey.generate(suite)
        now_ms = self.clock.now_ms()
        certificate = Certificate(
            id=CertificateId(
                hashlib.sha256(f"{name} {next(_serial)}".encode() + key.public_bytes).digest()[:16]
            ),
            service=f"spiffe://h/north/{name}",
            instance=f"{name}-1",
            suite=suite,
            sign_key=key.public_bytes,
            kem_key=kem.public_bytes,
            seal_key=b"",
            kem_generation=1,
            publish=publish,
            subscribe=subscribe,
            not_before_ms=now_ms - 1000,
            not_after_ms=now_ms + 86_400_000,
        )
        self.book.certificates[certificate.id] = certificate
        return Party(key, kem, certificate)

    def amend(self, party: Party, **changes: object) -> None:
        """Replace a party's certificate by one with other fields and the same id."""
        party.certificate = replace(party.certificate, **changes)  # type: ignore[arg-type]  # tests name real fields
        self.book.certificates[party.certificate.id] = party.certificate

    def sealer(
        self, party: Party | None = None, *, ttl_ms: int = TTL_MS, limits: Limits | None = None
    ) -> Sealer:
        party = party or self.sender
        return Sealer(
            party.key, party.certificate, self.book, self.clock, ttl_ms=ttl_ms, limits=limits
        )

    def opener(self, party: Party | None = None, *, limits: Limits | None = None) -> Opener:
        party = party or self.services[0]
        kem_keys = {party.kem.id: party.kem}
        return Opener(party.certificate.service, kem_keys, self.book, self.clock, limits=limits)

    def seal(self, sealer: Sealer, *plains: Plain) -> list[bytes]:
        """Seal and store the key packages."""
        sealed = sealer.seal(plains)
        self.store(sealed)
        return list(sealed.envelopes)

    def store(self, sealed: SealedBatch) -> None:
        self.packages.update(sealed.key_packages)

    def receive(self, opener: Opener, raw: bytes, *, subject: str = SUBJECT) -> Envelope:
        """Open, fetching the key package where it is missing, as a consumer does."""
        try:
            return opener.open(subject, raw)
        except KeyPackageMissing as missing:
            if missing.epoch not in self.packages:
                raise
            opener.learn(self.packages[missing.epoch])
        return opener.open(subject, raw)


def reason_of(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Reason:
    """The reason for which a call is refused; fails the test when it is not."""
    try:
        call(*args, **kwargs)
    except Refused as refused:
        return refused.reason
    raise AssertionError("it was accepted")
