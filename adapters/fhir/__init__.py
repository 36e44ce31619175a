"""FHIR over HTTP (`fhir.client` delivers, `fhir.receiver` is notified), and resources that are kept (`fhir.store`)."""

from __future__ import annotations

from typing import Final

from adapters.contract import AdapterKind, Rights
from adapters.fhir.client import FhirSender
from adapters.fhir.config import ClientConfig, ReceiverConfig
from adapters.fhir.rest import FhirClient
from adapters.fhir.server import FhirReceiver
from adapters.fhir.settings import split_event
from adapters.fhir.store.adapter import FhirStore, offer_of
from adapters.fhir.store.config import StoreConfig
from adapters.fhir.store.events import DOMAINS, Change, domain_of, event_name
from bus.events.rights import consumer_rights
from bus.services.rights import service_rights
from schemas.subjects import SiteId


def _client_rights(config: ClientConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    return Rights(publish=own.publish, subscribe=(*config.subscribe, *own.subscribe))


def _receiver_rights(config: ReceiverConfig, site: SiteId) -> Rights:
    names = (config.event, *config.event_by_type.values())
    pairs = [split_event(name) for name in dict.fromkeys(names)]
    return Rights(publish=tuple(f"evt.{site}.{domain.value}.{name}.*" for domain, name in pairs))


def _store_rights(config: StoreConfig, site: SiteId) -> Rights:
    serves = service_rights(site, offer_of(config))
    own = consumer_rights(site, config.name)
    if config.types:
        changes = tuple(
            f"evt.{site}.{domain_of(name).value}.{event_name(name, change)}.*"
            for name in config.types
            for change in Change
        )
    else:
        changes = tuple(f"evt.{site}.{domain.value}.*.*" for domain in DOMAINS)
    return Rights(
        publish=(*changes, *serves.publish, *own.publish),
        subscribe=(*config.subscribe, *serves.subscribe, *own.subscribe),
    )


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

STORE: Final = AdapterKind(
    kind="fhir.store",
    summary="Owns FHIR resources and answers the gateway's FHIR interface.",
    config=StoreConfig,
    rights=_store_rights,
    build=FhirStore,
    addresses=lambda _config: (),
)

__all__ = ["CLIENT", "RECEIVER", "STORE", "FhirClient"]
