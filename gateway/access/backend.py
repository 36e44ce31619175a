"""SMART backend services (HL7 SMART App Launch 2.2 §4; RFC 6749 §4.4, RFC 7523): an assertion for an access token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from bus.telemetry.counters import Counters
from gateway.access.jwks import Keys
from gateway.access.jwt import Claims, Unverified, check_times, read, refused, verify
from gateway.access.own_tokens import Issued, OwnTokens
from gateway.access.protocol import Unauthenticated
from gateway.access.rates import Rates
from gateway.access.replays import Once
from gateway.access.rights import ClientRights
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.gateway.scopes import ScopeRefused, scope_words

GRANT: Final = "client_credentials"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS: Final = ("RS384", "ES384")
LONGEST_S: Final = 300.0
"""How long an assertion may hold."""


class TokenRefused(MeshError):
    """No access token for that request; `code` goes to the client (RFC 6749 §5.2)."""

    code: ClassVar[str] = "token_refused"

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What the token endpoint decides with."""

    keys: Mapping[str, Keys]
    """Of each client that may ask, by its name."""
    rights: Mapping[str, ClientRights]
    tokens: OwnTokens
    once: Once
    rates: Rates
    audiences: frozenset[str]
    """Addresses of the token endpoint, as clients know it."""
    skew_s: float
    clock: Clock
    counters: Counters

    async def issue(self, form: Mapping[str, str], *, certificate_hash: bytes = b"") -> Issued:
        """A token for a form of RFC 7523 §2.2. Raises `TokenRefused`, `TooMany`; `MeshError` where nobody can know."""
        try:
            return await self._issue(form, certificate_hash)
        except TokenRefused as refusal:
            self.counters.add("token_refused", who="gateway", reason=refusal.error)
            raise

    async def _issue(self, form: Mapping[str, str], certificate_hash: bytes) -> Issued:
        if form.get("grant_type") != GRANT:
            raise TokenRefused("unsupported_grant_type", f"grant_type must be {GRANT}")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenRefused("invalid_client", f"client_assertion_type must be {ASSERTION_TYPE}")
        try:
            client, claims = await self._client(read(form.get("client_assertion", "")))
            self._check(client, claims)
            if form.get("client_id", client) != client:
                raise refused("it is of another client than client_id")
            scopes = self._scopes(client, form.get("scope", ""))
            self.rates.admit(client, now_s=self.clock.monotonic_s())
            if not await self.once.take(client, claims.text("jti")):
                raise refused("it was used before (jti)")
        except Unauthenticated as error:
            raise TokenRefused("invalid_client", str(error)) from None
        self.counters.add("token_issued", who=client)
        return self.tokens.issue(client, scopes, certificate_hash=certificate_hash)

    async def _client(self, assertion: Unverified) -> tuple[str, Claims]:
        keys = self.keys.get(assertion.issuer)
        if keys is None:
            raise refused("its issuer is no client with keys here (iss)")
        if assertion.algorithm not in ALGORITHMS:
            raise refused(f"its algorithm must be one of {', '.join(ALGORITHMS)}")
        if assertion.type not in ("", "jwt"):
            raise refused("it is no assertion (typ)")
        key = await keys.find(assertion.kid, assertion.algorithm)
        return assertion.issuer, verify(assertion, key, algorithms=ALGORITHMS)

    def _check(self, client: str, claims: Claims) -> None:
        if not client == claims.text("iss") == claims.text("sub"):
            raise refused("iss and sub must both be the client's id")
        if not set(claims.audiences()) & self.audiences:
            raise refused("aud must be the address of this token endpoint")
        now_ms = self.clock.now_ms()
        ends_ms = check_times(claims, now_ms=now_ms, skew_s=self.skew_s)
        if ends_ms > now_ms + (LONGEST_S + self.skew_s) * 1000:
            raise refused(f"it holds longer than {LONGEST_S:.0f} s (exp)")
        if not claims.text("jti"):
            raise refused("it has no id (jti)")

    def _scopes(self, client: str, asked: str) -> tuple[str, ...]:
        """What of the requested scopes is configured; one that can never be granted is said to be so."""
        words = _words(asked)
        known = ("system/", "mesh/")
        for word in words:
            if word.startswith(("patient/", "user/")):
                raise TokenRefused(
                    "invalid_scope", "a backend service has no patient and no user: ask for system/"
                )
            if not word.startswith(known):
                raise TokenRefused(
                    "invalid_scope", f"scope {word[:80]!r}: only system/ and mesh/ are supported"
                )
        try:
            scopes = self.rights[client].granted(words)
        except ScopeRefused as error:
            raise TokenRefused("invalid_scope", str(error)) from None
        if not scopes:
            raise TokenRefused("invalid_scope", "none of these scopes is configured for the client")
        return scopes


def _words(asked: str) -> tuple[str, ...]:
    try:
        words = scope_words(asked)
    except ScopeRefused as error:
        raise TokenRefused("invalid_scope", str(error)) from None
    if not words:
        raise TokenRefused("invalid_scope", "scope is missing, e.g. scope=system/Patient.rs")
    return words


__all__ = ["ALGORITHMS", "ASSERTION_TYPE", "GRANT", "LONGEST_S", "Backend", "TokenRefused"]
