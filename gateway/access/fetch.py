"""Where key sets are read from: a file, or an https address, within bounds of size and time."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

import httpx

from bus.trust.tls import Settings, client_context
from gateway.access.jwks import MAX_BYTES, Load
from schemas.errors import Unavailable

_TIMEOUT_S: Final = 5.0
_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    "accept-encoding": "identity",  # a small answer must not unpack to a large one
}


def from_file(path: Path) -> Load:
    """Reads a file."""

    async def load() -> bytes:
        return await asyncio.to_thread(_read, path)

    return load


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            document = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    return _bounded(document, str(path))


def from_address(url: str, authority: Path | None, *, timeout_s: float = _TIMEOUT_S) -> Load:
    """Reads an https address: no redirects, no proxies of the environment, no cookies. Raises `ConfigurationError`."""
    context = client_context(ca=authority, settings=Settings(ca="authority of a jwks_url"))

    async def load() -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                return await _get(url, context, timeout_s)
        except Unavailable:
            raise
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise Unavailable(f"{url}: {type(error).__name__}") from None

    return load


async def _get(url: str, context: ssl.SSLContext, timeout_s: float) -> bytes:
    body = bytearray()
    async with (
        httpx.AsyncClient(
            verify=context, timeout=timeout_s, follow_redirects=False, trust_env=False
        ) as client,
        client.stream("GET", url, headers=_HEADERS) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise Unavailable(f"{url}: status {response.status_code}; 200 is expected")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unavailable(f"{url}: the answer is compressed though that was not asked for")
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BYTES:
                break
    return _bounded(bytes(body), url)


def _bounded(document: bytes, where: str) -> bytes:
    if len(document) > MAX_BYTES:
        raise Unavailable(f"{where}: larger than the {MAX_BYTES} bytes that a key set may have")
    return document


__all__ = ["from_address", "from_file"]
