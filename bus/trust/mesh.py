"""Trust as the rest of the program uses it: who this process is, whom it believes, and the keys of both."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from bus.envelope.types import CertificateId, EpochId
from bus.telemetry.counters import Counters
from bus.trust.anchor import find_authority, pin_root
from bus.trust.cache import DiskCache
from bus.trust.carrier import Buckets, Carrier
from bus.trust.directory import CertificateDirectory
from bus.trust.errors import NoAuthority
from bus.trust.files import private_folder
from bus.trust.identity import ServiceIdentity
from bus.trust.issuer import LocalIssuer
from bus.trust.keeper import IdentityKeeper, Surroundings
from bus.trust.keystore import Keystore, Passphrase, passphrase_from_environment
from bus.trust.objects import spiffe_id
from bus.trust.packages import KeyPackages
from bus.trust.root import Root
from bus.trust.settings import TrustSettings
from bus.trust.sync import TrustStore
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError

_SITE_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustHealth:
    """What an operator sees of the trust layer."""

    fresh: bool
    """Whether a directory head speaks for the present."""
    head_age_s: float
    """Seconds since the newest head was signed; -1 when there is none."""
    connected: bool
    """Whether the last round reached the carrier."""
    has_authority: bool
    earliest_expiry_s: float
    """Seconds until the first of the own certificates ends; -1 without any."""
    unreadable: tuple[str, ...]
    """Own services whose KEM key no other instance has shared yet."""


class Trust:
    """One process's part in the mesh of trust. Made by `open`; `start`, `health`, `stop`."""

    def __init__(
        self,
        *,
        site: str,
        root: Root,
        site_key: bytes,
        keystore: Keystore,
        store: TrustStore,
        carrier: Carrier,
        packages: KeyPackages,
        directory: CertificateDirectory,
        issuer: LocalIssuer | None,
        clock: Clock,
        settings: TrustSettings,
        counters: Counters,
    ) -> None:
        self.root = root
        self.site_key = site_key
        """32 random bytes, secret of the site: keys for partitions and for hashes of identifiers."""
        self.directory = directory
        """Implements `bus.envelope.types.Directory`."""
        self._site = site
        self._keystore = keystore
        self._store = store
        self._carrier = carrier
        self._packages = packages
        self._issuer = issuer
        self._clock = clock
        self._settings = settings
        self._counters = counters
        self._keepers: dict[str, IdentityKeeper] = {}
        self._working = asyncio.Lock()
        self._waiting_since_ms: int | None = None
        self._connected = False
        self._stopping = asyncio.Event()
        self._renewals: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        mesh: str,
        site: str,
        buckets: Buckets | None,
        clock: Clock,
        settings: TrustSettings | None = None,
        counters: Counters | None = None,
        passphrase: Passphrase = passphrase_from_environment,
        create_authority: bool = True,
        authority_folder: Path | None = None,
    ) -> Trust:
        """Open the trust folder of a machine (`<data>/trust`), read what it knows, and take in what the carrier holds.

        `buckets` is the transport, or None to work from the disk alone. With `create_authority` a folder that knows no
        mesh yet becomes its authority, unless the carrier shows that the mesh has one already. Raises `NoAuthority`,
        `ForeignAuthority`, `KeystoreUnsafe`, `PassphraseWrong`, `TrustStorageError`, and `Unavailable` when the
        carrier is away at the very first start.
        """
        settings, counters = settings or TrustSettings(), counters or Counters()
        passphrase = cache(
            passphrase
        )  # keystore and authority need it: whoever types it is asked once
        private_folder(folder)
        keystore = await asyncio.to_thread(
            Keystore.open, folder / "keystore", passphrase=passphrase
        )
        carrier = Carrier(buckets, settings)
        authority = await find_authority(
            folder,
            authority_folder or folder / "authority",
            mesh=mesh,
            clock=clock,
            settings=settings,
            passphrase=passphrase,
            carrier=carrier if buckets is not None else None,
            create=create_authority,
        )
        root = pin_root(folder, mesh, authority)
        directory = CertificateDirectory(clock=clock, settings=settings)
        disk = DiskCache(folder / "cache")
        store = TrustStore(
            root=root,
            directory=directory,
            cache=disk,
            carrier=carrier,
            clock=clock,
            counters=counters,
        )
        packages = KeyPackages(
            carrier=carrier,
            cache=disk,
            directory=directory,
            fetch_certificate=store.fetch_certificate,
            counters=counters,
        )
        trust = cls(
            site=subjects.site_id(site),
            root=root,
            site_key=keystore.read_or_create(
                "site-key", lambda: secrets.token_bytes(_SITE_KEY_BYTES)
            ),
            keystore=keystore,
            store=store,
            carrier=carrier,
            packages=packages,
            directory=directory,
            issuer=None if authority is None else LocalIssuer(authority, store),
            clock=clock,
            settings=settings,
            counters=counters,
        )
        await trust._store.load()
        if buckets is not None:
            trust._connected = await store.connect()
        if trust._issuer is not None:
            await trust._issuer.renew_head()
        return trust

    async def identity(
        self, service: str, *, publish: Iterable[str] = (), subscribe: Iterable[str] = ()
    ) -> ServiceIdentity:
        """Take up the identity of a service (its token) with these rights, certified and published.

        Asking again with other rights certifies those instead: the same identity object goes on under the new
        certificate. Where another machine runs an instance of the service, its KEM key is waited for
        (`share_wait_s`). Raises `NoAuthority`, `CertificateRefused`, `SubjectError`, `TrustStorageError`.
        """
        name = spiffe_id(self.root.mesh, self._site, service)
        rights = [tuple(sorted(map(subjects.pattern, one))) for one in (publish, subscribe)]
        async with self._working:
            keeper = self._keepers.get(name)
            if keeper is None:
                keeper = self._keepers[name] = IdentityKeeper(name, self._surroundings(name))
            try:
                identity = await keeper.allow(publish=rights[0], subscribe=rights[1])
            except MeshError:
                if not keeper.begun:
                    self._keepers.pop(name).end()
                raise
        if not await keeper.await_share():
            async with self._working:
                await keeper.go_alone()
        return identity

    async def store_key_package(self, epoch: EpochId, raw: bytes) -> None:
        """Publish an own key package before envelopes of its epoch leave; see `KeyPackages.store`."""
        await self._packages.store(epoch, raw)

    async def key_package(self, epoch: EpochId) -> bytes:
        """The verified key package of an epoch, for `Opener.learn`; see `KeyPackages.find`."""
        return await self._packages.find(epoch)

    async def fetch_certificate(self, certificate_id: CertificateId) -> bool:
        """Look for the certificate of an unknown signer; whether it is known now. Asks once a second at most.

        Raises `Unavailable` when it cannot be asked for.
        """
        return await self._store.fetch_certificate(certificate_id)

    def keep_since(self, sealed_ms: int | None) -> None:
        """Say when the oldest message that any stream still holds for this machine's services was sealed.

        What could open or verify it is kept, however old: a destination that is down for a month loses nothing here.
        None: nothing waits. Until it is told, retention alone decides.
        """
        self._waiting_since_ms = sealed_ms

    async def start(self) -> None:
        """Begin renewals: the head each minute, certificates at half their life, KEM generations each day."""
        if self._renewals is None:
            self._stopping.clear()
            self._renewals = asyncio.create_task(self._renew(), name="trust-renewals")

    async def tick(self) -> None:
        """Do everything that is due now; `start` calls it by itself."""
        async with self._working:
            connected = await self._store.connect()
            if self._issuer is not None:
                connected = await self._issuer.renew_head() and connected
            self._connected = connected and await self._store.publish_pending()
            for keeper in self._keepers.values():
                await self._tick_keeper(keeper)
            await self._forget()

    def health(self) -> TrustHealth:
        """Answer at once."""
        now, head = self._clock.now_ms(), self.directory.head
        identities = [keeper.identity for keeper in self._keepers.values() if keeper.begun]
        ends = [one.certificate.not_after_ms for one in identities]
        return TrustHealth(
            fresh=self.directory.fresh,
            head_age_s=-1.0 if head is None else (now - head.issued_ms) / 1000,
            connected=self._connected,
            has_authority=self._issuer is not None,
            earliest_expiry_s=(min(ends) - now) / 1000 if ends else -1.0,
            unreadable=tuple(sorted(one.service for one in identities if not one.can_read)),
        )

    async def stop(self) -> None:
        """End renewals and give the instances' places back. Identities can sign on until their certificates end."""
        self._stopping.set()
        self._store.news.set()
        if self._renewals is not None:
            await self._renewals
            self._renewals = None
        await self._carrier.close()
        await self._store.close()
        for keeper in self._keepers.values():
            keeper.end()
        self._keepers.clear()

    def _surroundings(self, name: str) -> Surroundings:
        if self._issuer is None:
            raise NoAuthority(
                f"{name} needs a certificate, and this machine has no authority that could issue one: "
                "run it on the machine whose trust folder holds the authority"
            )
        return Surroundings(
            keystore=self._keystore,
            directory=self.directory,
            store=self._store,
            carrier=self._carrier,
            issuer=self._issuer,
            clock=self._clock,
            settings=self._settings,
            counters=self._counters,
        )

    async def _tick_keeper(self, keeper: IdentityKeeper) -> None:
        try:
            await keeper.tick(waiting_since_ms=self._waiting_since_ms)
        except MeshError as error:
            self._counters.add("trust_renewal_failed", who=keeper.service, reason=error.code)

    async def _forget(self) -> None:
        before_ms = self._clock.now_ms() - self._settings.history_ms
        if self._waiting_since_ms is not None:
            margin_ms = self._settings.history_ms - round(self._settings.retention_s * 1000)
            before_ms = min(before_ms, self._waiting_since_ms - margin_ms)
        await self._store.forget(before_ms)

    async def _renew(self) -> None:
        while not self._stopping.is_set():
            self._store.news.clear()
            try:
                await self.tick()
            except MeshError as error:  # a full disk, a damaged file: counted, and tried again
                self._counters.add("trust_renewal_failed", reason=error.code)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.tick_s):
                    await self._store.news.wait()


__all__ = ["Trust", "TrustHealth"]
