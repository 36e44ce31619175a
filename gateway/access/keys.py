"""API keys: `mm_<client>_<random>`. Only their hashes are kept; 256 random bits need no slow hash."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.access.protocol import Unauthenticated
from schemas.gateway.access import ClientSection
from schemas.section import NAME_PATTERN

PREFIX: Final = "mm_"
_HASH: Final = "sha256:"
_ALPHABET: Final = string.ascii_letters + string.digits
_RANDOM_CHARS: Final = 43
"""Of 62 letters: 256 bits."""
_KEY: Final = re.compile(rf"mm_({NAME_PATTERN[1:-1]})_([A-Za-z0-9]{{{_RANDOM_CHARS}}})\Z")
_NOBODY: Final = hashlib.sha256(b"nobody has this key").digest()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: shown once, then only its hash is known."""

    text: str = field(repr=False)
    hash: str = field(repr=False)
    """What `[[gateway.client.key]]` holds."""


@dataclass(frozen=True, slots=True)
class _Known:
    digest: bytes = field(repr=False)
    until_ms: int
    """0: it does not end."""


def new_api_key(client: str) -> NewKey:
    """Make a key for the client of this name. Raises `ValueError` for a name that is none."""
    if not re.fullmatch(NAME_PATTERN[1:-1], client):
        raise ValueError(f"{client!r} is no name of a client: {NAME_PATTERN}")
    text = f"{PREFIX}{client}_{''.join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))}"
    return NewKey(text, _HASH + hashlib.sha256(text.encode()).hexdigest())


class ApiKeys:
    """The keys of all clients."""

    def __init__(self, clients: Iterable[ClientSection]) -> None:
        self._known = {
            client.name: tuple(
                _Known(bytes.fromhex(key.hash.removeprefix(_HASH)), _milliseconds(key.until))
                for key in client.key
            )
            for client in clients
        }
        self._verified: dict[bytes, tuple[str, int]] = {}
        """By SHA-256 of the key: only what was verified, so no more than there are keys."""

    def verify(self, text: str, *, now_ms: int) -> tuple[str, int]:
        """The client whose key this is, and when the key ends (0: never). Raises `Unauthenticated`.

        How long it takes tells nothing of a key, nor whether a client of that name exists.
        """
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        verified = self._verified.get(digest)
        if verified is not None and not 0 < verified[1] <= now_ms:
            return verified
        found = _KEY.match(text)
        name = found[1] if found else ""
        matching: _Known | None = None
        for known in self._known.get(name, ()) or (_Known(_NOBODY, 1),):
            if hmac.compare_digest(known.digest, digest):
                matching = known
        if matching is None:
            raise Unauthenticated("the API key is not known")
        if matching.until_ms and now_ms >= matching.until_ms:
            raise Unauthenticated(f"the API key of {name} has ended; its owner needs a new one")
        self._verified[digest] = name, matching.until_ms
        return name, matching.until_ms


def _milliseconds(moment: datetime.datetime | None) -> int:
    if moment is None:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * 1000)


__all__ = ["PREFIX", "ApiKeys", "NewKey", "new_api_key"]
