"""Signed tokens (RFC 7519) of others and of ours: what they say once their signature holds."""

from __future__ import annotations

import binascii
import math
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from gateway.access.jwks import PublicKey
from gateway.access.protocol import Unauthenticated

MAX_TOKEN_CHARS: Final = 16 * 1024
_MAX_TEXT: Final = 512
_INVALID: Final = 'Bearer error="invalid_token"'
_PARTS: Final = 3


def refused(why: str) -> Unauthenticated:
    """A token that is not accepted; `why` says nothing of its content."""
    return Unauthenticated(f"the token is not accepted: {why}", challenge=_INVALID)


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token whose signature has not been looked at: good for finding the key, and nothing else."""

    text: str = field(repr=False)
    algorithm: str
    kid: str = field(repr=False)
    type: str = field(repr=False)
    issuer: str = field(repr=False)


class Claims:
    """What a token says whose signature holds."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        self._claims = claims

    def text(self, name: str) -> str:
        """A claim that is text; empty where there is none. Raises `Unauthenticated` for one of another kind."""
        value = self._claims.get(name, "")
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise refused(f"its claim {name} is no text of up to {_MAX_TEXT} characters")
        return value

    def has(self, name: str) -> bool:
        """Whether there is such a claim."""
        return name in self._claims

    def words(self, *names: str) -> str:
        """Scopes: the first of these claims, text or a list of texts, as one text."""
        for name in names:
            value = self._claims.get(name)
            if isinstance(value, str):
                return value
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                return " ".join(value)
            if value is not None:
                raise refused(f"its claim {name} is neither text nor a list of texts")
        return ""

    def audiences(self) -> tuple[str, ...]:
        """Whom it is meant for."""
        value = self._claims.get("aud", ())
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple):
            raise refused("its claim aud is neither text nor a list")
        return tuple(one for one in values if isinstance(one, str))

    def seconds(self, name: str) -> float | None:
        """A moment in seconds since 1970; None where there is none."""
        value = self._claims.get(name)
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise refused(f"its claim {name} is no moment")
        return float(value)

    def certificate(self) -> bytes:
        """SHA-256 of the certificate that it is bound to (RFC 8705 §3.1); empty where it is to none.

        A binding of another kind is refused: ignoring it would undo it.
        """
        if "cnf" not in self._claims:
            return b""
        binding = self._claims["cnf"]
        thumbprint = binding.get("x5t#S256") if isinstance(binding, dict) else None
        if not isinstance(thumbprint, str) or len(binding) != 1:
            raise refused("it is bound in a way that is not supported (cnf)")
        digest = _decoded(thumbprint.encode(errors="replace"))
        if len(digest) != 32:
            raise refused("its claim cnf holds no SHA-256")
        return digest


def read(text: str) -> Unverified:
    """Look at a token. Raises `Unauthenticated` for what is none."""
    if len(text) > MAX_TOKEN_CHARS:
        raise refused(f"it is longer than {MAX_TOKEN_CHARS} characters")
    if not text.isascii() or text.count(".") != _PARTS - 1:
        raise refused("it is no JWT and no API key")
    first, second, _ = text.encode().split(b".")
    header, claims = _object(_decoded(first)), _object(_decoded(second))
    if "crit" in header or "b64" in header:
        raise refused("its header asks for what is not supported (crit)")
    return Unverified(
        text=text,
        algorithm=_string(header, "alg"),
        kid=_string(header, "kid"),
        type=_string(header, "typ").lower().removeprefix("application/"),
        issuer=_string(claims, "iss"),
    )


def verify(token: Unverified, key: PublicKey, *, algorithms: Collection[str]) -> Claims:
    """What it says, if its signature by `key` holds. Raises `Unauthenticated`."""
    if token.algorithm not in algorithms:
        raise refused("its algorithm is not one of those that are allowed")
    try:
        signed = jws.deserialize_compact(
            token.text.encode(), key, registry=registry_of(token.algorithm)
        )
    except (JoseError, ValueError, TypeError):
        raise refused("its signature does not hold") from None
    return Claims(_object(signed.payload or b""))


@lru_cache(maxsize=16)
def registry_of(algorithm: str) -> jws.JWSRegistry:
    """A registry that knows one algorithm; joserfc ignores a list of algorithms beside a registry."""
    return jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)


def check_times(claims: Claims, *, now_ms: int, skew_s: float) -> int:
    """When it ends, in milliseconds since the epoch. Raises `Unauthenticated`.

    It must have an end (`exp`); a moment may be off by `skew_s`.
    """
    now_s = now_ms / 1000
    ends_s = claims.seconds("exp")
    if ends_s is None or not 0 < ends_s < 1e11:
        raise refused("it has no end (exp)")
    if now_s >= ends_s + skew_s:
        raise refused("it has ended (exp)")
    for name in ("nbf", "iat"):
        begins_s = claims.seconds(name)
        if begins_s is not None and begins_s > now_s + skew_s:
            raise refused(f"it is not valid yet ({name}); the clocks may differ")
    return round(ends_s * 1000)


def _decoded(part: bytes) -> bytes:
    try:
        return urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error:
        raise refused("it is no JWT") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise refused("it is no JWT") from None


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise refused(f"its {name} is no text")
    return value


__all__ = [
    "MAX_TOKEN_CHARS",
    "Claims",
    "Unverified",
    "check_times",
    "read",
    "refused",
    "registry_of",
    "verify",
]
