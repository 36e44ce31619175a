"""Gateways of one site hash under one key: a second one with another key must not start.

With two keys the same Idempotency-Key would name two events, and each would refuse the cursors of the other.
"""

from __future__ import annotations

import hmac
from typing import Final

from adapters.contract import OpenRecords
from bus.transport.protocol import WrongRevision
from schemas.errors import ConfigurationError
from schemas.keyed import keyed_hash
from schemas.subjects import SiteId

BUCKET: Final = "gateway-site"


async def check_site_key(records: OpenRecords, site: SiteId, site_key: bytes) -> None:
    """Leave a proof of the key where the site's gateways look, or compare it with what the first has left.

    Raises `ConfigurationError` for another key, `MeshError` where that cannot be known.
    """
    proof = keyed_hash(site_key).digest(b"gateway-site.", str(site).encode())
    bucket = await records(BUCKET)
    try:
        await bucket.swap(str(site), proof, revision=0)
    except WrongRevision:
        found = (await bucket.get(str(site))).value or b""
        if not hmac.compare_digest(found, proof):
            raise ConfigurationError(
                f"gateway: another gateway of site {site} works under another site key, so they would not know each "
                "other's idempotency keys: give this machine a copy of that one's data/trust. If the key was "
                f"exchanged on purpose, delete the bucket {BUCKET} at the NATS server"
            ) from None


__all__ = ["BUCKET", "check_site_key"]
