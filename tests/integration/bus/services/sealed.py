"""Services with real keys, certificates and envelopes; and a broker that lies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bus.clock import SystemClock
from bus.envelope.seals import Seals
from bus.envelope.types import SealedEnvelope
from bus.services.channel import Carries
from bus.services.rights import CallRights, caller_rights, service_rights
from bus.telemetry.counters import Counters
from bus.transport.protocol import Incoming, Messenger, Subscription, Transport
from bus.trust import Trust
from bus.trust.identity import ServiceIdentity
from medmesh.runtime.seals import ServiceSeals
from tests.unit.bus.services.serving import SITE, Calls

Connect = Callable[[], Awaitable[Transport]]


@dataclass
class Site:
    """A trust of its own on any carrier; gives each service what it needs, and no more."""

    trust: Trust
    connect: Connect
    identities: dict[str, ServiceIdentity] = field(default_factory=dict)
    rights: dict[str, CallRights] = field(default_factory=dict)

    @classmethod
    async def open(cls, folder: Path, connect: Connect) -> Site:
        trust = await Trust.open(
            folder, mesh="st-elsewhere", site=SITE, buckets=await connect(), clock=SystemClock(),
            counters=Counters(), passphrase=lambda: "",
        )  # fmt: skip
        site = cls(trust, connect)
        offer = Calls().offer()
        site.rights["beds"] = service_rights(SITE, offer)
        for caller in ("emr", "his"):
            site.rights[caller] = caller_rights(SITE, "beds", 1, caller=caller)
        # a service that may answer calls, but not those to beds
        site.rights["labs"] = CallRights(publish=(f"ctl.{SITE}.answers.*",))
        return site

    async def identity(self, name: str) -> ServiceIdentity:
        if name not in self.identities:
            rights = self.rights[name]
            self.identities[name] = await self.trust.identity(
                name, publish=rights.publish, subscribe=rights.subscribe
            )
        return self.identities[name]

    async def seals(self, name: str) -> ServiceSeals:
        identity = await self.identity(name)
        return ServiceSeals(identity=identity, trust=self.trust, clock=SystemClock())

    async def __call__(self, name: str) -> tuple[Carries, Seals]:
        # who calls is sealed for, and who answers: all certificates are there before the first call
        for known in self.rights:
            await self.identity(known)
        return await self.connect(), await self.seals(name)


@dataclass
class Liar:
    """A carrier that sees every request of one service and may answer in its own way."""

    honest: Messenger
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    answers: list[Incoming] = field(default_factory=list)
    lie: Callable[[Incoming, bytes], Awaitable[Incoming]] | None = None
    """From the honest answer and the request to what is handed over."""

    @property
    def messenger(self) -> Messenger:
        return self

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        await self.honest.publish(subject, payload, reply=reply, headers=headers)

    def send(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.honest.send(subject, payload, reply=reply, headers=headers)

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        self.requests.append((subject, payload))
        answer = await self.honest.request(subject, payload, timeout_s=timeout_s, headers=headers)
        self.answers.append(answer)
        return answer if self.lie is None else await self.lie(answer, payload)

    async def subscribe(
        self, pattern: str, handler: Callable[[Incoming], None], *, queue: str = ""
    ) -> Subscription:
        return await self.honest.subscribe(pattern, handler, queue=queue)


def incoming(payload: bytes | SealedEnvelope, **headers: str) -> Incoming:
    """What a liar hands over."""
    return Incoming(subject="_INBOX.x", payload=bytes(payload), headers=headers or None)
