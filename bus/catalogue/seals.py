"""Bindings as they lie in the bucket: signed by their writer, with the certificate by which anyone can verify them.

A binding holds for years, a certificate for a day. So the certificate travels with what it signed: it is verified
against the root, must not be revoked, must have been in its window when the binding was written, and must carry the
right to write bindings. What the carrier adds, changes, swaps or deletes is refused; what it withholds stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from bus.envelope.signed import open_object, sign_object
from bus.envelope.suites import SigningKey
from bus.envelope.types import Certificate, Reason, Refused
from bus.trust.objects import Head, open_certificate, service_token
from bus.trust.root import Root
from schemas import subjects
from schemas.clock import Clock
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb
from schemas.registry.errors import SchemaError
from schemas.registry.models import Revision, SignedRevision, decode, encode
from schemas.registry.patterns import is_of_site, key_of
from schemas.subjects import SiteId

KIND: Final = "SchemaBinding"
MAX_RECORD_BYTES: Final = 256 * 1024
SKEW_MS: Final = 120_000


class Signer(Protocol):
    """What is needed of a `ServiceIdentity`."""

    @property
    def certificate(self) -> Certificate:
        """The newest certificate."""
        ...

    @property
    def signing_key(self) -> SigningKey:
        """The instance's own key."""
        ...


class Heads(Protocol):
    """What is needed of a `CertificateDirectory`."""

    @property
    def head(self) -> Head | None:
        """The newest head: who is revoked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """A binding that was verified."""

    revision: Revision
    raw: bytes = field(repr=False)
    """As it was signed."""
    writer: str
    """The service that wrote it."""
    certificate: bytes
    """Id of the certificate that it was written with."""


class BindingSigner:
    """Signs in the name of one identity. `certificate` is its certificate as the authority signed it."""

    def __init__(self, identity: Signer, certificate: bytes) -> None:
        self._identity = identity
        self._certificate = certificate

    def seal(self, revision: Revision) -> bytes:
        """The revision, signed. Raises `SchemaError` when it is too large to be read again."""
        body = encode(SignedRevision(certificate=self._certificate, revision=revision))
        raw = sign_object(KIND, body, self._identity.signing_key)
        if len(raw) > MAX_RECORD_BYTES:
            raise SchemaError(
                f"the binding has {len(raw)} bytes; at most {MAX_RECORD_BYTES} are read"
            )
        return raw


class BindingVerifier:
    """Opens what lies in the bucket of one site's bindings."""

    def __init__(self, root: Root, heads: Heads, *, site: SiteId, clock: Clock) -> None:
        self._root = root
        self._heads = heads
        self._site = site
        self._clock = clock

    def open(self, key: str, raw: bytes) -> Believed:
        """Verify one record. Raises `Refused`, and `SchemaError` for what is signed but no binding of this key."""
        if len(raw) > MAX_RECORD_BYTES:
            raise Refused(Reason.TOO_LARGE, f"a binding has {len(raw)} bytes")
        signed = _unverified(raw)
        certificate = self._certificate(signed)
        open_object(KIND, raw, certificate.suite, certificate.sign_key, max_bytes=MAX_RECORD_BYTES)
        revision = signed.revision
        pattern = revision.binding.pattern
        if key_of(pattern) != key:
            raise Refused(Reason.SUBJECT_MISMATCH, "a binding lies under the key of another one")
        if not is_of_site(self._site, pattern):
            raise Refused(Reason.SUBJECT_MISMATCH, "a binding of subjects of another site")
        return Believed(
            revision=revision,
            raw=raw,
            writer=service_token(certificate.service),
            certificate=certificate.id,
        )

    def _certificate(self, signed: SignedRevision) -> Certificate:
        certificate = open_certificate(signed.certificate, self._root)
        head, written_ms = self._heads.head, signed.revision.written_ms
        if head is not None and certificate.id in head.revoked:
            raise Refused(Reason.SIGNER_REVOKED, f"{certificate.service} is revoked")
        if not (
            certificate.not_before_ms - SKEW_MS <= written_ms <= certificate.not_after_ms + SKEW_MS
        ):
            raise Refused(Reason.SIGNER_EXPIRED, f"{certificate.service} was not in its window")
        if written_ms > self._clock.now_ms() + SKEW_MS:
            raise Refused(Reason.CLOCK_SKEW, "a binding is from the future")
        wanted = subjects.schema_bindings(self._site)
        if not any(subjects.matches(right, wanted) for right in certificate.publish):
            raise Refused(
                Reason.MAY_NOT_PUBLISH, f"{certificate.service} may not write bindings here"
            )
        return certificate


def claimed_key(raw: bytes) -> str:
    """The key that a record says it belongs under; nothing is verified. Raises `Refused`."""
    return key_of(_unverified(raw).revision.binding.pattern)


def _unverified(raw: bytes) -> SignedRevision:
    """Read who signed before it is verified: the certificate is checked against the root next."""
    try:
        return decode(envelope_pb.SignedObject.FromString(raw).body)
    except (DecodeError, SchemaError):
        raise Refused(Reason.MALFORMED, "no signed binding") from None


__all__ = [
    "KIND",
    "MAX_RECORD_BYTES",
    "Believed",
    "BindingSigner",
    "BindingVerifier",
    "Signer",
    "claimed_key",
]
