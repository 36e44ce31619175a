"""One service as this process runs it: its name, its certificate, the keys by which it signs and reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bus.envelope.suites import KemKey, SigningKey
from bus.envelope.types import Certificate, CertificateId
from bus.trust.generations import Generations
from bus.trust.instances import InstanceKeys

_OWN_KEPT = 4  # certificates that shares under way may still name


class ServiceIdentity:
    """What a sealer and an opener need. It stays the same object while certificates and generations change.

    `kem_keys` is a live view: key id to key of every generation held, the next ones and those taken over included.
    """

    def __init__(
        self, service: str, keys: InstanceKeys, generations: Generations, certificate: Certificate
    ) -> None:
        self.service = service
        """SPIFFE id: `spiffe://<mesh>/<site>/<service>`."""
        self._keys = keys
        self._generations = generations
        self._certificate = certificate
        self._own: list[CertificateId] = [certificate.id]
        self._listeners: list[Callable[[Certificate], None]] = []

    @property
    def instance(self) -> str:
        """The name of this instance: 16 hexadecimal digits, the same after a restart."""
        return self._keys.instance

    @property
    def certificate(self) -> Certificate:
        """The newest certificate."""
        return self._certificate

    @property
    def signing_key(self) -> SigningKey:
        """The instance's own key: it never leaves this keystore."""
        return self._keys.sign

    @property
    def seal_keys(self) -> tuple[KemKey, ...]:
        """The instance's sealing keys, newest last: shared service keys are sealed to them."""
        return tuple(self._keys.seals)

    @property
    def kem_keys(self) -> Mapping[bytes, KemKey]:
        """Key id to KEM key, of every generation held. A live view."""
        return self._generations.keys

    @property
    def can_read(self) -> bool:
        """Whether the key that its certificate names is held: false while another instance has not shared it yet."""
        return any(key.public_bytes == self._certificate.kem_key for key in self.kem_keys.values())

    @property
    def own_certificates(self) -> tuple[CertificateId, ...]:
        """Ids of the newest certificate and the few before it."""
        return tuple(self._own)

    def on_renewed(self, call: Callable[[Certificate], None]) -> None:
        """Call back with each new certificate, from the event loop: `sealer.renew(identity.signing_key, it)`."""
        self._listeners.append(call)

    def renewed(self, certificate: Certificate) -> None:
        """Go on under a new certificate and tell the listeners."""
        self._certificate = certificate
        self._own = [*self._own, certificate.id][-_OWN_KEPT:]
        for call in tuple(self._listeners):
            call(certificate)

    def __repr__(self) -> str:
        return f"ServiceIdentity({self.service}, instance={self.instance})"


__all__ = ["ServiceIdentity"]
