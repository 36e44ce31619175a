"""Seals what the carrier keeps for the gateways, under a key that every gateway of a site derives (JWE, RFC 7516)."""

from __future__ import annotations

from typing import ClassVar, Final, TypeVar

import msgspec
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from gateway.access.own_tokens import hkdf_sha256
from schemas.errors import MeshError
from schemas.subjects import SiteId

_PURPOSE: Final = b"medmesh gateway subscriptions 1"
T = TypeVar("T")


class BadSeal(MeshError):
    """Something in the bucket that no gateway of this site wrote there."""

    code: ClassVar[str] = "bad_seal"


class Safe:
    """Seals values to their place: AES-256-GCM with the place inside of what is authenticated."""

    def __init__(self, site: SiteId, site_key: bytes) -> None:
        secret = hkdf_sha256(site_key, salt=f"urn:medmesh:{site}:gateway".encode(), info=_PURPOSE)
        self._key = OctKey.import_key(secret)

    def seal(self, place: str, value: object) -> bytes:
        """A value as it may lie at a place."""
        header = {"alg": "dir", "enc": "A256GCM", "kid": place}
        return jwe.encrypt_compact(header, msgspec.msgpack.encode(value), self._key).encode()

    def open(self, place: str, sealed: bytes, kind: type[T]) -> T:
        """What lies there. Raises `BadSeal`."""
        try:
            found = jwe.decrypt_compact(sealed, self._key)
            if found.protected.get("kid") != place or found.plaintext is None:
                raise BadSeal("what is kept of a subscription belongs elsewhere")
            return msgspec.msgpack.decode(found.plaintext, type=kind)
        except (JoseError, ValueError, msgspec.DecodeError) as error:
            words = "what is kept of a subscription was not written by a gateway of this site"
            raise BadSeal(words) from error


__all__ = ["BadSeal", "Safe"]
