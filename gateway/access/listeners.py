"""Which listeners an access configuration may have."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from schemas.errors import ConfigurationError
from schemas.gateway import GatewaySection
from schemas.gateway.access import check_clients

ISSUING: Final = "/auth/token"
"""Where access tokens are asked for, below `public_url`."""


def check_access(section: GatewaySection) -> None:
    """Whether clients can be told apart, and a gateway without clients listens on this machine only.

    Raises `ConfigurationError`.
    """
    try:
        check_clients(section.access, section.client)
    except ValueError as error:
        raise ConfigurationError(f"gateway.client: {error}") from None
    if section.access.mtls_listen and section.tls is None:
        raise ConfigurationError(
            "gateway.access.mtls_listen needs the server's own certificate: add [gateway.tls]"
        )
    if not section.public_url and any(client.has_public_keys for client in section.client):
        raise ConfigurationError(
            "gateway.public_url is empty: a client with jwks signs the address of /auth/token into its assertions, so "
            "the gateway must know under which one clients reach it"
        )
    if not section.client:
        for key, address in _listeners(section):
            if not is_loopback(address):
                raise ConfigurationError(
                    f"{key} is {address}: without any [[gateway.client]] whoever reaches it may do everything, so only "
                    "an address of this machine is allowed (127.0.0.1, [::1], localhost)"
                )


def is_loopback(address: str) -> bool:
    """Whether `host:port` can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listeners(section: GatewaySection) -> Iterator[tuple[str, str]]:
    yield "gateway.listen", section.listen
    if section.grpc is not None:
        yield "gateway.grpc.listen", section.grpc.listen
    if section.access.mtls_listen:
        yield "gateway.access.mtls_listen", section.access.mtls_listen


__all__ = ["ISSUING", "check_access", "is_loopback"]
