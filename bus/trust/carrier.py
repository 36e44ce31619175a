"""The carrier's buckets as the trust layer uses them: opened when they can be, every call with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from bus.transport.protocol import Entry, KeyValue, NotFound, Subscription
from bus.trust.settings import TrustSettings
from schemas.errors import MeshError, Unavailable

CERTIFICATES: Final = "certs"
DIRECTORY: Final = "directory"
PACKAGES: Final = "keys"
SHARES: Final = "svckeys"
BUCKETS: Final = (CERTIFICATES, DIRECTORY, PACKAGES, SHARES)
HEAD_KEY: Final = "head"

_ResultT = TypeVar("_ResultT")


class Buckets(Protocol):
    """What the trust layer needs of a `bus.transport.protocol.Transport`."""

    async def key_value(self, bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
        """Open a bucket, creating it when it is missing."""
        ...


class Carrier:
    """The four buckets. Every method raises `Unavailable` after `carrier_timeout_s`, and what the carrier raises."""

    def __init__(self, buckets: Buckets | None, settings: TrustSettings) -> None:
        self._buckets = buckets
        self._timeout_s = settings.carrier_timeout_s
        self._ages_s = {
            CERTIFICATES: settings.bucket_max_age_s,
            DIRECTORY: 0.0,
            PACKAGES: settings.bucket_max_age_s,
            SHARES: settings.certificate_lifetime_s,
        }
        self._open: dict[str, KeyValue] = {}
        self._watches: dict[tuple[str, str], Subscription] = {}

    async def get(self, bucket: str, key: str) -> tuple[bytes, int]:
        """The value of a key and its revision. Raises `NotFound`."""
        entry = await self._call((await self._bucket(bucket)).get(key))
        if entry.value is None:
            raise NotFound(f"bucket {bucket} has no key {key}")
        return entry.value, entry.revision

    async def put(self, bucket: str, key: str, value: bytes) -> None:
        """Write a key."""
        await self._call((await self._bucket(bucket)).put(key, value))

    async def swap(self, bucket: str, key: str, value: bytes, *, revision: int) -> None:
        """Write a key that stands at `revision`. Raises `WrongRevision`."""
        await self._call((await self._bucket(bucket)).swap(key, value, revision=revision))

    async def delete(self, bucket: str, key: str) -> None:
        """Delete a key."""
        await self._call((await self._bucket(bucket)).delete(key))

    async def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket."""
        return await self._call((await self._bucket(bucket)).keys())

    async def watch(self, bucket: str, pattern: str, changed: Callable[[Entry], None]) -> None:
        """Follow a bucket from its present values on; asking for the same again changes nothing."""
        if (bucket, pattern) not in self._watches:
            held = await self._bucket(bucket)
            self._watches[bucket, pattern] = await self._call(held.watch(pattern, changed))

    def watches(self, bucket: str, pattern: str) -> bool:
        """Whether `watch` has succeeded for these."""
        return (bucket, pattern) in self._watches

    async def close(self) -> None:
        """Stop every watch. Raises nothing: what the carrier says no longer matters."""
        watches, self._watches = list(self._watches.values()), {}
        for watch in watches:
            with suppress(MeshError):
                await self._call(watch.close())

    async def _bucket(self, name: str) -> KeyValue:
        held = self._open.get(name)
        if held is None:
            if self._buckets is None:
                raise Unavailable("the trust layer works offline: it was opened without a carrier")
            held = await self._call(self._buckets.key_value(name, max_age_s=self._ages_s[name]))
            self._open[name] = held
        return held

    async def _call(self, call: Awaitable[_ResultT]) -> _ResultT:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except TimeoutError:
            raise Unavailable(
                f"the carrier's buckets did not answer within {self._timeout_s} s "
                "(trust.carrier_timeout_s)"
            ) from None


__all__ = [
    "BUCKETS",
    "CERTIFICATES",
    "DIRECTORY",
    "HEAD_KEY",
    "PACKAGES",
    "SHARES",
    "Buckets",
    "Carrier",
]
