"""Certificates and the directory head of one process: read from disk and buckets, verified, followed, published.

Nothing from a bucket or from the disk is believed before its signatures verify; what does not verify is counted and
left. The carrier may be away for as long as it likes: what was verified stays usable, and what must be written is
written when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from bus.envelope.types import Certificate, CertificateId, Refused
from bus.telemetry.counters import Counters
from bus.transport.protocol import Entry, NotFound, WrongRevision
from bus.trust.cache import DiskCache
from bus.trust.carrier import CERTIFICATES, DIRECTORY, HEAD_KEY, Carrier
from bus.trust.directory import CertificateDirectory
from bus.trust.objects import CERTIFICATE, HEAD, open_certificate, open_head, service_token
from bus.trust.root import Root
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable

_ALL: Final = ">"
_MAX_CHANGES: Final = 65_536
_MAX_WAITING: Final = 4_096
_FETCH_PAUSE_S: Final = 1.0
_SWAPS: Final = 3

_ObjectT = TypeVar("_ObjectT")


def certificate_key(certificate: Certificate) -> str:
    """`<service>.<instance>.<id>`: each certificate has a key of its own, since messages outlive certificates."""
    return f"{service_token(certificate.service)}.{certificate.instance}.{certificate.id.hex()}"


class TrustStore:
    """Feeds one `CertificateDirectory`. `load` and `connect` before use, `close` after."""

    def __init__(
        self,
        *,
        root: Root,
        directory: CertificateDirectory,
        cache: DiskCache,
        carrier: Carrier,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._root = root
        self._directory = directory
        self._cache = cache
        self._carrier = carrier
        self._clock = clock
        self._counters = counters
        self._changes: dict[tuple[str, str], Entry] = {}
        self._changed = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._waiting: dict[CertificateId, bytes] = {}
        self._unpublished: dict[str, bytes] = {}
        self._own: dict[str, bytes] = {}
        self._carrier_version = 0
        self._fetched_at_s = clock.monotonic_s() - _FETCH_PAUSE_S
        self._fetching = asyncio.Lock()
        self._fetch_failed = ""
        self.news = asyncio.Event()
        """Set whenever a certificate or a head was learnt; whoever waits clears it."""

    async def load(self) -> None:
        """Take in what this machine has verified before. Raises `TrustStorageError`, `KeystoreUnsafe`."""
        version, raw_head = await asyncio.to_thread(self._cache.head)
        self._directory.require_version(version)
        if raw_head:
            with suppress(Refused):
                head = self._verified(HEAD, raw_head, open_head)
                self._directory.accept(head)
        for raw in await asyncio.to_thread(lambda: list(self._cache.certificates())):
            with suppress(Refused):
                certificate = self._verified(CERTIFICATE, raw, open_certificate)
                self._directory.add(certificate, vouched=True)

    async def connect(self) -> bool:
        """Take in all that the buckets hold, and follow their changes; False while the carrier is away.

        Cheap when it is connected already.
        """
        if self._follower is None or self._follower.done():
            self._follower = asyncio.create_task(self._follow(), name="trust-store")
        try:
            if not self._carrier.watches(CERTIFICATES, _ALL):
                await self.pull()
                await self._carrier.watch(CERTIFICATES, _ALL, self._note(CERTIFICATES))
            await self._carrier.watch(DIRECTORY, HEAD_KEY, self._note(DIRECTORY))
        except MeshError as error:
            self._counters.add("trust_carrier_failed", reason=error.code)
            return False
        return True

    async def close(self) -> None:
        """Stop following changes."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            self._follower = None

    async def pull(self) -> None:
        """Read the head, and every certificate not held yet. Raises `Unavailable` and what the carrier raises."""
        with suppress(NotFound, Refused):
            raw, _ = await self._carrier.get(DIRECTORY, HEAD_KEY)
            await self.take_head(raw)
        for key in await self._carrier.keys(CERTIFICATES):
            if not self._holds(key):
                with suppress(NotFound, Refused):
                    raw, _ = await self._carrier.get(CERTIFICATES, key)
                    await self.take_certificate(raw)

    async def take_head(self, raw: bytes) -> None:
        """Verify a head, put it on disk, then believe it. Raises `Refused`, `TrustStorageError`."""
        head = self._verified(HEAD, raw, open_head)
        try:
            if not self._directory.check(head):
                return
            await asyncio.to_thread(self._cache.store_head, head.version, raw)
            self._directory.accept(head)  # checks again: another one may have come meanwhile
        except Refused as error:
            self._counters.add("trust_object_refused", who=HEAD, reason=error.reason.value)
            raise
        await self._keep_vouched()
        self.news.set()

    async def take_certificate(self, raw: bytes) -> Certificate:
        """Verify a certificate and believe it as far as the head allows. Raises `Refused`, `TrustStorageError`."""
        certificate = self._verified(CERTIFICATE, raw, open_certificate)
        if not self._directory.known(certificate.id):
            self._directory.add(certificate)
            if len(self._waiting) < _MAX_WAITING:
                self._waiting[certificate.id] = raw
            await self._keep_vouched()
            self.news.set()
        return certificate

    async def publish_certificate(self, certificate: Certificate, raw: bytes) -> bool:
        """Write an own certificate to the bucket, now or as soon as `publish_pending` finds the carrier."""
        key = certificate_key(certificate)
        self._own[key] = self._unpublished[key] = raw
        return await self.publish_pending()

    async def publish_pending(self) -> bool:
        """Write own certificates that the bucket does not have yet; False while the carrier is away."""
        try:
            for key, raw in list(self._unpublished.items()):
                await self._carrier.put(CERTIFICATES, key, raw)
                self._unpublished.pop(key, None)
        except MeshError as error:
            self._counters.add("trust_carrier_failed", reason=error.code)
            return False
        return True

    async def publish_head(self, raw: bytes) -> bool:
        """Write the authority's head unless the bucket has a newer one; False while the carrier is away."""
        version = open_head(raw, self._root).version
        if version == self._carrier_version:
            return True
        try:
            for _ in range(_SWAPS):
                held, revision = await self._head_on_carrier()
                if held >= version:
                    break
                with suppress(WrongRevision):
                    await self._carrier.swap(DIRECTORY, HEAD_KEY, raw, revision=revision)
                    self._carrier_version = version
                    break
        except MeshError as error:
            self._counters.add("trust_carrier_failed", reason=error.code)
            return False
        return True

    async def fetch_certificate(self, certificate_id: CertificateId) -> bool:
        """Look in the bucket for a certificate that has not arrived yet; whether it is known now.

        Asks the carrier once a second at most, however many unknown signers there are. Raises `Unavailable` when the
        last look failed: then nobody can say that the certificate does not exist.
        """
        async with self._fetching:
            elapsed_s = self._clock.monotonic_s() - self._fetched_at_s
            if not self._directory.known(certificate_id) and elapsed_s >= _FETCH_PAUSE_S:
                self._fetched_at_s = self._clock.monotonic_s()
                self._fetch_failed = ""
                try:
                    await self.pull()
                except MeshError as error:
                    self._fetch_failed = error.code
                    self._counters.add("trust_carrier_failed", reason=error.code)
        if self._directory.known(certificate_id):
            return True
        if self._fetch_failed:
            raise Unavailable(f"certificates cannot be fetched now: {self._fetch_failed}")
        return False

    async def forget(self, before_ms: int) -> None:
        """Drop certificates that ended before `before_ms`, in memory and on disk."""
        gone = self._directory.forget(before_ms)
        if gone:
            self._own = {key: raw for key, raw in self._own.items() if self._holds(key)}
            await asyncio.to_thread(self._cache.drop_certificates, gone)

    def _verified(
        self, kind: str, raw: bytes, check: Callable[[bytes, Root], _ObjectT]
    ) -> _ObjectT:
        try:
            return check(raw, self._root)
        except Refused as error:
            self._counters.add("trust_object_refused", who=kind, reason=error.reason.value)
            raise

    async def _head_on_carrier(self) -> tuple[int, int]:
        """Version and revision of the head in the bucket; version 0 for one that does not verify."""
        try:
            raw, revision = await self._carrier.get(DIRECTORY, HEAD_KEY)
        except NotFound:
            return 0, 0
        try:
            return self._verified(HEAD, raw, open_head).version, revision
        except Refused:
            return 0, revision

    async def _keep_vouched(self) -> None:
        for one in [one for one in self._waiting if self._directory.vouched(one)]:
            raw = self._waiting.pop(one)
            await asyncio.to_thread(self._cache.store_certificate, one, raw)

    def _holds(self, key: str) -> bool:
        last = key.rpartition(".")[2]
        try:
            return self._directory.known(CertificateId(bytes.fromhex(last)))
        except ValueError:
            return True  # no key of ours: there is nothing to read

    def _note(self, bucket: str) -> Callable[[Entry], None]:
        def changed(entry: Entry) -> None:
            if len(self._changes) >= _MAX_CHANGES:
                self._counters.add("trust_change_dropped", who=bucket, reason="too_many")
                return  # the next unknown signer makes `pull` find it
            self._changes[bucket, entry.key] = entry
            self._changed.set()

        return changed

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._changes:
                (bucket, key), entry = self._changes.popitem()
                with suppress(MeshError):  # counted where it was refused
                    await self._take(bucket, key, entry.value)

    async def _take(self, bucket: str, key: str, raw: bytes | None) -> None:
        if bucket == DIRECTORY:
            self._carrier_version = (
                0 if raw is None else self._verified(HEAD, raw, open_head).version
            )
            if raw is not None:
                await self.take_head(raw)
        elif raw is None:
            if key in self._own:  # somebody deleted it: others still need it
                self._unpublished[key] = self._own[key]
                self.news.set()
        elif not self._holds(key):
            await self.take_certificate(raw)


__all__ = ["TrustStore", "certificate_key"]
