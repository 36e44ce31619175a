"""Certificates, requests for them and directory heads: signed bytes that are checked before they are believed."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from bus.envelope.merkle import tree
from bus.envelope.signed import open_object, sign_object
from bus.envelope.suites import KemKey, SigningKey, check_kem_public
from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from bus.trust.root import Root, parsed_object
from schemas import subjects
from schemas.errors import SubjectError
from schemas.generated.medmesh.control.v1 import control_pb2 as pb

CERTIFICATE: Final = "ServiceCert"
REQUEST: Final = "CertificateRequest"
HEAD: Final = "DirectoryHead"
MAX_CERTIFICATE_BYTES: Final = 64 * 1024
MAX_HEAD_BYTES: Final = 900 * 1024
"""Fits a NATS message of 1 MiB: about 50 000 certificates."""
MAX_PATTERNS: Final = 256
MAX_HEAD_LIFETIME_MS: Final = 3_600_000
ID_BYTES: Final = 16

_INSTANCE: Final = re.compile(r"[0-9a-f]{16}\Z")
_SPIFFE: Final = re.compile(r"spiffe://([a-z0-9_-]{1,63})/([a-z0-9_-]{1,63})/([a-z0-9_-]{1,63})\Z")


def spiffe_id(mesh: str, site: str, service: str) -> str:
    """`spiffe://<mesh>/<site>/<service>`. Raises `SubjectError` for a part that is no token."""
    parts = [
        subjects.token(part, what=what)
        for part, what in zip((mesh, site, service), ("mesh", "site", "service"), strict=True)
    ]
    return "spiffe://" + "/".join(parts)


def service_token(spiffe: str) -> str:
    """The last part of a SPIFFE id that was checked: the service's token in keys."""
    return spiffe.rpartition("/")[2]


def certificate_id(body: bytes) -> CertificateId:
    """SHA-256(ServiceCert body)[:16]."""
    return CertificateId(hashlib.sha256(body).digest()[:ID_BYTES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an instance asks the authority to certify."""

    service: str
    """SPIFFE id."""
    instance: str
    """16 hexadecimal digits."""
    sign: SigningKey = field(repr=False)
    kem_key: bytes = field(repr=False)
    """Public KEM key of the service. The instance need not hold the private half yet: another one seals it to
    `seal`. Naming a key that one never gets only makes one's own messages unreadable, so no proof is asked."""
    kem_generation: int
    seal: KemKey = field(repr=False)
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def request(self, *, now_ms: int) -> bytes:
        """The request, signed with the instance's key: that is the proof of its possession."""
        body = pb.ServiceCert(
            spiffe_id=self.service,
            instance=self.instance,
            sign_key=self.sign.public_bytes,
            kem_key=self.kem_key,
            kem_generation=self.kem_generation,
            publish=self.publish,
            subscribe=self.subscribe,
            not_before_ms=now_ms,
            serial=secrets.token_bytes(ID_BYTES),
            seal_key=self.seal.public_bytes,
            suite=self.sign.suite.number,
        )
        return sign_object(REQUEST, body.SerializeToString(), self.sign)


def open_request(raw: bytes) -> pb.ServiceCert:
    """Check a request's form and its proof of possession. Raises `Refused`."""
    signed = parsed_object(REQUEST, raw, max_bytes=MAX_CERTIFICATE_BYTES)
    wanted = _parse(pb.ServiceCert(), signed.body, REQUEST)
    open_object(REQUEST, raw, wanted.suite, wanted.sign_key, max_bytes=MAX_CERTIFICATE_BYTES)
    check_form(wanted)
    check_kem_public(wanted.suite, wanted.kem_key)
    check_kem_public(wanted.suite, wanted.seal_key)
    return wanted


def check_form(cert: pb.ServiceCert) -> tuple[str, str, str]:
    """Check names and patterns of a certificate and return (mesh, site, service). Raises `Refused` (MALFORMED)."""
    name = _SPIFFE.match(cert.spiffe_id)
    if name is None:
        raise _malformed("its SPIFFE id is not spiffe://<mesh>/<site>/<service>")
    if (
        not _INSTANCE.match(cert.instance)
        or len(cert.serial) != ID_BYTES
        or cert.kem_generation < 1
    ):
        raise _malformed("its instance, serial or generation is not allowed")
    if len(cert.publish) > MAX_PATTERNS or len(cert.subscribe) > MAX_PATTERNS:
        raise _malformed(f"it has more than {MAX_PATTERNS} patterns")
    try:
        for pattern in (*cert.publish, *cert.subscribe):
            subjects.pattern(pattern)
    except SubjectError as error:
        raise _malformed(str(error)) from None
    return name[1], name[2], name[3]


def open_certificate(raw: bytes, root: Root) -> Certificate:
    """Verify a certificate against the root and return it. Its window and revocation are the directory's matter.

    Raises `Refused`: TOO_LARGE, MALFORMED, BAD_SIGNATURE, SUITE_NOT_ALLOWED.
    """
    body = root.open(CERTIFICATE, raw, max_bytes=MAX_CERTIFICATE_BYTES)
    cert = _parse(pb.ServiceCert(), body, CERTIFICATE)
    if check_form(cert)[0] != root.mesh or cert.issuer != root.id:
        raise _malformed("it belongs to another mesh or issuer")
    if cert.not_after_ms <= cert.not_before_ms:
        raise _malformed("it ends before it begins")
    return from_wire(cert, certificate_id(body))


def from_wire(cert: pb.ServiceCert, identifier: CertificateId) -> Certificate:
    """The envelope's form of a certificate that was verified."""
    return Certificate(
        id=identifier,
        service=cert.spiffe_id,
        instance=cert.instance,
        suite=cert.suite,
        sign_key=cert.sign_key,
        kem_key=cert.kem_key,
        seal_key=cert.seal_key,
        kem_generation=cert.kem_generation,
        publish=tuple(cert.publish),
        subscribe=tuple(cert.subscribe),
        not_before_ms=cert.not_before_ms,
        not_after_ms=cert.not_after_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A verified directory head: which certificates are live and which are revoked, at one moment."""

    version: int
    issued_ms: int
    expires_ms: int
    live: frozenset[bytes] = field(repr=False)
    revoked: frozenset[bytes] = field(repr=False)
    digest: bytes
    """SHA-256 of the signed body: two heads of one version must be one head."""


def head_body(
    *,
    version: int,
    issued_ms: int,
    expires_ms: int,
    live: Sequence[bytes],
    revoked: Sequence[bytes],
) -> bytes:
    """The body of a head, ready to be signed. Ids are sorted here."""
    return pb.DirectoryHead(
        version=version,
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        root=merkle_root(sorted(live)),
        live=sorted(live),
        revoked=sorted(revoked),
    ).SerializeToString()


def open_head(raw: bytes, root: Root) -> Head:
    """Verify a head against the root. Whether it is fresh, or older than another, is the directory's matter.

    Raises `Refused`: TOO_LARGE, MALFORMED, BAD_SIGNATURE, SUITE_NOT_ALLOWED.
    """
    body = root.open(HEAD, raw, max_bytes=MAX_HEAD_BYTES)
    head = _parse(pb.DirectoryHead(), body, HEAD)
    live, revoked = list(head.live), list(head.revoked)
    if live != sorted(set(live)) or any(len(one) != ID_BYTES for one in (*live, *revoked)):
        raise _malformed("its ids are not sorted, not unique or of another length")
    if head.root != merkle_root(live):
        raise _malformed("its root is not that of its certificates")
    if not 0 < head.expires_ms - head.issued_ms <= MAX_HEAD_LIFETIME_MS:
        raise _malformed("it lives for longer than an hour")
    return Head(
        version=head.version,
        issued_ms=head.issued_ms,
        expires_ms=head.expires_ms,
        live=frozenset(live),
        revoked=frozenset(revoked),
        digest=hashlib.sha256(body).digest(),
    )


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 §2.1 tree hash over `leaves`; SHA-256 of nothing for an empty list."""
    if not leaves:
        return hashlib.sha256().digest()
    return tree([hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves])[-1][0]


_MessageT = TypeVar("_MessageT", bound=Message)


def _parse(into: _MessageT, body: bytes, kind: str) -> _MessageT:
    try:
        into.ParseFromString(body)
    except DecodeError:
        raise Refused(Reason.MALFORMED, f"the body of a {kind} does not parse") from None
    return into


def _malformed(detail: str) -> Refused:
    return Refused(Reason.MALFORMED, detail)


__all__ = [
    "CERTIFICATE",
    "HEAD",
    "ID_BYTES",
    "MAX_CERTIFICATE_BYTES",
    "MAX_HEAD_BYTES",
    "REQUEST",
    "Head",
    "Wanted",
    "certificate_id",
    "check_form",
    "from_wire",
    "head_body",
    "merkle_root",
    "open_certificate",
    "open_head",
    "open_request",
    "service_token",
    "spiffe_id",
]
