"""Where envelope and trust meet events: one service's identity as `bus.envelope.seals.Seals`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError

from bus.envelope import Opener, Sealer
from bus.envelope.sealer import DEFAULT_TTL_MS
from bus.envelope.seals import Opening
from bus.envelope.types import (
    Certificate,
    CertificateId,
    Envelope,
    EpochId,
    KeyPackageMissing,
    Plain,
    Reason,
    Refused,
    SealedBatch,
)
from bus.events.content import service_name
from bus.transport.protocol import NotFound
from bus.trust.identity import ServiceIdentity
from bus.trust.mesh import Trust
from schemas.clock import Clock
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb


class ServiceOpening:
    """One replay window: what a durable consumer opens with."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener

    def open(self, subject: str, sealed: bytes, *, authorised_replay: bool = False) -> Envelope:
        """See `bus.envelope.seals.Opening.open`."""
        if authorised_replay:
            return self.opener.open_authorised(subject, sealed)
        return self.opener.open(subject, sealed)

    @property
    def chain_breaks(self) -> int:
        """See `bus.envelope.seals.Opening.chain_breaks`."""
        return self.opener.chain_breaks

    def mark(self, envelope: Envelope) -> bytes:
        """See `bus.envelope.seals.Opening.mark`."""
        return self.opener.acknowledge(envelope)

    def snapshot(self) -> bytes:
        """See `bus.envelope.seals.Opening.snapshot`."""
        return self.opener.window_to_bytes()

    def restore(self, window: bytes, marks: Iterable[bytes]) -> None:
        """See `bus.envelope.seals.Opening.restore`."""
        self.opener.restore_window(window, marks)


class ServiceSeals:
    """Seals and opens in the name of one service; follows its certificate as it is renewed."""

    def __init__(
        self,
        *,
        identity: ServiceIdentity,
        trust: Trust,
        clock: Clock,
        ttl_ms: int = DEFAULT_TTL_MS,
    ) -> None:
        self._identity = identity
        self._trust = trust
        self._clock = clock
        self._sealer = Sealer(
            identity.signing_key, identity.certificate, trust.directory, clock, ttl_ms=ttl_ms
        )
        identity.on_renewed(self._renew)

    def _renew(self, certificate: Certificate) -> None:
        self._sealer.renew(self._identity.signing_key, certificate)

    @property
    def service(self) -> str:
        """Name of the service."""
        return service_name(self._identity.service)

    def seal(self, plains: Sequence[Plain]) -> SealedBatch:
        """See `bus.envelope.seals.Seals.seal`."""
        return self._sealer.seal(plains)

    def opener(self, *, replay_window: bool = True) -> Opening:
        """See `bus.envelope.seals.Seals.opener`."""
        return ServiceOpening(
            Opener(
                self._identity.service,
                self._identity.kem_keys,
                self._trust.directory,
                self._clock,
                keeps_window=replay_window,
            )
        )

    def short_lived(self, ttl_s: float) -> ServiceSeals:
        """See `bus.envelope.seals.Seals.short_lived`."""
        return ServiceSeals(
            identity=self._identity, trust=self._trust, clock=self._clock, ttl_ms=int(ttl_s * 1000)
        )

    async def publish_package(self, epoch: EpochId, package: bytes) -> None:
        """See `bus.envelope.seals.Seals.publish_package`."""
        await self._trust.store_key_package(epoch, package)

    async def supply(self, refusal: Refused, sealed: bytes, opener: Opening) -> bool:
        """See `bus.envelope.seals.Seals.supply`."""
        if isinstance(refusal, KeyPackageMissing):
            try:
                package = await self._trust.key_package(refusal.epoch)
            except NotFound:
                return False
            if isinstance(opener, ServiceOpening):
                opener.opener.learn(package)
            return True
        if refusal.reason is Reason.UNKNOWN_SIGNER:
            signer = _signer(sealed)
            return signer is not None and await self._trust.fetch_certificate(signer)
        return False


def _signer(sealed: bytes) -> CertificateId | None:
    try:
        outside = envelope_pb.Envelope.FromString(sealed)
        return CertificateId(envelope_pb.BatchHeader.FromString(outside.batch).signer)
    except DecodeError:
        return None


__all__ = ["ServiceOpening", "ServiceSeals"]
