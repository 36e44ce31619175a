"""Each assertion is taken once, whichever gateway it comes to: its id is written where all of them look."""

from __future__ import annotations

from typing import Final

from adapters.contract import OpenRecords
from bus.transport.protocol import KeyValue, WrongRevision
from schemas.keyed import keyed_hash

BUCKET: Final = "gateway-assertions"
KEPT_S: Final = 1200.0
"""How long an id is remembered: longer than an assertion can be valid (5 minutes and the largest skew, twice)."""


class Once:
    """The ids that were seen. The carrier learns a keyed hash of each."""

    def __init__(self, records: OpenRecords, *, site_key: bytes) -> None:
        self._records = records
        self._hash = keyed_hash(site_key)
        self._bucket: KeyValue | None = None

    async def take(self, client: str, identifier: str) -> bool:
        """Whether it is here for the first time. Raises `MeshError` where that cannot be known: then refuse."""
        if self._bucket is None:
            self._bucket = await self._records(BUCKET, max_age_s=KEPT_S)
        digest = self._hash.digest(b"assertion\0", client.encode(), b"\0", identifier.encode())
        try:
            await self._bucket.swap(digest.hex(), b"", revision=0)
        except WrongRevision:
            return False
        return True


__all__ = ["BUCKET", "KEPT_S", "Once"]
