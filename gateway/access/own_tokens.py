"""Access tokens of our own: signed by a key that every gateway of a site derives, so that any of them believes them."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from joserfc import jws
from joserfc.jwk import OKPKey

from gateway.access.jwt import Unverified, check_times, refused, registry_of, verify
from gateway.access.proofs import Identity
from gateway.access.protocol import Proof
from gateway.access.rights import ClientRights
from schemas.clock import Clock
from schemas.gateway.scopes import ScopeRefused, scope_words
from schemas.keyed import KeyedHash
from schemas.subjects import SiteId

_ALGORITHM: Final = "Ed25519"
_TYPE: Final = "at+jwt"
_PURPOSE: Final = b"medmesh gateway access tokens 1"
_PKCS8_ED25519: Final = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the 32 bytes of a seed in PKCS#8 (RFC 8410 §7)."""
_LONGEST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was just made."""

    text: str = field(repr=False)
    lifetime_s: int
    scopes: tuple[str, ...]


class OwnTokens:
    """Makes and verifies the access tokens of a site."""

    def __init__(
        self,
        *,
        site: SiteId,
        site_key: bytes,
        rights: Mapping[str, ClientRights],
        clock: Clock,
        lifetime_s: float,
        skew_s: float,
    ) -> None:
        self.issuer = f"urn:medmesh:{site}:gateway"
        """Also whom they are meant for: all gateways of the site."""
        seed = hkdf_sha256(site_key, salt=self.issuer.encode(), info=_PURPOSE)
        self._key = OKPKey.import_key(_PKCS8_ED25519 + seed)
        self._kid = self._key.thumbprint()
        self._rights = rights
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._skew_s = skew_s

    def jwks(self) -> Mapping[str, Any]:
        """The public key (RFC 7517), for whoever wants to verify our tokens."""
        public = dict(self._key.as_dict(private=False))
        return {"keys": [public | {"kid": self._kid, "alg": _ALGORITHM, "use": "sig"}]}

    def issue(
        self, client: str, scopes: tuple[str, ...], *, certificate_hash: bytes = b""
    ) -> Issued:
        """A token for a client, bound to the certificate with which it was asked for, where there was one."""
        now_s, lifetime_s = self._clock.now_ms() // 1000, round(self._lifetime_s)
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": client,
            "client_id": client,
            "scope": " ".join(scopes),
            "iat": now_s,
            "exp": now_s + lifetime_s,
            "jti": secrets.token_urlsafe(12),
        }
        if certificate_hash:
            thumbprint = urlsafe_b64encode(certificate_hash).rstrip(b"=").decode()
            claims["cnf"] = {"x5t#S256": thumbprint}
        header = {"alg": _ALGORITHM, "typ": _TYPE, "kid": self._kid}
        text = jws.serialize_compact(
            header, msgspec.json.encode(claims), self._key, registry=registry_of(_ALGORITHM)
        )
        return Issued(text, lifetime_s, scopes)

    def verify(self, token: Unverified) -> Identity:
        """Whose token that is; it has no more than is configured for its client now. Raises `Unauthenticated`."""
        if token.kid != self._kid or token.type != _TYPE:
            raise refused("it is no access token of this site")
        claims = verify(token, self._key, algorithms=(_ALGORITHM,))
        if claims.text("iss") != self.issuer or self.issuer not in claims.audiences():
            raise refused("it is meant for another service (aud)")
        ends_ms = check_times(claims, now_ms=self._clock.now_ms(), skew_s=self._skew_s)
        begins_s = claims.seconds("iat")
        if begins_s is None or ends_ms / 1000 - begins_s > _LONGEST_S:
            raise refused("it holds longer than a token of ours may")
        client = claims.text("client_id")
        if client not in self._rights:
            raise refused("its client is not configured (any more)")
        try:
            scopes = self._rights[client].granted(scope_words(claims.words("scope")))
        except ScopeRefused:
            raise refused("its scopes are not understood") from None
        return Identity(
            client=client,
            proof=Proof.SMART,
            scopes=scopes,
            expires_ms=ends_ms + round(self._skew_s * 1000),
            bound_to=claims.certificate(),
        )


def hkdf_sha256(secret: bytes, *, salt: bytes, info: bytes) -> bytes:
    """32 bytes for one purpose from a secret (HKDF with SHA-256, RFC 5869)."""
    extracted = KeyedHash(salt).digest(secret)
    return KeyedHash(extracted).digest(info, b"\x01")


__all__ = ["Issued", "OwnTokens", "hkdf_sha256"]
