"""FHIR over HTTP: a server gets resources from here (`fhir.client`), and servers notify here (`fhir.receiver`)."""

from __future__ import annotations

from typing import Final

from adapters.contract import AdapterKind, Rights
from adapters.fhir.client import FhirSender
from adapters.fhir.config import ClientConfig
from adapters.fhir.rest import FhirClient
from bus.events.rights import consumer_rights
from schemas.subjects import SiteId


def _client_rights(config: ClientConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    return Rights(publish=own.publish, subscribe=(*config.subscribe, *own.subscribe))


CLIENT: Final = AdapterKind(
    kind="fhir.client",
    summary="Delivers events to a FHIR server.",
    config=ClientConfig,
    rights=_client_rights,
    build=FhirSender,
    addresses=lambda _config: (),
)

__all__ = ["CLIENT", "FhirClient"]
