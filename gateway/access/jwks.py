"""Public keys of others, from a file or an https address: read within bounds, kept, read again when one is missing."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from bus.flow import TokenBucket
from bus.telemetry.counters import Counters
from gateway.access.protocol import Unauthenticated
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable

PublicKey = RSAKey | ECKey | OKPKey
Load = Callable[[], Awaitable[bytes]]
"""Reads the document. Raises `MeshError`."""

MAX_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 64
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192
_REFRESH_PER_S: Final = 1 / 30
_REFRESH_BURST: Final = 2
_STALE_S: Final = 86_400.0
"""How long keys are believed that cannot be read again: a day without the authorisation server."""

_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "Ed25519": "Ed25519"}
_USABLE: Final = frozenset({"RSA", "EC", "OKP"})
"""Kinds of keys; a shared secret (`oct`) is never one of them."""


class BadKeys(MeshError, ValueError):
    """A document is no set of keys, or holds none that can be used."""

    code = "bad_keys"


@dataclass(frozen=True, slots=True)
class _Held:
    kid: str
    algorithm: str
    kind: str
    """`RSA`, or the curve."""
    key: PublicKey = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        wanted = _CURVES.get(algorithm, "RSA")
        return self.kind == wanted and self.algorithm in ("", algorithm)


class KeySet:
    """The keys of one document (RFC 7517) that may verify signatures."""

    def __init__(self, held: tuple[_Held, ...]) -> None:
        self._held = held

    @classmethod
    def parse(cls, document: bytes) -> KeySet:
        """Keys for other purposes, too short ones and unknown kinds are left out. Raises `BadKeys`."""
        try:
            entries = msgspec.json.decode(document, type=_Document).keys
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadKeys("the document is no JWKS: an object with `keys` is expected") from None
        if len(entries) > _MAX_KEYS:
            raise BadKeys(f"the JWKS has {len(entries)} keys; at most {_MAX_KEYS} are allowed")
        held = tuple(one for entry in entries if (one := _usable(entry)) is not None)
        if not held:
            raise BadKeys("the JWKS has no public key that can verify signatures")
        return cls(held)

    def find(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key of that name which fits the algorithm; without a name the only one that fits."""
        fitting = [one.key for one in self._held if one.fits(algorithm) and kid in ("", one.kid)]
        return fitting[0] if len(fitting) == 1 or (kid and fitting) else None


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


def _usable(entry: dict[str, Any]) -> _Held | None:
    """The key of one entry, if it may verify; one that cannot be read does not take the others away."""
    try:
        return _held(entry)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _held(entry: dict[str, Any]) -> _Held | None:
    kid, algorithm, kind = entry.get("kid", ""), entry.get("alg", ""), entry["kty"]
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        return None
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        return None
    if kind not in _USABLE:
        return None
    public = {name: value for name, value in entry.items() if name in _PUBLIC}
    if kind == "RSA" and not _MIN_RSA_BITS <= _bits(public["n"]) <= _MAX_RSA_BITS:
        return None
    key = import_key(public)
    if isinstance(key, RSAKey):
        return _Held(kid, algorithm, "RSA", key)
    if isinstance(key, ECKey | OKPKey):
        return _Held(kid, algorithm, str(public["crv"]), key)
    return None


def _bits(number: str) -> int:
    padded = number.encode() + b"=" * (-len(number) % 4)
    return int.from_bytes(urlsafe_b64decode(padded), "big").bit_length()


_PUBLIC: Final = frozenset({"kty", "crv", "x", "y", "n", "e"})
"""What is taken of an entry: nothing private, and no certificate chain that nobody checks."""


class Keys:
    """Keys of one issuer or client, kept up to date."""

    def __init__(
        self, load: Load, *, who: str, refresh_s: float, clock: Clock, counters: Counters
    ) -> None:
        self._load = load
        self._who = who
        self._refresh_s = refresh_s
        self._clock = clock
        self._counters = counters
        self._set: KeySet | None = None
        self._read_s = 0.0
        self._bucket = TokenBucket(
            per_s=_REFRESH_PER_S, burst=_REFRESH_BURST, now_s=clock.monotonic_s()
        )
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Read them now. Raises `MeshError`."""
        document = await self._load()
        self._set = KeySet.parse(document)
        self._read_s = self._clock.monotonic_s()

    async def find(self, kid: str, algorithm: str) -> PublicKey:
        """The key for a signature. Raises `Unauthenticated`; `Unavailable` where no keys could be read."""
        held = self._current()
        if held is not None and (key := held.find(kid, algorithm)) is not None:
            return key
        reading = self.begin()
        if reading is not None:
            await asyncio.shield(reading)
        held = self._current()
        if held is None:
            raise Unavailable(f"the keys of {self._who} cannot be read now")
        if (key := held.find(kid, algorithm)) is None:
            raise Unauthenticated(f"{self._who} has no key for this signature")
        return key

    def _current(self) -> KeySet | None:
        """What is known; one that grows old is read again meanwhile, one that is too old is no longer believed."""
        if self._set is None:
            return None
        age_s = self._clock.monotonic_s() - self._read_s
        if age_s >= self._refresh_s:
            self.begin()
        return self._set if age_s < self._refresh_s + _STALE_S else None

    def begin(self) -> asyncio.Task[None] | None:
        """Read again, once at a time and not too often; None where it must wait."""
        if self._reading is not None and not self._reading.done():
            return self._reading
        if self._bucket.take(self._clock.monotonic_s()) > 0.0:
            self._counters.add("keys_read_refused", who=self._who, reason="rate")
            return None
        self._reading = asyncio.create_task(self._try(), name="access-keys")
        return self._reading

    async def _try(self) -> None:
        try:
            await self.read()
        except MeshError as error:
            self._counters.add("keys_read_failed", who=self._who, reason=error.code)
        else:
            self._counters.add("keys_read", who=self._who)

    async def stop(self) -> None:
        """End a read that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])


__all__ = ["MAX_BYTES", "BadKeys", "KeySet", "Keys", "Load", "PublicKey"]
