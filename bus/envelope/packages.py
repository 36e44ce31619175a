"""A receiver's side of epoch keys: verified key packages, and the secrets that this service may unwrap."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.epochs import KEY_PACKAGE
from bus.envelope.limits import Limits
from bus.envelope.signed import open_object
from bus.envelope.suites import SECRET_BYTES, KemKey, Suite, commitment, suite_of, wrap_info
from bus.envelope.types import (
    Certificate,
    CertificateId,
    Directory,
    EpochId,
    KeyPackageMissing,
    Reason,
    Refused,
)
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

_MAX_SCOPES: Final = 64
_MAX_OWN_WRAPS: Final = 16  # wraps for one service: one for each living key generation


@dataclass(slots=True, kw_only=True)
class KnownEpoch:
    """A key package that its signer signed, with the secret as soon as it is needed."""

    id: EpochId
    suite: Suite
    signer: bytes
    commit: bytes
    not_before_ms: int
    not_after_ms: int
    scopes: tuple[str, ...]
    raw_digest: bytes
    """SHA-256 of the SignedObject as it came."""
    own: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    """(key id, wrapped secret) of this service."""
    secret: bytes = field(default=b"", repr=False)
    """b"" until it was unwrapped."""


class KnownEpochs:
    """The key packages that one service learned; at most `limits.max_epochs`, least recently used out first.

    `kem_keys` is the service's own map from key id to key and is looked at anew for each unwrapping, so that a
    generation that arrives later opens packages learned before.
    """

    def __init__(
        self,
        service: str,
        kem_keys: Mapping[bytes, KemKey],
        directory: Directory,
        limits: Limits,
    ) -> None:
        self._service = service
        self._kem_keys = kem_keys
        self._directory = directory
        self._limits = limits
        self._known: OrderedDict[EpochId, KnownEpoch] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, raw: bytes) -> KnownEpoch:
        """Verify a serialised SignedObject(KeyPackage) and keep it.

        Raises `Refused`: KEY_PACKAGE_INVALID, or what the directory says against its signer.
        """
        claimed = self._claims(raw)
        certificate = self._directory.certificate(
            CertificateId(claimed.signer), at_ms=claimed.not_before_ms
        )
        try:
            body = open_object(
                KEY_PACKAGE,
                raw,
                certificate.suite,
                certificate.sign_key,
                max_bytes=self._limits.max_key_package_bytes,
            )
        except Refused as refused:
            raise _invalid(f"not signed by the sender it names ({refused.reason.value})") from None
        epoch = self._read(raw, body, certificate)
        self._known[epoch.id] = epoch
        self._known.move_to_end(epoch.id)
        if len(self._known) > self._limits.max_epochs:
            self._known.popitem(last=False)
        return epoch

    def require(self, epoch_id: EpochId, inline: bytes) -> KnownEpoch:
        """The epoch with its secret. `inline` is the key package that came with the message, or b"".

        Raises `KeyPackageMissing`, or `Refused`: KEY_PACKAGE_INVALID, NOT_A_RECIPIENT, COMMITMENT_MISMATCH, and what
        the directory says against the signer.
        """
        epoch = self._known.get(epoch_id)
        if inline and (epoch is None or epoch.raw_digest != sha256(inline).digest()):
            epoch = self.learn(inline)
            if epoch.id != epoch_id:
                raise _invalid("the inline key package is not the one that the message names")
        if epoch is None:
            raise KeyPackageMissing(epoch_id)
        self._known.move_to_end(epoch_id)
        if not epoch.secret:
            epoch.secret = self._unwrap(epoch)
        return epoch

    def _claims(self, raw: bytes) -> pb.KeyPackage:
        """Whose certificate to ask for; not trusted before the signature is verified with it."""
        if len(raw) > self._limits.max_key_package_bytes:
            raise _invalid(
                f"it has {len(raw)} bytes; at most {self._limits.max_key_package_bytes} are allowed"
            )
        try:
            signed = pb.SignedObject.FromString(raw)
            return pb.KeyPackage.FromString(signed.body)
        except DecodeError:
            raise _invalid("not the encoding of a key package") from None

    def _read(self, raw: bytes, body: bytes, certificate: Certificate) -> KnownEpoch:
        signed = pb.SignedObject.FromString(raw)
        if pb.SignedObject(kind=signed.kind, body=body, sig=signed.sig).SerializeToString() != raw:
            raise _invalid("it holds more than what was signed")
        package = pb.KeyPackage.FromString(body)
        if package.suite != certificate.suite or len(package.commit) != SECRET_BYTES:
            raise _invalid("its suite is not the one of its signer, or its commitment is none")
        if len(package.to) > self._limits.max_recipients or len(package.subjects) > _MAX_SCOPES:
            raise _invalid(
                f"it names {len(package.to)} recipients and {len(package.subjects)} scopes; "
                f"at most {self._limits.max_recipients} and {_MAX_SCOPES} are allowed"
            )
        own = [(r.key_id, r.wrapped) for r in package.to if r.service == self._service]
        return KnownEpoch(
            id=EpochId(sha256(body).digest()),
            suite=suite_of(package.suite),
            signer=certificate.id,
            commit=package.commit,
            not_before_ms=package.not_before_ms,
            not_after_ms=package.not_after_ms,
            scopes=tuple(package.subjects),
            raw_digest=sha256(raw).digest(),
            own=tuple(own[:_MAX_OWN_WRAPS]),
        )

    def _unwrap(self, epoch: KnownEpoch) -> bytes:
        for key_id, wrapped in epoch.own:
            key = self._kem_keys.get(key_id)
            if key is None or key.suite is not epoch.suite:
                continue
            secret = key.unwrap(
                wrapped, wrap_info(epoch.signer, epoch.commit, key_id, self._service)
            )
            if len(secret) != SECRET_BYTES or commitment(epoch.suite, secret) != epoch.commit:
                raise Refused(
                    Reason.COMMITMENT_MISMATCH, "the wrapped secret is not the one committed to"
                )
            return secret
        reason = "none of its keys is named" if epoch.own else "it is not named"
        raise Refused(Reason.NOT_A_RECIPIENT, f"{self._service} cannot open this epoch: {reason}")


def _invalid(detail: str) -> Refused:
    return Refused(Reason.KEY_PACKAGE_INVALID, detail)


__all__ = ["KnownEpoch", "KnownEpochs"]
