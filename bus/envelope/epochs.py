"""A sender's epoch keys: one secret for each audience and scope, wrapped once for every service that may read.

An epoch ends after its time or number of messages, with any change of its audience, and in a forked child. The secret
lives in memory only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from bus.envelope.limits import Limits
from bus.envelope.scopes import covers, scope_of
from bus.envelope.signed import sign_object
from bus.envelope.suites import (
    SECRET_BYTES,
    Entropy,
    SigningKey,
    commitment,
    kem_key_id,
    wrap,
    wrap_info,
)
from bus.envelope.types import Certificate, EpochId, MayNotRead
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

KEY_PACKAGE: Final = "KeyPackage"
"""The kind of the signed object."""

_Audience = tuple[tuple[str, bytes], ...]


@dataclass(slots=True, kw_only=True)
class Epoch:
    """One epoch key in use by its sender."""

    id: EpochId
    secret: bytes = field(repr=False)
    not_before_ms: int
    not_after_ms: int
    messages_left: int

    def is_usable(self, now_ms: int) -> bool:
        """Whether a batch made at `now_ms` may use it; False too when the clock went back before its begin."""
        return self.not_before_ms <= now_ms < self.not_after_ms and self.messages_left > 0


class EpochKeys:
    """The epochs of one sending instance; at most `limits.max_epochs`, the least recently resolved out first."""

    def __init__(
        self, key: SigningKey, certificate: Certificate, entropy: Entropy, limits: Limits
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._entropy = entropy
        self._limits = limits
        self._epochs: OrderedDict[tuple[_Audience, str], Epoch] = OrderedDict()
        self._unpublished: list[tuple[EpochId, bytes]] = []

    def __len__(self) -> int:
        return len(self._epochs)

    def resolve(self, readers: Sequence[Certificate], subject: str, now_ms: int) -> Epoch:
        """The epoch for these readers and the scope of `subject`; a new one where there is none to use.

        Raises `MayNotRead` for a reader who has no right to the subject or no key of this suite.
        """
        for reader in readers:
            self._check(reader, subject)
        scope = scope_of(subject)
        audience = tuple(sorted((reader.service, reader.kem_key) for reader in readers))
        epoch = self._epochs.get((audience, scope))
        if epoch is None or not epoch.is_usable(now_ms):
            epoch = self._begin(audience, scope, now_ms)
            self._epochs[audience, scope] = epoch
            if len(self._epochs) > self._limits.max_epochs:
                self._epochs.popitem(last=False)
        self._epochs.move_to_end((audience, scope))
        return epoch

    def take_unpublished(self) -> tuple[tuple[EpochId, bytes], ...]:
        """The signed key packages made since the last call: (epoch, serialised SignedObject)."""
        packages = tuple(self._unpublished)
        self._unpublished.clear()
        return packages

    def _check(self, reader: Certificate, subject: str) -> None:
        if not covers(reader.subscribe, subject):
            raise MayNotRead(f"{reader.service} may not read {subject}: its certificate says no")
        if reader.suite != self._key.suite.number:
            raise MayNotRead(
                f"{reader.service} has keys of suite {reader.suite}; "
                f"this service seals with suite {self._key.suite.number}"
            )

    def _begin(self, audience: _Audience, scope: str, now_ms: int) -> Epoch:
        suite, signer = self._key.suite, self._certificate.id
        secret = self._entropy(SECRET_BYTES)
        commit = commitment(suite, secret)
        not_after_ms = now_ms + self._limits.epoch_ms
        package = pb.KeyPackage(
            suite=suite.number,
            signer=signer,
            commit=commit,
            not_before_ms=now_ms,
            not_after_ms=not_after_ms,
            subjects=[scope],
        )
        for service, public in audience:
            key_id = kem_key_id(public)
            info = wrap_info(signer, commit, key_id, service)
            wrapped = wrap(suite.number, public, secret, info)
            package.to.add(service=service, key_id=key_id, wrapped=wrapped)
        body = package.SerializeToString(deterministic=True)
        epoch = EpochId(sha256(body).digest())
        self._unpublished.append((epoch, sign_object(KEY_PACKAGE, body, self._key)))
        return Epoch(
            id=epoch,
            secret=secret,
            not_before_ms=now_ms,
            not_after_ms=not_after_ms,
            messages_left=self._limits.epoch_messages,
        )


__all__ = ["KEY_PACKAGE", "Epoch", "EpochKeys"]
