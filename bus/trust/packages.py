"""Key packages: in memory, on disk, in the carrier's bucket; verified wherever they come from."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.epochs import KEY_PACKAGE
from bus.envelope.limits import Limits
from bus.envelope.signed import open_object
from bus.envelope.types import Certificate, CertificateId, EpochId, Reason, Refused
from bus.telemetry.counters import Counters
from bus.trust.cache import DiskCache
from bus.trust.carrier import PACKAGES, Carrier
from bus.trust.directory import CertificateDirectory
from bus.trust.root import parsed_object
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

MAX_BYTES: Final = Limits().max_key_package_bytes
_IN_MEMORY: Final = 1_024
_TRIM_EVERY: Final = 512


class KeyPackages:
    """`store` what this process seals with, `find` what others sealed with."""

    def __init__(
        self,
        *,
        carrier: Carrier,
        cache: DiskCache,
        directory: CertificateDirectory,
        fetch_certificate: Callable[[CertificateId], Awaitable[bool]],
        counters: Counters,
    ) -> None:
        self._carrier = carrier
        self._cache = cache
        self._directory = directory
        self._fetch_certificate = fetch_certificate
        self._counters = counters
        self._held: OrderedDict[EpochId, bytes] = OrderedDict()
        self._kept = 0

    async def store(self, epoch: EpochId, raw: bytes) -> None:
        """Write an own key package, before an envelope that needs it leaves. Writing it again is fine.

        Raises `Unavailable` and what the carrier raises: then the envelopes must not leave either.
        """
        await self._carrier.put(PACKAGES, epoch.hex(), raw)
        await self._keep(epoch, raw)

    async def find(self, epoch: EpochId) -> bytes:
        """The signed key package of an epoch.

        Raises `NotFound`, `Unavailable`, and `Refused` for one that is not what its name and its signer say.
        """
        held = self._held.get(epoch)
        if held is not None:
            self._held.move_to_end(epoch)
            return held
        on_disk = await asyncio.to_thread(self._cache.package, epoch)
        if on_disk is not None:
            with suppress(Refused):
                await self._verify(epoch, on_disk)
                self._remember(epoch, on_disk)
                return on_disk
        raw, _ = await self._carrier.get(PACKAGES, epoch.hex())
        await self._verify(epoch, raw)
        await self._keep(epoch, raw)
        return raw

    async def _verify(self, epoch: EpochId, raw: bytes) -> None:
        try:
            signer = await self._signer(_named_body(epoch, raw))
            open_object(KEY_PACKAGE, raw, signer.suite, signer.sign_key, max_bytes=MAX_BYTES)
        except Refused as error:
            self._counters.add("trust_object_refused", who=KEY_PACKAGE, reason=error.reason.value)
            raise

    async def _signer(self, body: bytes) -> Certificate:
        try:
            package = pb.KeyPackage.FromString(body)
        except DecodeError:
            raise Refused(Reason.MALFORMED, "the body of a key package does not parse") from None
        signer = CertificateId(package.signer)
        if not self._directory.known(signer):
            await self._fetch_certificate(signer)
        return self._directory.certificate(signer, at_ms=package.not_before_ms)

    async def _keep(self, epoch: EpochId, raw: bytes) -> None:
        self._remember(epoch, raw)
        await asyncio.to_thread(self._cache.store_package, epoch, raw)
        self._kept += 1
        if self._kept % _TRIM_EVERY == 0:
            trimmed = await asyncio.to_thread(self._cache.trim_packages)
            self._counters.add("key_package_trimmed", count=trimmed)

    def _remember(self, epoch: EpochId, raw: bytes) -> None:
        self._held[epoch] = raw
        if len(self._held) > _IN_MEMORY:
            self._held.popitem(last=False)


def _named_body(epoch: EpochId, raw: bytes) -> bytes:
    body = parsed_object(KEY_PACKAGE, raw, max_bytes=MAX_BYTES).body
    if sha256(body).digest() != epoch:
        raise Refused(Reason.KEY_PACKAGE_INVALID, "not the key package of this epoch")
    return body


__all__ = ["MAX_BYTES", "KeyPackages"]
