"""Each assertion is taken once, whichever gateway it comes to: its id is written where all of them look."""

from __future__ import annotations

import hashlib
from typing import Final

from adapters.contract import OpenRecords
from bus.transport.protocol import KeyValue, WrongRevision

BUCKET: Final = "gateway-assertions"
KEPT_S: Final = 1200.0
"""How long an id is remembered: longer than an assertion can be valid (5 minutes and the largest skew, twice)."""


class Once:
    """The ids that were seen. The carrier learns a hash of each: it needs no secret that gateways might not share."""

    def __init__(self, records: OpenRecords) -> None:
        self._records = records
        self._bucket: KeyValue | None = None

    async def take(self, client: str, identifier: str) -> bool:
        """Whether it is here for the first time. Raises `MeshError` where that cannot be known: then refuse."""
        if self._bucket is None:
            self._bucket = await self._records(BUCKET, max_age_s=KEPT_S)
        key = hashlib.sha256(f"assertion\0{client}\0{identifier}".encode()).hexdigest()
        try:
            await self._bucket.swap(key, b"", revision=0)
        except WrongRevision:
            return False
        return True


__all__ = ["BUCKET", "KEPT_S", "Once"]
