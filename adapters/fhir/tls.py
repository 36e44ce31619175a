"""TLS of the FHIR adapters: `bus.trust.tls` with the adapters' settings."""

from __future__ import annotations

import ssl
from typing import Final

from adapters.fhir.peers import ClientTls, ServerTls
from bus.trust import tls
from schemas.errors import ConfigurationError

_SETTINGS: Final = tls.Settings(certificate="tls.cert")


def server_context(settings: ServerTls, *, name: str) -> ssl.SSLContext:
    """TLS for a listener, mutual where an authority is given. Raises `ConfigurationError`."""
    try:
        return tls.server_context(
            certificate=settings.cert,
            key=settings.key,
            client_ca=settings.client_ca,
            settings=_SETTINGS,
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error


def client_context(settings: ClientTls, *, name: str) -> ssl.SSLContext:
    """TLS to a server whose certificate and name are verified. Raises `ConfigurationError`."""
    try:
        return tls.client_context(
            ca=settings.ca, certificate=settings.cert, key=settings.key, settings=_SETTINGS
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error


__all__ = ["client_context", "server_context"]
