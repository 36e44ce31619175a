"""What a proof of identity says, before the configuration turns it into a client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.access.protocol import Client, Credentials, Proof, Unauthenticated
from gateway.access.rights import ClientRights
from schemas.gateway.access import ClientSection

_PURPOSE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a proof names. `client` is one of the configuration."""

    client: str
    proof: Proof
    scopes: tuple[str, ...] = ()
    """Those that hold: granted already."""
    user: str = field(default="", repr=False)
    compartment: str = field(default="", repr=False)
    expires_ms: int = 0
    bound_to: bytes = field(default=b"", repr=False)
    """SHA-256 of the certificate with which it must come (RFC 8705); empty: with any or none."""


class Certificates:
    """Names in certificates, and whose they are."""

    def __init__(self, clients: Iterable[ClientSection]) -> None:
        self._owners = {name: one.name for one in clients for name in one.certificates}

    def owner(self, names: tuple[str, ...]) -> str:
        """The client with these names; empty where none has one. Raises `Unauthenticated` for names of two."""
        owners = {self._owners[name] for name in names if name in self._owners}
        if len(owners) > 1:
            raise Unauthenticated("the certificate has the names of more than one client")
        return owners.pop() if owners else ""


def purpose_of(credentials: Credentials) -> str:
    """The purpose that the client states, where it is a code; anything else is nothing that it may put in a record."""
    told = credentials.purpose
    return told if told and _PURPOSE.match(told) else ""


def client_of(identity: Identity, credentials: Credentials) -> Client:
    """The verified client of one request."""
    return Client(
        name=identity.client,
        proof=identity.proof,
        user=identity.user,
        purpose=purpose_of(credentials),
        scopes=identity.scopes,
        compartment=identity.compartment,
        expires_ms=identity.expires_ms,
    )


def own(client: str, proof: Proof, rights: ClientRights, *, expires_ms: int = 0) -> Identity:
    """A client that proved who it is itself, without a token: it has all that is configured for it."""
    return Identity(client=client, proof=proof, scopes=rights.scopes, expires_ms=expires_ms)


__all__ = ["Certificates", "Identity", "client_of", "own", "purpose_of"]
