"""Where notifications may go: an allow-list, and addresses that are no way into this machine or its cloud."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final
from urllib.parse import SplitResult, unquote, urlsplit

from schemas.errors import MeshError, Unavailable

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to its addresses. Raises `OSError`."""
_PORTS: Final = {"http": 80, "https": 443}
_MAX_CHARS: Final = 2048


class EndpointRefused(MeshError, PermissionError):
    """The endpoint is not one to which this gateway may post."""

    code: ClassVar[str] = "endpoint_refused"


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system knows them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Endpoints:
    """Decides about endpoints."""

    def __init__(
        self, allowed: Sequence[str], *, allow_local: bool, resolve: Resolve = resolve
    ) -> None:
        self._allowed = [urlsplit(one) for one in allowed]
        self._allow_local = allow_local
        self._resolve = resolve

    def check(self, url: str) -> None:
        """What can be told from the address alone. Raises `EndpointRefused`."""
        parts = _parts(url)
        if not any(_covers(one, parts) for one in self._allowed):
            raise EndpointRefused(
                "the endpoint is not among those that are allowed (gateway.subscriptions.endpoints)"
            )
        host = parts.hostname or ""
        if _is_address(host):
            self._check_address(host)

    async def address(self, url: str) -> str:
        """The address to connect to: what was judged is what is used. Raises `EndpointRefused`, `Unavailable`."""
        self.check(url)
        parts = _parts(url)
        try:
            found = await self._resolve(parts.hostname or "", _port(parts))
        except (OSError, UnicodeError) as error:
            raise Unavailable("the endpoint's name cannot be resolved") from error
        if not found:
            raise Unavailable("the endpoint's name has no address")
        for one in found:
            self._check_address(one)
        return found[0]

    def _check_address(self, text: str) -> None:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        is_local = address.is_loopback or address.is_link_local or address.is_unspecified
        if address.is_multicast or (address.is_reserved and not address.is_loopback):
            raise EndpointRefused("the endpoint's address is no host's")
        if is_local and not self._allow_local:
            raise EndpointRefused(
                "the endpoint is on this machine or link-local (gateway.subscriptions.allow_local)"
            )


def _parts(url: str) -> SplitResult:
    refused = EndpointRefused("the endpoint is no http or https address")
    try:
        parts = urlsplit(url)
        known = parts.scheme in _PORTS and parts.hostname and _port(parts)
    except ValueError:
        raise refused from None
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not known or not plain or len(url) > _MAX_CHARS:
        raise refused
    if "@" in parts.netloc or parts.fragment:
        raise EndpointRefused("the endpoint names a user or a fragment")
    if any(step in ("..", ".") for step in unquote(unquote(parts.path)).split("/")):
        raise EndpointRefused("the endpoint's path goes upwards")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def _covers(allowed: SplitResult, wanted: SplitResult) -> bool:
    """Scheme, host and port are the same, and the path begins with whole steps of the allowed one."""
    if (allowed.scheme, allowed.hostname, _port(allowed)) != (
        wanted.scheme,
        wanted.hostname,
        _port(wanted),
    ):
        return False
    prefix = allowed.path.rstrip("/")
    return wanted.path == prefix or wanted.path.startswith(prefix + "/") or not prefix


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


__all__ = ["EndpointRefused", "Endpoints", "Resolve", "resolve"]
