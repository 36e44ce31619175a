"""`[gateway.access]` and `[[gateway.client]]`: who a client is, and what it may do."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from schemas.gateway.scopes import fhir_scope
from schemas.section import NAME_PATTERN, Section
from schemas.subjects import pattern

ANONYMOUS: Final = "anonymous"
"""The client of a gateway that has none; no client may be called so."""

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
"""Signatures of tokens that may be allowed. Those by a shared secret (HS…) and `none` can not be."""

_HTTPS: Final = re.compile(r"https://[^\s/?#@]+(?:/[^\s#]*)?\Z")
_CALL: Final = re.compile(r"(?:\*|[a-z0-9_-]{1,64}(?:\.v\d{1,4})?)/(?:\*|[a-z0-9_-]{1,64})\Z")


class IssuerSection(Section):
    """`[[gateway.access.issuer]]`: one authorisation server (OAuth2, OpenID Connect) whose tokens are accepted."""

    issuer: str = Field(
        min_length=1, max_length=512, description="Its name, as tokens give it in `iss`, exactly."
    )
    audience: tuple[str, ...] = Field(
        min_length=1, description="Names of this gateway; a token must be meant for one (`aud`)."
    )
    jwks: Path | None = Field(default=None, description="File with its public keys (JWKS); or:")
    jwks_url: str = Field(
        default="", description="https address of its public keys; read again now and then."
    )
    authority: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed the certificate of `jwks_url`; "
        "empty: those that this machine trusts.",
    )
    algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256", "RS384", "ES256", "ES384", "PS256"),
        min_length=1,
        description="Signatures that are accepted.",
    )
    client_claims: tuple[Literal["azp", "client_id", "sub"], ...] = Field(
        default=("azp", "client_id", "sub"),
        min_length=1,
        description="Claims that name the client; the first that a token has decides.",
    )
    refresh_s: float = Field(
        default=3600.0,
        ge=60.0,
        le=86_400.0,
        description="Seconds after which the keys at an https address are read again.",
    )
    scopes: Literal["token", "configured"] = Field(
        default="token",
        description="`token`: a client has what its token's scopes name, as far as it is configured (SMART scopes, "
        "mesh/publish, mesh/subscribe, mesh/call, mesh/operate). `configured`: all that is configured for it.",
    )

    @field_validator("jwks_url")
    @classmethod
    def _https(cls, jwks_url: str) -> str:
        return _checked_url(jwks_url)

    @model_validator(mode="after")
    def _one_place(self) -> IssuerSection:
        if (self.jwks is None) == (not self.jwks_url):
            raise ValueError("give one of jwks and jwks_url")
        return self


class AccessSection(Section):
    """`[gateway.access]`: how clients prove who they are."""

    issuer: tuple[IssuerSection, ...] = Field(
        default=(), description="Authorisation servers whose tokens are accepted."
    )
    clock_skew_s: float = Field(
        default=30.0,
        ge=0.0,
        le=300.0,
        description="Seconds by which clocks of others may differ from ours.",
    )
    token_lifetime_s: float = Field(
        default=300.0,
        ge=10.0,
        le=3600.0,
        description="Seconds that an access token of ours (/auth/token) holds.",
    )
    mtls_listen: str = Field(
        default="",
        pattern=r"^((\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5})?$",
        description="Address for clients that prove who they are by a certificate, e.g. 0.0.0.0:8444 (HTTP/1.1 over "
        "TLS with the certificate of `[gateway.tls]`); empty: none.",
    )
    mtls_authority: Path | None = Field(
        default=None,
        description="PEM file of the authority that signs the certificates of clients at `mtls_listen`.",
    )

    @model_validator(mode="after")
    def _complete(self) -> AccessSection:
        if bool(self.mtls_listen) != (self.mtls_authority is not None):
            raise ValueError("mtls_listen and mtls_authority go together: one of them is missing")
        names = [one.issuer for one in self.issuer]
        if len(set(names)) != len(names):
            raise ValueError("an issuer is named twice")
        return self


class ApiKeySection(Section):
    """`[[gateway.client.key]]`: one API key, by its hash. Two at a time let a key be exchanged without a pause."""

    hash: str = Field(
        pattern=r"^sha256:[0-9a-f]{64}$",
        repr=False,
        description="What `medmesh keys api-key` prints; the key itself is kept nowhere.",
    )
    until: datetime.datetime | None = Field(
        default=None,
        description="When it ends, e.g. 2027-06-30T00:00:00Z; without a zone it is UTC. Empty: it does not.",
    )


class TokenIdentity(Section):
    """`[[gateway.client.token]]`: what a client is called by an authorisation server."""

    issuer: str = Field(description="`issuer` of one `[[gateway.access.issuer]]`.")
    id: str = Field(min_length=1, max_length=512, description="Its client id there.")


class ClientSection(Section):
    """`[[gateway.client]]`: one client and its rights. What is not allowed here is refused."""

    name: str = Field(
        pattern=NAME_PATTERN,
        description="Name of the client, as records show it, and its client id at /auth/token.",
    )
    key: tuple[ApiKeySection, ...] = Field(default=(), description="Its API keys.")
    token: tuple[TokenIdentity, ...] = Field(
        default=(), description="What authorisation servers call it."
    )
    jwks: Path | None = Field(
        default=None,
        description="File with its public keys (JWKS), for SMART backend services (/auth/token); or:",
    )
    jwks_url: str = Field(default="", description="https address of its public keys.")
    authority: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed the certificate of `jwks_url`; "
        "empty: those that this machine trusts.",
    )
    certificates: tuple[str, ...] = Field(
        default=(),
        description='Names in its certificates: DNS or URI alternative names, e.g. ["spiffe://north/ehr"].',
    )
    publish: tuple[str, ...] = Field(
        default=(),
        description='Event subjects that it may publish, e.g. ["evt.north.raw.hl7v2.*"].',
    )
    subscribe: tuple[str, ...] = Field(
        default=(), description='Event subjects that it may read, e.g. ["evt.north.result.>"].'
    )
    call: tuple[str, ...] = Field(
        default=(),
        description='Methods of services that it may call, as <service>/<method>: ["beds/free", "lab.v2/*"]. '
        "Without a number every version.",
    )
    fhir: tuple[str, ...] = Field(
        default=(),
        description='What it may do with FHIR resources, as SMART scopes: ["system/Patient.rs", "system/*.cruds"].',
    )
    operate: tuple[Literal["view", "find", "replay", "unmask"], ...] = Field(
        default=(),
        description="What it may do in the console: see how the site is, find messages by identifiers, replay dead "
        "letters, see contents unmasked.",
    )
    rate: float = Field(
        default=0.0,
        ge=0.0,
        le=1_000_000.0,
        description="Requests a second, on average and at each gateway; 0 does not limit.",
    )
    burst: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Requests at once; 0: as many as `rate` allows in a second, at least one.",
    )

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == ANONYMOUS:
            raise ValueError(f"{name!r} is what a gateway without clients calls its users")
        return name

    @field_validator("publish", "subscribe")
    @classmethod
    def _event_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for one in patterns:
            if not pattern(one).startswith("evt."):
                raise ValueError(f"{one!r} is no pattern of events: evt.<site>.<domain>.<event>.*")
        return patterns

    @field_validator("jwks_url")
    @classmethod
    def _https(cls, jwks_url: str) -> str:
        return _checked_url(jwks_url)

    @model_validator(mode="after")
    def _one_place(self) -> ClientSection:
        if self.jwks is not None and self.jwks_url:
            raise ValueError("give one of jwks and jwks_url")
        return self

    @property
    def has_public_keys(self) -> bool:
        """Whether it may ask for access tokens at /auth/token."""
        return self.jwks is not None or bool(self.jwks_url)

    @field_validator("fhir")
    @classmethod
    def _scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        for one in scopes:
            fhir_scope(one)
        return scopes

    @field_validator("call")
    @classmethod
    def _calls(cls, calls: tuple[str, ...]) -> tuple[str, ...]:
        for one in calls:
            if not _CALL.match(one):
                raise ValueError(f"{one!r} is no method: write lab/results, lab.v2/* or */*")
        return calls


def _checked_url(url: str) -> str:
    if url and not _HTTPS.match(url):
        raise ValueError("keys are read from an https address, without a user in it")
    return url


def check_clients(access: AccessSection, clients: tuple[ClientSection, ...]) -> None:
    """Whether clients can be told apart and name issuers that there are. Raises `ValueError`."""
    issuers = {one.issuer for one in access.issuer}
    _unique("name", [one.name for one in clients])
    _unique("API key", [key.hash for one in clients for key in one.key])
    _unique("certificate name", [name for one in clients for name in one.certificates])
    _unique("token id", [f"{t.issuer} {t.id}" for one in clients for t in one.token])
    for client in clients:
        for identity in client.token:
            if identity.issuer not in issuers:
                raise ValueError(
                    f"client {client.name}: there is no [[gateway.access.issuer]] {identity.issuer}"
                )


def _unique(what: str, values: list[str]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(f"two clients have the same {what}: they could not be told apart")


__all__ = [
    "ANONYMOUS",
    "AccessSection",
    "Algorithm",
    "ApiKeySection",
    "ClientSection",
    "IssuerSection",
    "TokenIdentity",
    "check_clients",
]
