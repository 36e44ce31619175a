"""The seam between the gateway's fronts (HTTP, gRPC, FHIR, console) and the decision who may do what.

A front reads credentials from its protocol, calls `identify` once a request, asks one `may_…` before it acts, and
`record`s reads and writes of protected data before it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Protocol, runtime_checkable

import msgspec

from schemas.errors import MeshError, ResourceExhausted


class Unauthenticated(MeshError):
    """No credentials, or none that prove anything. HTTP 401, gRPC UNAUTHENTICATED."""

    code: ClassVar[str] = "unauthenticated"

    def __init__(self, detail: str, *, challenge: str = "Bearer") -> None:
        super().__init__(detail)
        self.challenge = challenge
        """For `WWW-Authenticate`."""


class Forbidden(MeshError, PermissionError):
    """The client is known and may not do that. HTTP 403, gRPC PERMISSION_DENIED."""

    code: ClassVar[str] = "forbidden"


class TooMany(ResourceExhausted):
    """The client exceeds its rate. HTTP 429 with Retry-After, gRPC RESOURCE_EXHAUSTED."""

    code: ClassVar[str] = "rate_limited"

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Proof(Enum):
    """How a client proved who it is."""

    NOTHING = "nothing"
    """It did not: the anonymous client of a gateway that listens on this machine only and has no clients."""
    API_KEY = "api_key"
    JWT = "jwt"
    SMART = "smart"
    CERTIFICATE = "certificate"
    SESSION = "session"
    """An operator who logged in to the console."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brought, whatever the protocol."""

    authorization: str = ""
    """The header or metadata of that name."""
    api_key: str = ""
    """Header `X-Api-Key`."""
    certificate_names: tuple[str, ...] = ()
    """Names in a client certificate that TLS has verified: `spiffe://…` and DNS alternative names."""
    certificate_hash: bytes = b""
    """SHA-256 of that certificate, for tokens that are bound to it (RFC 8705)."""
    purpose: str = ""
    """What the client says it asks for (`X-Purpose-Of-Use`, a code of v3-PurposeOfUse)."""

    def __repr__(self) -> str:
        """Without what proves anything."""
        return (
            f"Credentials(certificate_names={self.certificate_names!r}, purpose={self.purpose!r})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who asks: verified."""

    name: str
    """Name in the configuration; never content of a token that was not checked."""
    proof: Proof
    user: str = field(default="", repr=False)
    """A person, where the token names one. Protected."""
    purpose: str = ""
    scopes: tuple[str, ...] = ()
    """SMART scopes that hold: those of the token, as far as the configuration grants them."""
    compartment: str = field(default="", repr=False)
    """`Patient/<id>` where the token confines it (SMART launch/patient)."""
    expires_ms: int = 0
    """When its proof ends; streams end then. 0: it does not."""


class Deed(Enum):
    """What a record says was done."""

    READ = "read"
    WRITE = "write"
    SEARCH = "search"
    SUBSCRIBE = "subscribe"
    CALL = "call"
    UNMASK = "unmask"
    REPLAY = "replay"


class AccessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, to what, and why. It is sealed like an event: the carrier sees nothing of it."""

    client: Client
    deed: Deed
    what: str
    """The subject, method, or `Patient/123`: protected."""
    allowed: bool = True
    status: int = 0
    """HTTP status of the answer; 0 where there is none."""
    remote: str = ""
    """Address of the peer."""
    details: Mapping[str, str] = msgspec.field(default_factory=dict)


class Access(Protocol):
    """Decides; holds no state that another gateway would need."""

    async def identify(self, credentials: Credentials) -> Client:
        """Who that is. Raises `Unauthenticated`."""
        ...

    def admit(self, client: Client) -> None:
        """Count one request against the client's rate. Raises `TooMany`."""
        ...

    def may_publish(self, client: Client, subject: str) -> None:
        """Raises `Forbidden`."""
        ...

    def may_subscribe(self, client: Client, pattern: str) -> None:
        """The whole pattern lies within its rights. Raises `Forbidden`."""
        ...

    def may_call(self, client: Client, service: str, method: str) -> None:
        """Raises `Forbidden`."""
        ...

    def may_fhir(self, client: Client, resource_type: str, deed: str) -> None:
        """`deed` is one of SMART's letters: c, r, u, d, s; the type `*` asks for all. Raises `Forbidden`."""
        ...

    def may_operate(self, client: Client, deed: str) -> None:
        """What operators do in the console: `view`, `find`, `replay`, `unmask`. Raises `Forbidden`."""
        ...

    async def record(self, record: AccessRecord) -> None:
        """Keep it durably. Raises `MeshError` where it cannot: then what it speaks of must not be given out."""
        ...


@runtime_checkable
class Begins(Protocol):
    """An access that takes a record without waiting: what is recorded can be done meanwhile."""

    def begin(self, record: AccessRecord) -> asyncio.Future[None]:
        """The future tells when it is kept; leaving it does not take the record back. Raises `MeshError`."""
        ...


__all__ = [
    "Access",
    "AccessRecord",
    "Begins",
    "Client",
    "Credentials",
    "Deed",
    "Forbidden",
    "Proof",
    "TooMany",
    "Unauthenticated",
]
