"""Posts notifications to endpoints: one try, no redirects, a deadline, and no more than a few bytes of an answer."""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar, Final

import httpx

from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.model import Wish
from schemas.errors import ConfigurationError, DeadlineExceeded, MeshError, Unavailable

_CONTENT_TYPE: Final = "application/fhir+json"
_MOST_ANSWER: Final = 64 * 1024
_KEPT: Final = 32


class HookFailed(MeshError):
    """The endpoint answered, and not with 2xx."""

    code: ClassVar[str] = "hook_failed"


class Hook:
    """The HTTP client of all rest-hooks of a gateway; `start`, `stop`."""

    def __init__(
        self, endpoints: Endpoints, *, authority: Path | None, most_timeout_s: float
    ) -> None:
        self._endpoints = endpoints
        self._authority = authority
        self._most_timeout_s = most_timeout_s
        self._client: httpx.AsyncClient | None = None

    def start(self) -> None:
        """Read the authorities. Raises `ConfigurationError`."""
        try:
            context = ssl.create_default_context(cafile=self._authority)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"gateway.subscriptions.authority: {self._authority} cannot be read: {type(error).__name__}"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = httpx.AsyncClient(
            verify=context,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=_KEPT, keepalive_expiry=30.0),
        )

    async def stop(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(self, wish: Wish, body: bytes) -> None:
        """Returns when the endpoint has said 2xx.

        Raises `EndpointRefused`, `Unavailable`, `DeadlineExceeded`, `HookFailed`.
        """
        timeout_s = min(wish.timeout_s or self._most_timeout_s, self._most_timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._post(wish, body)
        except TimeoutError:
            raise DeadlineExceeded("the endpoint did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            words = f"the endpoint cannot be reached: {type(error).__name__}"
            raise Unavailable(words) from error
        if not HTTPStatus(200) <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise HookFailed(f"the endpoint answered {status}")

    async def _post(self, wish: Wish, body: bytes) -> int:
        if self._client is None:
            raise Unavailable("nothing is posted: stopped")
        url = httpx.URL(wish.endpoint)
        address = await self._endpoints.address(wish.endpoint)
        headers = [
            *wish.headers,
            ("host", url.netloc.decode("ascii")),
            ("content-type", _CONTENT_TYPE),
            ("user-agent", "medmesh"),
        ]
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers,
            extensions={"sni_hostname": url.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            await _read_away(response)
        finally:
            await response.aclose()
        return response.status_code


async def _read_away(response: httpx.Response) -> None:
    """An answer is read so far that the connection can be used again, and no farther."""
    seen = 0
    async for chunk in response.aiter_raw():
        seen += len(chunk)
        if seen > _MOST_ANSWER:
            return


__all__ = ["Hook", "HookFailed"]
