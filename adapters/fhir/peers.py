"""Settings of the other side: how a server is reached, who shows whom what, and how often it is tried again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from adapters.fhir.settings import MIB, Section, WebAddress, is_loopback
from bus.events.protocol import RetryPolicy


class Method(StrEnum):
    """How medmesh shows a server who it is."""

    BEARER = "bearer"
    BASIC = "basic"
    CLIENT_CREDENTIALS = "client-credentials"


class ServerFault(StrEnum):
    """What an answer 500 leads to."""

    WAIT = "wait"
    RETRY = "retry"


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


class Token(Secret):
    """What a sender must show."""

    header: str = Field(
        default="authorization",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$",
        description="Header that carries it; authorization takes `Bearer <secret>`, another one the bare secret.",
    )


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


__all__ = [
    "Authentication",
    "ClientTls",
    "Method",
    "Retry",
    "Secret",
    "Server",
    "ServerFault",
    "ServerTls",
    "Token",
]
