"""Who certifies this process's services."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from bus.envelope.types import Refused
from bus.trust.authority import Authority
from bus.trust.sync import TrustStore


class Issuer(Protocol):
    """Who certifies: the authority on this machine; later, one that enrolled this machine by a token."""

    async def issue(self, request: bytes) -> bytes:
        """Return the signed certificate. Raises `CertificateRefused`, `GenerationTaken`, `Unavailable`."""
        ...


class LocalIssuer:
    """Certifies with the authority on this machine; each certificate comes with a head that names it."""

    def __init__(self, authority: Authority, store: TrustStore) -> None:
        self._authority = authority
        self._store = store

    async def issue(self, request: bytes) -> bytes:
        """Return the signed certificate. Raises `CertificateRefused`, `GenerationTaken`, `TrustStorageError`."""
        raw = await asyncio.to_thread(self._authority.issue, request)
        await self.renew_head()
        return raw

    async def renew_head(self) -> bool:
        """Sign a head when the last one is a minute old or no longer true; publish it. False: the carrier is away."""
        raw = await asyncio.to_thread(self._authority.head)
        with suppress(
            Refused
        ):  # another process on this machine may have been faster with the next one
            await self._store.take_head(raw)
        return await self._store.publish_head(raw)


__all__ = ["Issuer", "LocalIssuer"]
