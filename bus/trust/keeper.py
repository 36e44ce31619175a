"""Keeps one identity alive: certified, renewed, its KEM generations rotated, shared with siblings, and destroyed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bus.envelope.types import Certificate, Reason, Refused
from bus.telemetry.counters import Counters
from bus.transport.protocol import Entry
from bus.trust.carrier import SHARES, Carrier
from bus.trust.directory import CertificateDirectory
from bus.trust.errors import GenerationTaken
from bus.trust.generations import Generation, Generations
from bus.trust.identity import ServiceIdentity
from bus.trust.instances import InstanceKeys, claim, instances_folder
from bus.trust.issuer import Issuer
from bus.trust.keystore import Keystore
from bus.trust.objects import Wanted, service_token
from bus.trust.settings import TrustSettings
from bus.trust.sharing import SHARE, open_share, seal_share, share_key
from bus.trust.sync import TrustStore
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable

_ATTEMPTS = 4
_MAX_SHARES_WAITING = 64
_NOT_YET = (Reason.UNKNOWN_SIGNER, Reason.DIRECTORY_STALE)  # the sender's certificate may come


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every keeper of one process shares."""

    keystore: Keystore
    directory: CertificateDirectory
    store: TrustStore
    carrier: Carrier
    issuer: Issuer
    clock: Clock
    settings: TrustSettings
    counters: Counters


class IdentityKeeper:
    """`allow`, `tick` again and again, `end`. Not for several tasks at once: `Trust` holds a lock around it."""

    def __init__(self, service: str, around: Surroundings) -> None:
        self.service = service
        """SPIFFE id."""
        self._token = service_token(service)
        self._around = around
        self._generations = Generations(
            around.keystore, self._token, clock=around.clock, settings=around.settings
        )
        self._publish: tuple[str, ...] = ()
        self._subscribe: tuple[str, ...] = ()
        self._least_number = 1
        self._offered: set[tuple[int, bytes]] = set()
        self._shares: dict[str, bytes] = {}
        self._taken: list[str] = []
        self._arrived = asyncio.Event()
        self._keys: InstanceKeys | None = None
        self._identity: ServiceIdentity | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a certificate."""
        return self._identity is not None

    @property
    def identity(self) -> ServiceIdentity:
        """The identity. Raises `Unavailable` before `allow` has succeeded."""
        if self._identity is None:
            raise Unavailable(f"{self.service} has no certificate yet")
        return self._identity

    async def allow(
        self, *, publish: tuple[str, ...], subscribe: tuple[str, ...]
    ) -> ServiceIdentity:
        """Certify these rights, unless they are certified already. Then `await_share`."""
        known = self._identity is not None and (self._publish, self._subscribe) == (
            publish,
            subscribe,
        )
        self._publish, self._subscribe = publish, subscribe
        if not known:
            await self._certify()
        return self.identity

    async def await_share(self) -> bool:
        """Wait for the key of a generation that another instance made; False when it does not come in time.

        The one method that may run beside the others: an instance that waits here can itself share.
        """
        around, identity = self._around, self.identity
        try:
            pattern = share_key(identity.certificate, "*")
            await around.carrier.watch(SHARES, pattern, self._note_share)
        except MeshError as error:
            around.counters.add("trust_carrier_failed", reason=error.code)
        try:
            async with asyncio.timeout(around.settings.share_wait_s):
                while not identity.can_read:
                    await self._arrived.wait()
                    self._take_shares()
        except TimeoutError:
            around.counters.add("kem_key_not_shared", who=self._token)
        return identity.can_read

    async def go_alone(self) -> None:
        """Make the next generation: no living instance shares the certified one."""
        if not self.identity.can_read:
            self._least_number = self.identity.certificate.kem_generation + 1
            await self._certify()

    async def tick(self, *, waiting_since_ms: int | None) -> None:
        """Do what is due: take shares, rotate, renew, share, destroy. Raises what the issuer raises."""
        self._generations.reload()
        self._take_shares()
        if self.identity.can_read and self._generations.is_due():
            self._create()  # certified when siblings have had the time to take it
        try:
            await self._offer_shares()
        except MeshError as error:  # the carrier is away: renewals go on without it
            self._around.counters.add("trust_carrier_failed", reason=error.code)
        if self._is_due():
            await self._certify()
        for number in self._generations.destroy_old(waiting_since_ms=waiting_since_ms):
            self._around.counters.add("generation_destroyed", who=self._token)
            self._offered = {one for one in self._offered if one[0] != number}

    def end(self) -> None:
        """Give the instance's place back."""
        if self._keys is not None:
            self._keys.release()
            self._keys = None

    def _is_due(self) -> bool:
        certificate = self.identity.certificate
        half_ms = (certificate.not_after_ms - certificate.not_before_ms) // 2
        if self._around.clock.now_ms() >= certificate.not_before_ms + half_ms:
            return True
        newest = self._generations.newest
        return (
            newest is not None and newest.number > certificate.kem_generation and self._led(newest)
        )

    def _led(self, generation: Generation) -> bool:
        """Whether siblings have had the time to take a generation before senders use it."""
        lead_ms = self._around.settings.share_wait_s * 1000
        return self._around.clock.now_ms() >= generation.created_ms + lead_ms

    async def _certify(self) -> None:
        around = self._around
        keys = self._place()
        if self._identity is not None:
            keys.renew_seal()
        for _ in range(_ATTEMPTS):
            number, public = self._choose()
            wanted = Wanted(
                service=self.service,
                instance=keys.instance,
                sign=keys.sign,
                kem_key=public,
                kem_generation=number,
                seal=keys.seal,
                publish=self._publish,
                subscribe=self._subscribe,
            )
            try:
                raw = await around.issuer.issue(wanted.request(now_ms=around.clock.now_ms()))
            except GenerationTaken as taken:
                await self._yield_generation(number, taken.certificate)
                continue
            certificate = await around.store.take_certificate(raw)
            self._renewed(keys, certificate)
            await around.store.publish_certificate(certificate, raw)
            return
        raise Unavailable(f"{self.service}: its instances keep making the same KEM generation")

    def _place(self) -> InstanceKeys:
        if self._keys is None:
            around = self._around
            self._keys = claim(around.keystore, self._token, around.settings.suite)
        return self._keys

    async def _yield_generation(self, number: int, certificate: bytes) -> None:
        """Another instance was faster: take its key where it is live, else count on from it."""
        self._generations.discard(number)
        await self._around.store.take_certificate(certificate)
        siblings = self._around.directory.instances(self.service)
        if all(one.kem_generation < number for one in siblings):
            self._least_number = number + 1

    def _renewed(self, keys: InstanceKeys, certificate: Certificate) -> None:
        self._around.counters.add("certificate_renewed", who=self._token)
        if self._identity is None:
            self._identity = ServiceIdentity(self.service, keys, self._generations, certificate)
        else:
            self._identity.renewed(certificate)

    def _choose(self) -> tuple[int, bytes]:
        """The generation to certify: the newest certified one, held or not; else the newest held; else a new one."""
        self._generations.reload()
        mine = self._generations.newest
        siblings = self._around.directory.instances(self.service)
        certified = max(siblings, key=lambda one: one.kem_generation, default=None)
        if certified is not None and certified.kem_generation >= self._least_number:
            if mine is None or certified.kem_generation > mine.number:
                return certified.kem_generation, certified.kem_key
            if mine.number > certified.kem_generation and not self._led(mine):
                return certified.kem_generation, certified.kem_key
        if mine is None or mine.number < self._least_number:
            mine = self._create()
        return mine.number, mine.key.public_bytes

    def _create(self) -> Generation:
        numbers = [one.kem_generation for one in self._around.directory.history(self.service)]
        numbers += [one.number for one in self._generations.held()]
        number = max([self._least_number, *(one + 1 for one in numbers)])
        self._around.counters.add("generation_created", who=self._token)
        return self._generations.create(number)

    def _note_share(self, entry: Entry) -> None:
        if entry.value is not None and len(self._shares) < _MAX_SHARES_WAITING:
            self._shares[entry.key] = entry.value
            self._arrived.set()
            self._around.store.news.set()

    def _take_shares(self) -> None:
        around, identity = self._around, self.identity
        self._arrived.clear()
        for key, raw in list(self._shares.items()):
            try:
                taken = open_share(
                    raw,
                    own=identity.own_certificates,
                    service=self.service,
                    seals=identity.seal_keys,
                    directory=around.directory,
                )
            except Refused as error:
                if error.reason not in _NOT_YET:
                    self._shares.pop(key)
                    around.counters.add(
                        "trust_object_refused", who=SHARE, reason=error.reason.value
                    )
                continue
            self._shares.pop(key)
            self._generations.adopt(taken.number, taken.seed, taken.created_ms)
            around.counters.add("kem_key_received", who=self._token)
            self._taken.append(key)
            self._offered.add((taken.number, taken.sender))

    async def _clear_taken(self) -> None:
        while self._taken:
            await self._around.carrier.delete(SHARES, self._taken[-1])
            self._taken.pop()

    async def _offer_shares(self) -> None:
        around, identity = self._around, self.identity
        if len(around.directory.instances(self.service)) < 2 and not self._taken:
            return  # no sibling
        await around.carrier.watch(SHARES, share_key(identity.certificate, "*"), self._note_share)
        await self._clear_taken()
        here = set(around.keystore.folders(instances_folder(self._token)))
        for sibling in around.directory.instances(self.service):
            if sibling.instance in here:
                continue
            for generation in self._generations.held():
                if (generation.number, sibling.id) in self._offered:
                    continue
                raw = seal_share(
                    generation,
                    to=sibling,
                    sender=identity.certificate,
                    key=identity.signing_key,
                    now_ms=around.clock.now_ms(),
                )
                await around.carrier.put(SHARES, share_key(sibling, generation.number), raw)
                self._offered.add((generation.number, sibling.id))
                around.counters.add("kem_key_shared", who=self._token)


__all__ = ["IdentityKeeper", "Surroundings"]
