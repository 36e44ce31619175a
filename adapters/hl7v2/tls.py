"""TLS contexts of the MLLP adapters: TLS 1.2 or newer, mutual where an authority is given."""

from __future__ import annotations

import ssl
from pathlib import Path

from adapters.hl7v2.config import ClientTls, ServerTls
from schemas.errors import ConfigurationError


def server_context(settings: ServerTls, *, name: str) -> ssl.SSLContext:
    """TLS for a listener. Raises `ConfigurationError` when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_own(context, settings.cert, settings.key, name)
    if settings.client_ca is not None:
        _load_authority(context, settings.client_ca, f"{name}: tls.client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(settings: ClientTls, *, name: str) -> ssl.SSLContext:
    """TLS to a receiver whose certificate and name are verified. Raises `ConfigurationError`."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load_authority(context, settings.ca, f"{name}: tls.ca")
    if settings.cert is not None and settings.key is not None:
        _load_own(context, settings.cert, settings.key, name)
    return context


def _load_own(context: ssl.SSLContext, cert: Path, key: Path, name: str) -> None:
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"{name}: tls.cert {cert} with tls.key {key} cannot be used: {error.strerror or error}"
        ) from error


def _load_authority(context: ssl.SSLContext, path: Path, key: str) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"{key} {path} cannot be used: {error.strerror or error}"
        ) from error


__all__ = ["client_context", "server_context"]
