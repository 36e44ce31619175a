"""How often a client may ask: a token bucket each, at each gateway."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bus.flow import TokenBucket
from gateway.access.protocol import TooMany
from schemas.gateway.access import ClientSection


class Rates:
    """The buckets of all clients whose rate is limited."""

    def __init__(self, clients: Iterable[ClientSection], *, now_s: float) -> None:
        self._limits = {one.name: one.rate for one in clients if one.rate}
        self._buckets = {
            one.name: TokenBucket(
                per_s=one.rate, burst=one.burst or max(1, math.ceil(one.rate)), now_s=now_s
            )
            for one in clients
            if one.rate
        }

    def admit(self, client: str, *, now_s: float) -> None:
        """Count one request. Raises `TooMany`."""
        bucket = self._buckets.get(client)
        wait_s = bucket.take(now_s) if bucket is not None else 0.0
        if wait_s > 0.0:
            raise TooMany(
                f"client {client} asks more often than its rate = {self._limits[client]:g} a second allows",
                retry_after_s=wait_s,
            )


__all__ = ["Rates"]
