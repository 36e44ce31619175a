"""The envelope's own nouns: what goes in, what travels, what comes out, and why something is refused.

Trust is a type here: bytes from the wire stay `SealedEnvelope` until `Opener.open` has returned an `Envelope`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple, NewType, Protocol

from schemas.errors import MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb

SealedEnvelope = NewType("SealedEnvelope", bytes)
"""A serialised envelope: nothing in it is trusted yet."""
CertificateId = NewType("CertificateId", bytes)
"""SHA-256(ServiceCert body)[:16]."""
EpochId = NewType("EpochId", bytes)
"""SHA-256(KeyPackage body), 32 bytes."""


class Reason(StrEnum):
    """Why an envelope was refused. Stable: counted, logged and shown to operators."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    SUBJECT_MISMATCH = "subject_mismatch"
    SUITE_NOT_ALLOWED = "suite_not_allowed"
    UNKNOWN_SIGNER = "unknown_signer"
    SIGNER_REVOKED = "signer_revoked"
    SIGNER_EXPIRED = "signer_expired"
    DIRECTORY_STALE = "directory_stale"
    BAD_PATH = "bad_path"
    BAD_SIGNATURE = "bad_signature"
    MAY_NOT_PUBLISH = "may_not_publish"
    EXPIRED = "expired"
    CLOCK_SKEW = "clock_skew"
    REPLAYED = "replayed"
    KEY_PACKAGE_MISSING = "key_package_missing"
    KEY_PACKAGE_INVALID = "key_package_invalid"
    NOT_A_RECIPIENT = "not_a_recipient"
    COMMITMENT_MISMATCH = "commitment_mismatch"
    DECRYPTION_FAILED = "decryption_failed"
    BAD_CONTENT = "bad_content"


class Refused(MeshError):
    """An envelope that must not be believed. The message never holds content."""

    code: ClassVar[str] = "envelope_refused"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"envelope refused ({reason.value}): {detail}")
        self.reason = reason


class KeyPackageMissing(Refused):
    """The opener does not know the key package yet: fetch KV `keys.<epoch hex>`, `learn` it, open again."""

    retryable: ClassVar[bool] = True

    def __init__(self, epoch: EpochId) -> None:
        super().__init__(Reason.KEY_PACKAGE_MISSING, f"no key package for epoch {epoch.hex()[:16]}")
        self.epoch = epoch


class MayNotRead(MeshError, PermissionError):
    """A named reader has no right to the subject: the sender refuses to wrap a key for it."""

    code: ClassVar[str] = "may_not_read"


class NobodyMayRead(MeshError, PermissionError):
    """No service may read the subject: a message sealed for nobody would be lost, so it is not sealed."""

    code: ClassVar[str] = "nobody_may_read"


class ContentTooLarge(MeshError, ValueError):
    """The message is larger than the setting `max_envelope_bytes` allows; no receiver would take it."""

    code: ClassVar[str] = "content_too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A verified service certificate: what the directory answers with."""

    id: CertificateId
    service: str
    """SPIFFE id, e.g. `spiffe://st-elsewhere/north/his-out`."""
    instance: str
    suite: int
    sign_key: bytes = field(repr=False)
    kem_key: bytes = field(repr=False)
    seal_key: bytes = field(repr=False)
    kem_generation: int
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    not_before_ms: int
    not_after_ms: int


class Directory(Protocol):
    """Who is who. Answers from memory: envelope code never waits."""

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        """Return the certificate of whoever signed at `at_ms` (a batch's `created_ms`; now, for what is signed now).

        A message may wait in a stream for longer than its signer's certificate lives, so the window is compared with
        `at_ms`, not with today, and ended certificates stay known for the streams' retention. A revoked one is refused
        for every `at_ms`. A stolen key can therefore date back, but only into its own certificate's window, and only
        until it is revoked.

        Raises `Refused` (UNKNOWN_SIGNER, SIGNER_REVOKED, SIGNER_EXPIRED, DIRECTORY_STALE). UNKNOWN_SIGNER may mean that
        the certificate has not arrived yet: `bus.trust.Trust.fetch_certificate` asks for it.
        """
        ...

    def readers(self, subject: str) -> Sequence[Certificate]:
        """One live certificate for each service (its newest KEM generation) whose rights let it read `subject`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """One message to be sealed."""

    subject: str
    content: content_pb.Content = field(repr=False)
    """`pad` is set by the sealer; `raw_size` and `encoding` by the caller."""
    reply_to: str = ""
    in_reply_to: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """What one call of `Sealer.seal` gives: envelopes in the order given, and packages to publish before them."""

    envelopes: tuple[SealedEnvelope, ...]
    key_packages: tuple[tuple[EpochId, bytes], ...]
    """(epoch, serialised SignedObject) that must be in KV `keys` before an envelope leaves; empty in most calls."""
    leaves: tuple[bytes, ...] = ()
    """Leaf hash of each envelope: what the response to a request names as `in_reply_to`."""


class Envelope(NamedTuple):
    """A message that was opened: authentic, for this receiver, on this subject, not seen before.

    A named tuple: making a frozen dataclass of this size takes a tenth of the time of opening.
    """

    subject: str
    sender: Certificate
    content: content_pb.Content
    leaf: bytes
    """Leaf hash: the identity of the sealed message, for evidence and for the replay window."""
    run: bytes
    batch_seq: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which has no meaning for a message
    created_ms: int
    expires_ms: int
    gap: int
    """Messages of this sender on this subject missing before this one; negative when it comes late; 0 in order."""
    reply_to: str = ""
    in_reply_to: bytes = b""

    def __repr__(self) -> str:
        """Without the content, which is protected data."""
        return f"Envelope(subject={self.subject!r}, sender={self.sender.service!r}, leaf={self.leaf.hex()!r})"


__all__ = [
    "Certificate",
    "CertificateId",
    "ContentTooLarge",
    "Directory",
    "Envelope",
    "EpochId",
    "KeyPackageMissing",
    "MayNotRead",
    "NobodyMayRead",
    "Plain",
    "Reason",
    "Refused",
    "SealedBatch",
    "SealedEnvelope",
]
