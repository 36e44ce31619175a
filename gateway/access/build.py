"""From the configuration to a running `Access`."""

from __future__ import annotations

from typing import Final

from bus.audit import AccessLog
from gateway.access.access import GatewayAccess
from gateway.access.backend import Backend
from gateway.access.fetch import from_address, from_file
from gateway.access.issuers import Issuer, Issuers
from gateway.access.jwks import Keys
from gateway.access.listeners import ISSUING, check_access
from gateway.access.own_tokens import OwnTokens
from gateway.access.rates import Rates
from gateway.access.replays import Once
from gateway.access.rights import ClientRights, local_user
from gateway.access.sources import Source
from gateway.access.tokens import BearerTokens
from gateway.contract import GatewayRuntime
from schemas.gateway import GatewaySection
from schemas.gateway.access import ClientSection, IssuerSection

_REFRESH_S: Final = 3600.0


async def open_access(section: GatewaySection, runtime: GatewayRuntime) -> GatewayAccess:
    """The started access of a gateway; its owner stops it. Raises `ConfigurationError`."""
    check_access(section)
    clients = section.client or (local_user(runtime.site),)
    rights = {one.name: ClientRights(one) for one in clients}
    sources: list[Source] = []

    def keys(of: IssuerSection | ClientSection, who: str) -> Keys:
        found = Keys(
            from_file(of.jwks) if of.jwks is not None else from_address(of.jwks_url, of.authority),
            who=who,
            refresh_s=of.refresh_s if isinstance(of, IssuerSection) else _REFRESH_S,
            clock=runtime.clock,
            counters=runtime.counters,
        )
        sources.append(Source(found, who=who, is_local=of.jwks is not None))
        return found

    skew_s = section.access.clock_skew_s
    own = OwnTokens(
        site=runtime.site,
        site_key=runtime.site_key,
        rights=rights,
        clock=runtime.clock,
        lifetime_s=section.access.token_lifetime_s,
        skew_s=skew_s,
    )
    issuers = [Issuer(one, keys(one, f"issuer {one.issuer}")) for one in section.access.issuer]
    rates = Rates(clients, now_s=runtime.clock.monotonic_s())
    backend = Backend(
        keys={one.name: keys(one, f"client {one.name}") for one in clients if one.has_public_keys},
        rights=rights,
        tokens=own,
        once=Once(runtime.records),
        rates=rates,
        audiences=frozenset({section.public_url + ISSUING}),
        skew_s=skew_s,
        clock=runtime.clock,
        counters=runtime.counters,
    )
    access = GatewayAccess(
        clients=clients,
        rights=rights,
        tokens=BearerTokens(
            own,
            Issuers(issuers, clients, rights, clock=runtime.clock, skew_s=skew_s),
            clock=runtime.clock,
        ),
        rates=rates,
        backend=backend,
        log=AccessLog(site=runtime.site, events=runtime.events, counters=runtime.counters),
        clock=runtime.clock,
        counters=runtime.counters,
        sources=sources,
    )
    await access.start()
    return access


__all__ = ["open_access"]
