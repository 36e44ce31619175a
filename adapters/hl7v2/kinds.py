"""The kinds of adapters of this folder, as a site finds them: `hl7v2.mllp-server` and its siblings."""

from __future__ import annotations

from typing import Final

from adapters.contract import Adapter, AdapterKind, AdapterRuntime, Rights
from adapters.hl7v2.client import MllpClient
from adapters.hl7v2.config import MllpClientConfig, MllpServerConfig
from adapters.hl7v2.server import MllpServer
from adapters.hl7v2.views.config import FromFhirConfig, ToFhirConfig
from adapters.hl7v2.views.naming import DOMAINS
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


def _view_rights(config: ToFhirConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    views = tuple(f"evt.{site}.{domain}.*.*" for domain in DOMAINS)
    return Rights(publish=(*views, *own.publish), subscribe=(*config.subscribe, *own.subscribe))


def _message_rights(config: FromFhirConfig, site: SiteId) -> Rights:
    own = consumer_rights(site, config.name)
    messages = f"evt.{site}.raw.{config.event}.*"
    return Rights(publish=(messages, *own.publish), subscribe=(*config.subscribe, *own.subscribe))


def _writer(config: FromFhirConfig, runtime: AdapterRuntime) -> Adapter:
    from adapters.hl7v2.views.from_fhir import FromFhir  # noqa: PLC0415 - tables only where they are used

    return FromFhir(config, runtime)


def _view(config: ToFhirConfig, runtime: AdapterRuntime) -> Adapter:
    from adapters.hl7v2.views.to_fhir import ToFhir  # noqa: PLC0415 - tables only where they are used

    return ToFhir(config, runtime)


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

TO_FHIR: Final = AdapterKind(
    kind="hl7v2.to-fhir",
    summary="Gives raw HL7 v2 events a FHIR R4 view, by tables.",
    config=ToFhirConfig,
    rights=_view_rights,
    build=_view,
    addresses=lambda _config: (),
)

FROM_FHIR: Final = AdapterKind(
    kind="hl7v2.from-fhir",
    summary="Gives FHIR events HL7 v2 messages beside them, by tables.",
    config=FromFhirConfig,
    rights=_message_rights,
    build=_writer,
    addresses=lambda _config: (),
)

__all__ = ["FROM_FHIR", "MLLP_CLIENT", "MLLP_SERVER", "TO_FHIR"]
