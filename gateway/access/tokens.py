"""Bearer tokens, whoever issued them; what was verified once is remembered until the token ends."""

from __future__ import annotations

import hashlib
from typing import Final

from gateway.access.issuers import Issuers
from gateway.access.jwt import MAX_TOKEN_CHARS, read, refused
from gateway.access.own_tokens import OwnTokens
from gateway.access.proofs import Identity
from schemas.clock import Clock

_REMEMBERED: Final = 4096
_REMEMBERED_MS: Final = 300_000
"""A key that its issuer takes back is believed no longer than this for tokens that were seen before."""


class BearerTokens:
    """`gateway.access.access.Tokens`."""

    def __init__(self, own: OwnTokens, issuers: Issuers, *, clock: Clock) -> None:
        self._own = own
        self._issuers = issuers
        self._clock = clock
        self._known: dict[bytes, tuple[int, Identity]] = {}
        """By SHA-256: until when it is believed without looking again, and whose it is."""

    async def verify(self, token: str) -> Identity:
        """Whose token that is. Raises `Unauthenticated`; `Unavailable` where keys cannot be read."""
        if len(token) > MAX_TOKEN_CHARS:
            raise refused(f"it is longer than {MAX_TOKEN_CHARS} characters")
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        now_ms = self._clock.now_ms()
        until_ms, identity = self._known.get(digest, (0, None))
        if identity is not None and now_ms < until_ms:
            return identity
        unverified = read(token)
        if unverified.issuer == self._own.issuer:
            identity = self._own.verify(unverified)
        else:
            identity = await self._issuers.verify(unverified)
        self._remember(digest, identity, now_ms)
        return identity

    def _remember(self, digest: bytes, identity: Identity, now_ms: int) -> None:
        self._known.pop(digest, None)
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[digest] = (min(identity.expires_ms, now_ms + _REMEMBERED_MS), identity)


__all__ = ["BearerTokens"]
