"""Identifiers as the index keeps them: keyed hashes, of which nobody without the site's key learns anything."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

from bus.tracing.protocol import Query, QueryKind
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.keyed import keyed_hash

KEY_BYTES: Final = 16
_LABEL: Final = b"medmesh.index.v1"


class Keys:
    """Turns identifiers into keys: 16 bytes of HMAC-SHA256 over (kind, assigner, normalised value)."""

    def __init__(self, site_key: bytes) -> None:
        self._hash = keyed_hash(site_key)

    def of_query(self, query: Query) -> bytes:
        """Return the key under which what is looked for was kept."""
        return self._key(query.kind, query.assigner, query.value)

    def of_index(self, index: content_pb.Index) -> frozenset[bytes]:
        """Return every key of a message: each identifier with its assigner, and alone."""
        return frozenset(self._of_index(index))

    def _of_index(self, index: content_pb.Index) -> Iterator[bytes]:
        if normalised(index.control_id):
            yield self._key(QueryKind.CONTROL, "", index.control_id)
        for kind, identifiers in (
            (QueryKind.PATIENT, index.patient),
            (QueryKind.ORDER, index.order),
            (QueryKind.VISIT, index.visit),
        ):
            for one in identifiers:
                if normalised(one.value):
                    yield self._key(kind, "", one.value)
                    yield self._key(kind, one.system, one.value)

    def _key(self, kind: QueryKind, assigner: str, value: str) -> bytes:
        parts = (kind.value.encode(), normalised(assigner).encode(), normalised(value).encode())
        # each part behind its length, so that no two triples give the same bytes
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return self._hash.digest(_LABEL, framed)[:KEY_BYTES]


def normalised(text: str) -> str:
    """Return an identifier as it is compared: composed (NFKC), without case and without space around it."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


__all__ = ["KEY_BYTES", "Keys", "normalised"]
