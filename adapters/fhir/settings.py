"""Settings that the FHIR adapters share: each field's description is its manual."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from adapters.fhir.codec.partial import is_resource_type
from bus.events.protocol import RetryPolicy
from schemas import subjects
from schemas.fhirpath import compile_path
from schemas.subjects import Domain

MIB: Final = 1024 * 1024
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^:\s\[\]]*):(?P<port>\d{1,5})\Z")
_MAX_PORT: Final = 65535
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EVENT_PARTS: Final = 2


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `ValueError`."""
    match = _ADDRESS.match(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"{text!r} is no address: write host:port, e.g. 0.0.0.0:8443 or [::]:8443")
    return match["host"].strip("[]"), int(match["port"])


def split_event(text: str) -> tuple[Domain, str]:
    """Domain and name of `result.reported`. Raises `ValueError`."""
    parts = text.split(".")
    if len(parts) != _EVENT_PARTS or parts[0] not in set(Domain):
        raise ValueError(
            f"{text!r} is no event: write <domain>.<name>; domains: {', '.join(Domain)}"
        )
    return Domain(parts[0]), subjects.token(parts[1], what="event")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    return host in _LOOPBACK or host.startswith("127.")


def _address(text: str) -> str:
    split_address(text)
    return text


def _event(text: str) -> str:
    split_event(text)
    return text


def _cidr(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            "an address like https://fhir.example/r4 is wanted, without query and fragment"
        )
    if parts.username or parts.password:
        raise ValueError("an address holds no user and no password: use [adapter.auth]")
    return text.rstrip("/")


def _resource(text: str) -> str:
    if not is_resource_type(text):
        raise ValueError(f"{text!r} is no name of a FHIR resource")
    return text


def _filter(text: str) -> str:
    if text:
        path = compile_path(text)
        if path.variables or path.needs_clock:
            raise ValueError("a filter knows no variables and no present time")
    return text


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
Cidr = Annotated[str, AfterValidator(_cidr)]
EventName = Annotated[str, AfterValidator(_event)]
ResourceName = Annotated[str, AfterValidator(_resource)]
SubjectPattern = Annotated[str, AfterValidator(subjects.pattern)]
SubjectPatterns = Annotated[tuple[SubjectPattern, ...], BeforeValidator(_one_or_many)]
FhirPath = Annotated[str, AfterValidator(_filter)]
WebAddress = Annotated[str, AfterValidator(_web_address)]


class AckLevel(StrEnum):
    """What a positive answer means."""

    STORED = "stored"
    REPLICATED = "replicated"


class Method(StrEnum):
    """How medmesh shows a server who it is."""

    BEARER = "bearer"
    BASIC = "basic"
    CLIENT_CREDENTIALS = "client-credentials"


class Release(StrEnum):
    """The release of FHIR that a system speaks."""

    R4 = "R4"
    R4B = "R4B"
    R5 = "R5"


class ValidationMode(StrEnum):
    """How much is validated."""

    OFF = "off"
    SAMPLE = "sample"
    ON = "on"


class ServerFault(StrEnum):
    """What an answer 500 leads to."""

    WAIT = "wait"
    RETRY = "retry"


class Section(BaseModel):
    """A table inside an adapter's section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerTls(Section):
    """TLS of a listener."""

    cert: Path = Field(description="PEM file with the certificate and its chain.")
    key: Path = Field(description="PEM file with the private key.")
    client_ca: Path | None = Field(
        default=None,
        description="PEM file with the authority of the senders: given, a sender must show a certificate (mutual TLS).",
    )
    handshake_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="A peer that has not shaken hands by then is cut."
    )


class ClientTls(Section):
    """TLS to a server; without this table the system's authorities are trusted."""

    ca: Path | None = Field(
        default=None,
        description="PEM file with the authority of the server; without it the system's.",
    )
    cert: Path | None = Field(default=None, description="Own certificate, for mutual TLS.")
    key: Path | None = Field(default=None, description="Own private key, for mutual TLS.")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both for mutual TLS, or neither")
        return self


class Secret(Section):
    """Where a secret lies: in the environment or in a file, never in mesh.toml."""

    secret_env: str = Field(
        default="", description="Variable of the environment that holds the secret."
    )
    secret_file: Path | None = Field(
        default=None,
        description="File that holds the secret; read again when the other side refuses it, so it can be replaced.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.secret_env) == (self.secret_file is not None):
            raise ValueError("give secret_env or secret_file, one of them")
        return self


class Authentication(Secret):
    """How medmesh shows the server who it is."""

    method: Method = Field(
        description="bearer: the secret is the token. basic: the secret is the password of user. "
        "client-credentials: tokens come from token_url (OAuth 2.0, RFC 6749 §4.4)."
    )
    user: str = Field(default="", description="User (basic) or client id (client-credentials).")
    token_url: WebAddress | None = Field(
        default=None, description="Address of the authorisation server's token endpoint."
    )
    scope: str = Field(default="", description="Scopes to ask for, e.g. system/Patient.write.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.method is not Method.BEARER and not self.user:
            raise ValueError(f'method = "{self.method.value}" needs user')
        if (self.method is Method.CLIENT_CREDENTIALS) != (self.token_url is not None):
            raise ValueError(
                'token_url belongs to method = "client-credentials", and is needed there'
            )
        return self


class Server(Section):
    """A FHIR server and how it is asked."""

    base: WebAddress = Field(
        description="Base address of the server, e.g. https://fhir.example/r4."
    )
    auth: Authentication | None = Field(
        default=None, description="How medmesh shows the server who it is."
    )
    tls: ClientTls | None = Field(default=None, description="TLS to the server.")
    connect_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="A server that does not accept by then is away; TLS included.",
    )
    request_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="A request whose answer is not complete by then is given up, and sent again where that is safe.",
    )
    requests_per_second: float = Field(
        default=0.0, ge=0, description="Requests that are sent a second at most; 0 does not limit."
    )
    max_answer_bytes: int = Field(
        default=16 * MIB,
        ge=1024,
        le=512 * MIB,
        description="Longest answer that is read; bounds memory together with the requests under way.",
    )
    longest_retry_after_s: float = Field(
        default=300.0,
        gt=0,
        description="Longest pause that a server's Retry-After may ask for; a longer one is cut to it.",
    )

    @model_validator(mode="after")
    def _secrets_are_covered(self) -> Self:
        if self.auth is None:
            return self
        for address in (self.base, self.auth.token_url or self.base):
            parts = urlsplit(address)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                raise ValueError(
                    f"{address} would carry the secret of [adapter.auth] in clear: use https"
                )
        return self


class Retry(Section):
    """How a resource that the server refuses for now is tried again."""

    max_attempts: int = Field(
        default=8,
        ge=0,
        description="Refusals before an event becomes a dead letter; 0 never gives up and holds its lane.",
    )
    first_delay_s: float = Field(
        default=0.5, gt=0, description="Pause before the second attempt; it doubles."
    )
    longest_delay_s: float = Field(
        default=30.0,
        gt=0,
        description="Longest pause, also between looks for a server that is away.",
    )

    def policy(self) -> RetryPolicy:
        """Return the bus's own value."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            first_delay_s=self.first_delay_s,
            longest_delay_s=self.longest_delay_s,
        )


class Validation(Section):
    """Validation by `fhir.resources`, in processes of its own; bodies stay as they are."""

    mode: ValidationMode = Field(
        default=ValidationMode.OFF,
        description="off. sample: a share is validated beside the flow, findings are counted, nothing is refused or "
        "delayed. on: everything is validated first, and what fails is refused.",
    )
    sample: float = Field(
        default=0.01, gt=0, le=1, description="Share that mode = sample looks at."
    )
    release: Release = Field(
        default=Release.R4,
        description="Models that are used. R4 takes those of R4B, and leaves out resources that differ between them.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Processes that validate; each takes about 100 MB. Started when the first resource comes.",
    )
    timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="A validation that takes longer is ended; its process is replaced.",
    )


class Token(Secret):
    """What a sender must show."""

    header: str = Field(
        default="authorization",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$",
        description="Header that carries it; authorization takes `Bearer <secret>`, another one the bare secret.",
    )


class Bundles(StrEnum):
    """What a notification with resources becomes."""

    ENTRIES = "entries"
    WHOLE = "whole"


__all__ = [
    "MIB",
    "AckLevel",
    "Address",
    "Authentication",
    "Bundles",
    "Cidr",
    "ClientTls",
    "EventName",
    "FhirPath",
    "Method",
    "Release",
    "ResourceName",
    "Retry",
    "Secret",
    "Section",
    "Server",
    "ServerFault",
    "ServerTls",
    "SubjectPattern",
    "SubjectPatterns",
    "Token",
    "Validation",
    "ValidationMode",
    "WebAddress",
    "is_loopback",
    "split_address",
    "split_event",
]
