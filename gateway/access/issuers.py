"""Bearer tokens of authorisation servers (OAuth2, RFC 9068; OpenID Connect providers' access tokens)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.access.jwks import Keys
from gateway.access.jwt import Claims, Unverified, check_times, refused, verify
from gateway.access.proofs import Identity
from gateway.access.protocol import Proof
from gateway.access.rights import ClientRights
from schemas.clock import Clock
from schemas.gateway.access import ClientSection, IssuerSection
from schemas.gateway.scopes import MESH_SCOPES, ScopeRefused, scope_words

_TYPES: Final = frozenset({"", "jwt", "at+jwt"})
_FHIR_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}\Z")
_PATIENT: Final = "patient/"


@dataclass(frozen=True, slots=True)
class Issuer:
    """One authorisation server and its keys."""

    section: IssuerSection
    keys: Keys


class Issuers:
    """All authorisation servers whose tokens are accepted."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        clients: Sequence[ClientSection],
        rights: Mapping[str, ClientRights],
        *,
        clock: Clock,
        skew_s: float,
    ) -> None:
        self._issuers = {one.section.issuer: one for one in issuers}
        self._clients = {(t.issuer, t.id): one.name for one in clients for t in one.token}
        self._rights = rights
        self._clock = clock
        self._skew_s = skew_s

    async def verify(self, token: Unverified) -> Identity:
        """Whose token that is. Raises `Unauthenticated`; `Unavailable` where its issuer's keys cannot be read."""
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            raise refused("its issuer is not known here (iss)")
        section = issuer.section
        if token.algorithm not in section.algorithms:
            raise refused("its algorithm is not one of those that are allowed")
        if token.type not in _TYPES:
            raise refused("it is no access token (typ)")
        key = await issuer.keys.find(token.kid, token.algorithm)
        claims = verify(token, key, algorithms=section.algorithms)
        if claims.text("iss") != section.issuer:
            raise refused("its issuer is not known here (iss)")
        if not set(claims.audiences()) & set(section.audience):
            raise refused("it is meant for another service (aud)")
        ends_ms = check_times(claims, now_ms=self._clock.now_ms(), skew_s=self._skew_s)
        return self._identity(section, claims, ends_ms + round(self._skew_s * 1000))

    def _identity(self, section: IssuerSection, claims: Claims, expires_ms: int) -> Identity:
        named = next((name for name in section.client_claims if claims.has(name)), "")
        client_id = claims.text(named) if named else ""
        client = self._clients.get((section.issuer, client_id))
        if client is None:
            raise refused("its client is not configured here")
        subject = claims.text("sub")
        scopes, compartment = _scopes(section, claims, self._rights[client])
        return Identity(
            client=client,
            proof=Proof.JWT,
            scopes=scopes,
            user=claims.text("fhirUser") or (subject if subject != client_id else ""),
            compartment=compartment,
            expires_ms=expires_ms,
            bound_to=claims.certificate(),
        )


def _scopes(
    section: IssuerSection, claims: Claims, rights: ClientRights
) -> tuple[tuple[str, ...], str]:
    """The scopes that hold, and the patient to whom they are confined.

    Whoever is confined to a patient has nothing that is not: no events, no calls.
    """
    patient = claims.text("patient")
    if patient and not _FHIR_ID.match(patient):
        raise refused("its claim patient is no id of a resource")
    held = rights.scopes if section.scopes == "configured" else _granted(claims, rights)
    for_patient = tuple(one for one in held if one.startswith(_PATIENT))
    is_confined = patient and (for_patient or section.scopes == "configured")
    if is_confined:
        return tuple(one for one in held if one not in MESH_SCOPES), f"Patient/{patient}"
    return tuple(one for one in held if one not in for_patient), ""


def _granted(claims: Claims, rights: ClientRights) -> tuple[str, ...]:
    """What of the token's scopes is configured; those that are not understood grant nothing."""
    found: set[str] = set()
    try:
        words = scope_words(claims.words("scope", "scp"))
    except ScopeRefused:
        raise refused("its scopes are too long") from None
    for word in words:
        try:
            found.update(rights.granted((word,)))
        except ScopeRefused:
            continue
    return tuple(sorted(found))


__all__ = ["Issuer", "Issuers"]
