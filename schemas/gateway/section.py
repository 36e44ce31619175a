"""`[gateway]` itself: where it listens, how large and how long requests may be."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ByteSize, Field

from schemas.gateway.access import AccessSection, ClientSection
from schemas.gateway.console import ConsoleSection
from schemas.gateway.fhir import GatewayFhirSection
from schemas.gateway.grpc import GrpcSection
from schemas.gateway.hl7v2 import GatewayHl7v2Section
from schemas.gateway.streams import StreamsSection
from schemas.gateway.subscriptions import SubscriptionsSection
from schemas.section import Section

ADDRESS_PATTERN: Final = r"^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}$"
_MEBIBYTE: Final = 1 << 20


class GatewayTls(Section):
    """`[gateway.tls]`: HTTPS and gRPC over TLS."""

    certificate: Path = Field(description="PEM file with the server's certificate and its chain.")
    key: Path = Field(
        description="PEM file with the key of `certificate` (PKCS#8, not encrypted); mode 0600."
    )


class GatewaySection(Section):
    """`[gateway]`: the front door for systems that speak HTTP or gRPC. Without it there is none."""

    listen: str = Field(
        default="127.0.0.1:8080",
        pattern=ADDRESS_PATTERN,
        description="Address for HTTP/1.1 and HTTP/2, e.g. 0.0.0.0:8443.",
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/?#]+(/[^\s?#]*[^\s/?#])?)?$",
        description="Address under which clients reach the gateway, for links that it gives out; "
        "empty: the one of `listen`.",
    )
    tls: GatewayTls | None = Field(
        default=None, description="Without it only addresses of this machine may be listened on."
    )
    max_body: ByteSize = Field(
        default=ByteSize(4 * _MEBIBYTE),
        ge=1024,
        description='Largest body of a request, e.g. "4 MiB"; larger ones are refused with 413.',
    )
    max_header: ByteSize = Field(
        default=ByteSize(32 * 1024),
        ge=4096,
        le=1 << 20,
        description="Largest header of a request; larger ones are refused with 431.",
    )
    max_requests: int = Field(
        default=512,
        ge=1,
        le=100_000,
        description="Requests in work at a time; further ones are refused with 503 and Retry-After.",
    )
    max_streams: int = Field(
        default=4096,
        ge=1,
        le=100_000,
        description="Open event streams and WebSockets; further ones are refused with 503.",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0.0,
        le=3600.0,
        description="Seconds for one request where the client says nothing (`Request-Timeout`), "
        "and the most it may ask.",
    )
    body_timeout_s: float = Field(
        default=20.0,
        gt=0.0,
        le=3600.0,
        description="Seconds within which a body must be complete; then 408.",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins whose scripts may use the gateway in a browser, e.g. https://viewer.example; "
        "none by default.",
    )
    access: AccessSection = Field(
        default_factory=AccessSection, description="How clients prove who they are."
    )
    client: tuple[ClientSection, ...] = Field(
        default=(), description="Clients, and what each may do."
    )
    hl7v2: GatewayHl7v2Section = Field(
        default_factory=GatewayHl7v2Section, description="HL7 v2 messages over HTTP."
    )
    streams: StreamsSection = Field(
        default_factory=StreamsSection, description="Events as they come, over HTTP and WebSocket."
    )
    grpc: GrpcSection | None = Field(default=None, description="The gRPC listener.")
    fhir: GatewayFhirSection | None = Field(default=None, description="The FHIR REST interface.")
    subscriptions: SubscriptionsSection | None = Field(
        default=None, description="FHIR Subscriptions; needs [gateway.fhir]."
    )
    console: ConsoleSection | None = Field(default=None, description="The operators' console.")


__all__ = ["ADDRESS_PATTERN", "GatewaySection", "GatewayTls"]
