"""A small mesh for tests: an authority in a folder, instances that ask it, and a carrier that lies on order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bus.envelope.suites import KemKey, SigningKey
from bus.envelope.types import Certificate
from bus.transport.memory import MemoryBroker, MemoryTransport
from bus.trust import Authority, CertificateDirectory, Trust, TrustSettings
from bus.trust.objects import Wanted, open_certificate, open_head, spiffe_id
from schemas.clock import FakeClock

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def no_passphrase() -> str:
    return ""


@dataclass
class Instance:
    """Keys of one instance, made in memory."""

    service: str = field(default_factory=lambda: spiffe_id("st-elsewhere", "north", "his-out"))
    name: str = "0123456789abcdef"
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    generation: int = 1
    sign: SigningKey = field(default_factory=SigningKey.generate)
    kem: KemKey = field(default_factory=KemKey.generate)
    seal: KemKey = field(default_factory=KemKey.generate)

    def request(self, now_ms: int) -> bytes:
        return Wanted(
            service=self.service,
            instance=self.name,
            sign=self.sign,
            kem_key=self.kem.public_bytes,
            kem_generation=self.generation,
            seal=self.seal,
            publish=self.publish,
            subscribe=self.subscribe,
        ).request(now_ms=now_ms)


class World:
    """An authority, a clock, and a directory fed by hand."""

    def __init__(self, folder: Path, settings: TrustSettings | None = None) -> None:
        self.clock = FakeClock()
        self.settings = settings or TrustSettings()
        self.folder = folder / "authority"
        self.authority = self.load_authority()
        self.directory = CertificateDirectory(clock=self.clock, settings=self.settings)

    def load_authority(self) -> Authority:
        return Authority.create_or_load(
            self.folder,
            mesh="st-elsewhere",
            clock=self.clock,
            settings=self.settings,
            passphrase=no_passphrase,
        )

    def issue(self, instance: Instance) -> Certificate:
        raw = self.authority.issue(instance.request(self.clock.now_ms()))
        return open_certificate(raw, self.authority.root)

    def admit(self, instance: Instance) -> Certificate:
        """Issue a certificate, and let the directory have it with a head that names it."""
        certificate = self.issue(instance)
        self.directory.add(certificate)
        self.show_head()
        return certificate

    def show_head(self) -> None:
        self.directory.accept(open_head(self.authority.head(), self.authority.root))


async def open_trust(
    folder: Path,
    transport: MemoryTransport | None,
    clock: FakeClock,
    *,
    settings: TrustSettings | None = None,
    authority_folder: Path | None = None,
) -> Trust:
    return await Trust.open(
        folder,
        mesh="st-elsewhere",
        site="north",
        buckets=transport,
        clock=clock,
        settings=settings,
        passphrase=no_passphrase,
        authority_folder=authority_folder,
    )


async def carrier(clock: FakeClock) -> MemoryTransport:
    return await MemoryBroker(clock=clock).connect()
