"""`/v1/subscribe` as a part of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.contract import Rights
from gateway.access.protocol import Access
from gateway.contract import GatewayRuntime
from gateway.http.request import Bounds
from gateway.http.v1.desk import Desk
from gateway.part import Mount, PartKind
from gateway.streams.describe import SUBSCRIBE
from gateway.streams.serving import PREFIX, Subscribing
from gateway.streams.watch import Watch
from schemas.gateway import GatewaySection

_RECORDS_S: Final = 5.0
"""How long the last access records may take to be kept when it stops."""


class StreamsPart:
    """Server-sent events and WebSocket."""

    def __init__(self, section: GatewaySection, runtime: GatewayRuntime, access: Access) -> None:
        bounds = Bounds(
            max_body=section.max_body,
            body_timeout_s=section.body_timeout_s,
            request_timeout_s=section.request_timeout_s,
        )
        self._desk = Desk(access, bounds, site_key=runtime.site_key, counters=runtime.counters)
        self._watch = Watch(
            section.streams,
            access,
            max_streams=section.max_streams,
            clock=runtime.clock,
            counters=runtime.counters,
        )
        self._subscribing = Subscribing(
            section.streams, runtime, runtime.feed, self._desk, self._watch
        )

    async def start(self) -> None:
        """Begin to watch over streams."""
        self._watch.start()

    def mounts(self) -> Sequence[Mount]:
        """See `Part.mounts`."""
        return (Mount(prefix=PREFIX, app=self._subscribing, openapi=SUBSCRIBE, is_stream=True),)

    def components(self) -> Mapping[str, Any]:
        """See `Part.components`."""
        return {}

    async def drain(self, *, timeout_s: float) -> None:
        """Tell every client to go on at another gateway."""
        self._watch.drain()

    async def stop(self) -> None:
        """End every stream."""
        await self._watch.stop()
        await self._desk.close(timeout_s=_RECORDS_S)


STREAMS: Final = PartKind(
    name="streams",
    is_wanted=lambda section: True,
    rights=lambda section, site: Rights(),
    build=StreamsPart,
)

__all__ = ["STREAMS", "StreamsPart"]
