"""FHIR over HTTP: a server gets resources from here (`fhir.client`), and servers notify here (`fhir.receiver`)."""

from __future__ import annotations

from typing import Final

from adapters.contract import AdapterKind, Rights
from adapters.fhir.client import FhirSender
from adapters.fhir.config import ClientConfig, ReceiverConfig
from adapters.fhir.rest import FhirClient
from adapters.fhir.server import FhirReceiver
from adapters.fhir.settings import split_event
from bus.events.rights import consumer_rights
from schemas.subjects import SiteId


def _client_rights(config: ClientConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    return Rights(publish=own.publish, subscribe=(*config.subscribe, *own.subscribe))


def _receiver_rights(config: ReceiverConfig, site: SiteId) -> Rights:
    names = (config.event, *config.event_by_type.values())
    pairs = [split_event(name) for name in dict.fromkeys(names)]
    return Rights(publish=tuple(f"evt.{site}.{domain.value}.{name}.*" for domain, name in pairs))


CLIENT: Final = AdapterKind(
    kind="fhir.client",
    summary="Delivers events to a FHIR server.",
    config=ClientConfig,
    rights=_client_rights,
    build=FhirSender,
    addresses=lambda _config: (),
)

RECEIVER: Final = AdapterKind(
    kind="fhir.receiver",
    summary="Receives notifications and resources over HTTP and answers them by the declared meaning.",
    config=ReceiverConfig,
    rights=_receiver_rights,
    build=FhirReceiver,
    addresses=lambda config: (config.listen,),
)

__all__ = ["CLIENT", "RECEIVER", "FhirClient"]
