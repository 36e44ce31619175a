"""From the configuration to a running `Access`."""

from __future__ import annotations

from bus.audit import AccessLog
from gateway.access.access import GatewayAccess
from gateway.access.listeners import check_access
from gateway.access.proofs import Identity
from gateway.access.protocol import Unauthenticated
from gateway.access.rights import local_user
from gateway.contract import GatewayRuntime
from schemas.gateway import GatewaySection


class NoTokens:
    """For gateways that accept none."""

    async def verify(self, token: str) -> Identity:
        """Raises `Unauthenticated`."""
        raise Unauthenticated("bearer tokens are not accepted here")


async def open_access(section: GatewaySection, runtime: GatewayRuntime) -> GatewayAccess:
    """The started access of a gateway; its owner stops it. Raises `ConfigurationError`."""
    check_access(section)
    access = GatewayAccess(
        clients=section.client or (local_user(runtime.site),),
        tokens=NoTokens(),
        log=AccessLog(site=runtime.site, events=runtime.events, counters=runtime.counters),
        clock=runtime.clock,
        counters=runtime.counters,
    )
    await access.start()
    return access


__all__ = ["open_access"]
