"""Instances with real keys, a directory in memory, and a mesh of announcers and registries on one broker."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace

from bus.clock import SystemClock
from bus.envelope.suites import SigningKey
from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from bus.services.discovery import Announcer, DiscoverySettings, MeshRegistry
from bus.services.protocol import Load, Method, Offer, Seen
from bus.telemetry.counters import Counters
from bus.telemetry.phi import PhiSettings
from bus.transport.protocol import Transport
from bus.trust.records import InstanceSeals
from schemas.clock import Clock
from schemas.subjects import site_id
from tests.contract.carriers import Changes

NORTH = site_id("north")
QUICK = DiscoverySettings(
    heartbeat_s=0.05,
    renew_s=0.08,
    lease_s=1.0,
    rhythm=PhiSettings(expected_s=0.05, least_deviation_s=0.05),
    unleased_s=0.6,
    grace_s=0.5,
    hold_s=0.02,
    tick_s=0.02,
    wedged_after_s=0.3,
    sweep_wait_s=0.1,
    retry_s=0.05,
)
"""For tests that run in real time; a heartbeat is late after about a third of a second."""


async def _echo(body: bytes, _: object) -> bytes:
    return body


def offer(service: str = "lab", version: str = "1.2.0", **fields: object) -> Offer:
    made = Offer(name=service, version=version, methods=(Method(name="echo", handler=_echo),))
    return replace(made, **fields)  # type: ignore[arg-type]  # the caller names the fields


@dataclass
class Identity:
    """A certificate and its key."""

    certificate: Certificate
    signing_key: SigningKey


@dataclass
class World:
    """A directory of certificates that tests fill and revoke."""

    certificates: dict[CertificateId, Certificate] = field(default_factory=dict)
    hidden: dict[CertificateId, Certificate] = field(default_factory=dict)
    """Known only after they were fetched."""
    revoked: set[CertificateId] = field(default_factory=set)
    asked: int = 0

    @property
    def directory(self) -> World:
        return self

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        self.asked += 1
        if certificate_id in self.revoked:
            raise Refused(Reason.SIGNER_REVOKED, "revoked")
        try:
            return self.certificates[certificate_id]
        except KeyError:
            raise Refused(Reason.UNKNOWN_SIGNER, "unknown") from None

    def readers(self, subject: str) -> list[Certificate]:
        return []

    async def fetch_certificate(self, certificate_id: CertificateId) -> bool:
        found = self.hidden.pop(certificate_id, None)
        if found is not None:
            self.certificates[certificate_id] = found
        return found is not None

    def identity(
        self, service: str = "lab", instance: str = "a" * 16, site: str = "north"
    ) -> Identity:
        key = SigningKey.generate()
        certificate = Certificate(
            id=CertificateId(hashlib.sha256(key.public_bytes).digest()[:16]),
            service=f"spiffe://st-elsewhere/{site}/{service}",
            instance=instance,
            suite=1,
            sign_key=key.public_bytes,
            kem_key=b"",
            seal_key=b"",
            kem_generation=1,
            publish=(),
            subscribe=(),
            not_before_ms=0,
            not_after_ms=1 << 60,
        )
        self.certificates[certificate.id] = certificate
        return Identity(certificate, key)

    def seals(self, identity: Identity | None = None, clock: Clock | None = None) -> InstanceSeals:
        return InstanceSeals(identity or self.identity("reader"), self, clock or SystemClock())


class Worker:
    """One announced instance whose load a test sets."""

    def __init__(
        self,
        transport: Transport,
        world: World,
        *,
        made: Offer | None = None,
        instance: str = "a" * 16,
        connection: str = "",
        settings: DiscoverySettings = QUICK,
        counters: Counters | None = None,
    ) -> None:
        made = made or offer()
        self.load = Load()
        self.identity = world.identity(made.name, instance.partition("-")[0])
        self.announcer = Announcer(
            transport,
            world.seals(self.identity),
            offer=made,
            site=NORTH,
            instance=instance,
            connection=connection,
            load=lambda: self.load,
            clock=SystemClock(),
            rng=random.Random(1),
            settings=settings,
            counters=counters,
        )


class Watcher(Changes):
    """A registry and everything that it told."""

    def __init__(
        self,
        transport: Transport,
        world: World,
        *,
        settings: DiscoverySettings = QUICK,
        counters: Counters | None = None,
    ) -> None:
        super().__init__()
        self.counters = counters or Counters()
        self.told: list[Seen] = []
        self.registry = MeshRegistry(
            transport,
            world.seals(),
            site=NORTH,
            clock=SystemClock(),
            settings=settings,
            counters=self.counters,
        )
        self.registry.on_change(self._told)

    def _told(self, seen: Seen) -> None:
        self.told.append(seen)
        self.changed()

    def ids(self, service: str = "lab", major: int = 1) -> list[str]:
        return sorted(seen.instance.id for seen in self.registry.instances(service, major))

    def states(self) -> list[tuple[str, str]]:
        """Health and reason of everything that was told."""
        return [(seen.health.value, seen.reason) for seen in self.told]

    async def until_told(self, health: str, reason: str = "") -> Seen:
        await self.until(lambda: (health, reason) in self.states(), f"{health} {reason}")
        return next(s for s in self.told if (s.health.value, s.reason) == (health, reason))
