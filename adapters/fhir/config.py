"""Configuration of the FHIR adapters: each field's description is its manual."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from adapters.contract import AdapterConfig
from adapters.fhir.codec.interactions import Interaction, Unrepeatable
from adapters.fhir.peers import Retry, Server, ServerFault, ServerTls, Token
from adapters.fhir.settings import (
    MIB,
    AckLevel,
    Address,
    Bundles,
    Cidr,
    EventName,
    FhirPath,
    Release,
    ResourceName,
    SubjectPatterns,
    Validation,
    WebAddress,
    is_loopback,
    split_address,
)
from schemas.fhir.elements import elements_of
from schemas.fhir.release import Release as Fhir
from schemas.fhirpath import compile_path


class ClientConfig(AdapterConfig, Server):
    """`kind = "fhir.client"`: a FHIR server gets its resources from here."""

    subscribe: SubjectPatterns = Field(
        min_length=1, description="Subject pattern or patterns of what this server gets."
    )
    filter: FhirPath = Field(
        default="",
        description="Which of them: FHIRPath, e.g. Observation.status = 'final'; empty: all. A bundle is one resource.",
    )
    filter_release: Release = Field(
        default=Release.R4, description="Release whose names of elements the filter uses."
    )
    lanes: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Requests under way at a time. Order holds for each patient; 1: for everything.",
    )
    interactions: dict[ResourceName, Interaction] = Field(
        default_factory=dict,
        description="By type of resource. auto (default): PUT Type/id where it has an id, else PUT Type?identifier=…. "
        "update, conditional-update, conditional-create (If-None-Exist), create.",
    )
    identifier_systems: tuple[str, ...] = Field(
        default=(),
        description="Systems of identifiers that conditional interactions use, best first; empty: the resource's first "
        "identifier that is not old or temporary.",
    )
    unrepeatable: Unrepeatable = Field(
        default=Unrepeatable.REFUSE,
        description="Content of which a second try could make a second resource (no id, no identifier; entries of a "
        "transaction that create without ifNoneExist). refuse: a dead letter. send: sent; when no answer comes, a "
        "dead letter instead of a second try.",
    )
    return_minimal: bool = Field(
        default=True,
        description="Ask the server to answer without the resource (Prefer: return=minimal).",
    )
    on_server_fault: ServerFault = Field(
        default=ServerFault.WAIT,
        description="After an answer 500. wait: as for a server that is away. retry: an attempt that counts, for "
        "servers that answer 500 to content that they cannot take.",
    )
    retry: Retry = Field(
        default_factory=Retry, description="How resources that the server refuses are tried again."
    )
    validation: Validation = Field(
        default_factory=Validation, description="Validation before a resource is sent."
    )
    deliver_new: bool = Field(
        default=False,
        description="At the very first start: begin with new events instead of the oldest stored.",
    )

    @model_validator(mode="after")
    def _filter_is_known(self) -> Self:
        if self.filter:
            compile_path(self.filter, model=elements_of(Fhir(self.filter_release)))
        return self


class ReceiverConfig(AdapterConfig):
    """`kind = "fhir.receiver"`: FHIR servers send notifications, and systems send resources, here."""

    listen: Address = Field(
        description="Address to listen on, e.g. 0.0.0.0:8443; port 0 asks the system for one."
    )
    path: str = Field(
        default="/fhir",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Where the endpoint stands; PUT and POST below it (<path>/Patient/1) are taken as well.",
    )
    ack: AckLevel = Field(
        default=AckLevel.STORED,
        description="What an answer 2xx means. stored: fsynced by the mesh. replicated: by two servers.",
    )
    event: EventName = Field(
        default="raw.fhir",
        description="Domain and name of the events: evt.<site>.<domain>.<name>.<partition>.",
    )
    event_by_type: dict[ResourceName, EventName] = Field(
        default_factory=dict,
        description='Other events for some types of resources, e.g. { Observation = "result.reported" }.',
    )
    bundles: Bundles = Field(
        default=Bundles.ENTRIES,
        description="A notification bundle with resources becomes, with entries: an event for each resource, byte for "
        "byte as it stands there. whole: one event. Other bundles are always one event.",
    )
    token: Token | None = Field(
        default=None,
        description="What a sender must show; a listener beyond the loopback needs this or tls.client_ca.",
    )
    tls: ServerTls | None = Field(
        default=None, description="TLS; without it the listener is plain."
    )
    allow: tuple[Cidr, ...] = Field(
        default=(), description="Networks that may connect, e.g. 10.1.0.0/16; empty: every one."
    )
    max_connections: int = Field(
        default=512, ge=1, le=65536, description="Connections at a time; more are closed at once."
    )
    max_requests: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Requests in hand at a time; more get 503. Bounds memory with max_body_bytes.",
    )
    max_body_bytes: int = Field(
        default=7 * MIB,
        ge=1024,
        le=512 * MIB,
        description="Larger bodies get 413. An event has 7.5 MiB at most, "
        "less where the server's max_payload is below 8 MiB.",
    )
    idle_timeout_s: float = Field(
        default=60.0, gt=0, description="A connection without a request for so long is closed."
    )
    head_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="The head of a request must be complete by then: ends slow drips.",
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="The body of a request must be complete by then."
    )
    publish_timeout_s: float = Field(
        default=20.0, gt=0, description="503 when the mesh has not stored the event by then."
    )
    validation: Validation = Field(
        default_factory=Validation,
        description="Validation before a resource is stored; 422 with on.",
    )
    source: Server | None = Field(
        default=None,
        description="The server that notifies: for notifications without content, and for subscribe_to.",
    )
    subscribe_to: tuple[str, ...] = Field(
        default=(),
        description='Criteria of R4 subscriptions that are kept at the source, e.g. "Observation?status=final". '
        "A notification without content makes it search the source by these and by _lastUpdated.",
    )
    endpoint: WebAddress | None = Field(
        default=None,
        description="Address under which the source reaches this listener, path included; for subscribe_to.",
    )
    renew_s: float = Field(
        default=3600.0,
        ge=1,
        description="Pause between two looks at the subscriptions of subscribe_to.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        host, _ = split_address(self.listen)
        checked = self.token is not None or (
            self.tls is not None and self.tls.client_ca is not None
        )
        if not is_loopback(host) and not checked:
            raise ValueError(
                "a listener beyond the loopback takes patient data from anybody: give [adapter.token], or tls.client_ca"
            )
        if self.token is not None and self.tls is None and not is_loopback(host):
            raise ValueError(
                "[adapter.token] over plain HTTP shows the secret to the network: give [adapter.tls]"
            )
        if self.subscribe_to and (self.source is None or self.endpoint is None):
            raise ValueError("subscribe_to needs source.base and endpoint")
        return self


__all__ = ["ClientConfig", "ReceiverConfig"]
