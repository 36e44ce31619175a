"""HL7 v2 over MLLP: systems send messages here (`hl7v2.mllp-server`) and get them from here (`hl7v2.mllp-client`)."""

from __future__ import annotations

from typing import Final

from adapters.contract import AdapterKind, Rights
from adapters.hl7v2.client import MllpClient
from adapters.hl7v2.config import MllpClientConfig, MllpServerConfig
from adapters.hl7v2.server import MllpServer
from bus.events.rights import consumer_rights, receipt_rights
from schemas.subjects import SiteId


def _server_rights(config: MllpServerConfig, site: SiteId) -> Rights:
    return Rights(
        publish=(f"evt.{site}.raw.{config.event}.*",),
        subscribe=receipt_rights(site, config.receipts_from).subscribe,
    )


def _client_rights(config: MllpClientConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    return Rights(publish=own.publish, subscribe=(*config.subscribe, *own.subscribe))


MLLP_SERVER: Final = AdapterKind(
    kind="hl7v2.mllp-server",
    summary="Receives HL7 v2 messages over MLLP and acknowledges them by the declared meaning.",
    config=MllpServerConfig,
    rights=_server_rights,
    build=MllpServer,
    addresses=lambda config: (config.listen,),
)

MLLP_CLIENT: Final = AdapterKind(
    kind="hl7v2.mllp-client",
    summary="Delivers events to a system that speaks HL7 v2 over MLLP.",
    config=MllpClientConfig,
    rights=_client_rights,
    build=MllpClient,
    addresses=lambda _config: (),
)

__all__ = ["MLLP_CLIENT", "MLLP_SERVER"]
