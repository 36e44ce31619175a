"""Tables of a site in a bucket of the mesh: one layer for each adapter, versioned, proven, followed as it changes.

A layer is a set of files, as in a folder. It is written with compare-and-set, and carries a keyed proof of the site's
secret: the carrier can withhold or give back an older one, and cannot write one.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import zstandard

from bus.transport.protocol import Entry, KeyValue, Subscription
from bus.transport.types import NotFound
from schemas.errors import MeshError
from schemas.keyed import keyed_hash
from schemas.subjects import token

BUCKET: Final = "hl7v2-maps"
HISTORY: Final = 32
MAX_LAYER_BYTES: Final = 4 * 1024 * 1024
"""Of all files together, and of what is unpacked."""
_PROOF_BYTES: Final = 32


class LayerRefused(MeshError):
    """What lies in the bucket was not written with the site's secret, or is damaged, or was no text to begin with."""

    code = "layer_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """The tables that a site puts over the shipped ones."""

    files: Mapping[str, bytes] = field(repr=False)
    """By path within the layer, such as `segments/pid-patient.yaml`."""
    author: str
    reason: str
    at_ms: int
    revision: int = 0
    """In the bucket; 0: not written yet."""


class Shelf:
    """The layers of a site. `name` is the adapter whose tables they are."""

    def __init__(self, bucket: KeyValue, site_key: bytes) -> None:
        self._bucket = bucket
        self._hash = keyed_hash(site_key)

    async def write(self, name: str, layer: Shelved) -> int:
        """Write over the revision that `layer` names; returns the new one. Raises `WrongRevision`, `LayerRefused`."""
        body = zstandard.compress(
            json.dumps(
                {
                    "author": layer.author,
                    "reason": layer.reason,
                    "at_ms": layer.at_ms,
                    "files": {path: _text(path, raw) for path, raw in sorted(layer.files.items())},
                }
            ).encode()
        )
        raw = self._proof(token(name), body) + body
        return await self._bucket.swap(name, raw, revision=layer.revision)

    async def read(self, name: str) -> Shelved:
        """The newest layer. Raises `NotFound`, `LayerRefused`."""
        entry = await self._bucket.get(token(name))
        if not entry.value:
            raise NotFound(f"no layer for {name}")
        return self._open(name, entry.value, entry.revision)

    async def follow(
        self, name: str, changed: Callable[[Shelved | LayerRefused | None], None]
    ) -> Subscription:
        """Report the layer now, if there is one, and whenever it changes; None when it was taken away."""

        def look(entry: Entry) -> None:
            try:
                changed(self._open(name, entry.value, entry.revision) if entry.value else None)
            except LayerRefused as refused:
                changed(refused)

        return await self._bucket.watch(token(name), look)

    def _open(self, name: str, raw: bytes, revision: int) -> Shelved:
        proof, body = raw[:_PROOF_BYTES], raw[_PROOF_BYTES:]
        if not hmac.compare_digest(proof, self._proof(name, body)):
            raise LayerRefused(f"the layer of {name} was not written with the site's secret")
        try:
            unpacked = zstandard.ZstdDecompressor().decompress(
                body, max_output_size=2 * MAX_LAYER_BYTES
            )
            held = json.loads(unpacked)
            return Shelved(
                files={path: text.encode() for path, text in held["files"].items()},
                author=held["author"],
                reason=held["reason"],
                at_ms=held["at_ms"],
                revision=revision,
            )
        except (zstandard.ZstdError, ValueError, KeyError, AttributeError) as error:
            raise LayerRefused(f"the layer of {name} is damaged: {type(error).__name__}") from None

    def _proof(self, name: str, body: bytes) -> bytes:
        return self._hash.digest(b"map-layer.", name.encode(), b".", body)[:_PROOF_BYTES]


def _text(path: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise LayerRefused(f"{path}: is no UTF-8 at byte {error.start}") from None


__all__ = ["BUCKET", "HISTORY", "LayerRefused", "Shelf", "Shelved"]
