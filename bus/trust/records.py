"""Records of instances, each signed by its instance: `bus.services.discovery.RecordSeals` on keys and directory."""

from __future__ import annotations

from typing import Final, Protocol

from google.protobuf.message import DecodeError

from bus.envelope.signed import open_object, sign_object
from bus.envelope.suites import SigningKey
from bus.envelope.types import Certificate, CertificateId, Directory, Reason, Refused
from schemas.clock import Clock
from schemas.generated.medmesh.control.v1 import control_pb2 as pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb

KIND: Final = "instance"


class CertificateSource(Protocol):
    """What is needed of `Trust`."""

    @property
    def directory(self) -> Directory:
        """Who is who."""
        ...

    async def fetch_certificate(self, certificate_id: CertificateId) -> bool:
        """Look for the certificate of an unknown signer. Raises `Unavailable`."""
        ...


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


class InstanceSeals:
    """Signs with one service's instance key; verifies against the directory as it is now."""

    def __init__(self, identity: Signer, trust: CertificateSource, clock: Clock) -> None:
        self._identity = identity
        self._trust = trust
        self._clock = clock

    @property
    def signer(self) -> bytes:
        """Id of the newest certificate."""
        return self._identity.certificate.id

    def seal(self, record: pb.InstanceRecord) -> bytes:
        """The record under the newest certificate's name, signed."""
        signed = pb.InstanceRecord()
        signed.CopyFrom(record)
        signed.signer = self.signer
        # the same record gives the same bytes: whoever verified them once knows them again
        body = signed.SerializeToString(deterministic=True)
        return sign_object(KIND, body, self._identity.signing_key)

    def open(self, raw: bytes, *, max_bytes: int) -> tuple[pb.InstanceRecord, Certificate]:
        """Verify; who signed is read from the record first. Raises `Refused`."""
        if len(raw) > max_bytes:
            raise Refused(Reason.TOO_LARGE, f"{len(raw)} bytes; at most {max_bytes} are allowed")
        signer = self._trust.directory.certificate(_signer(raw), at_ms=self._clock.now_ms())
        body = open_object(KIND, raw, signer.suite, signer.sign_key, max_bytes=max_bytes)
        return pb.InstanceRecord.FromString(body), signer

    async def fetch(self, refusal: Refused, raw: bytes) -> bool:
        """Fetch the certificate of a signer that was unknown. Raises `Unavailable`."""
        if refusal.reason is not Reason.UNKNOWN_SIGNER:
            return False
        return await self._trust.fetch_certificate(_signer(raw))


def _signer(raw: bytes) -> CertificateId:
    try:
        body = envelope_pb.SignedObject.FromString(raw).body
        return CertificateId(pb.InstanceRecord.FromString(body).signer)
    except DecodeError:
        raise Refused(Reason.MALFORMED, "no signed record of an instance") from None


__all__ = ["KIND", "CertificateSource", "InstanceSeals", "Signer"]
