"""Requests to one FHIR server: bounded in number, rate, time and bytes; foreign errors become ours here, once."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx

from adapters.fhir.codec.answers import Answer
from adapters.fhir.credentials import Credentials
from adapters.fhir.errors import AnswerTooLarge, NoAnswer, NotSent
from adapters.fhir.peers import Server
from adapters.fhir.tls import client_context
from bus.flow.rates import TokenBucket
from bus.trust import tls as trusted
from schemas.clock import Clock
from schemas.errors import Closed

FHIR_JSON: Final = "application/fhir+json"
_UNAUTHORIZED: Final = 401
_KEEP_S: Final = 30.0
"""Unused connections are closed by then: before servers and firewalls forget them quietly."""
_TOKEN_BYTES: Final = 256 * 1024
_NOTHING_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Count = Callable[[str, str], None]
"""(counter, reason)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. The address may hold an identifier, and the body is protected: neither is ever shown."""

    method: str
    path: str = field(default="", repr=False)
    """Below the base, query included, percent-encoded; empty for the base itself."""
    body: bytes | None = field(default=None, repr=False)
    content_type: str = FHIR_JSON
    headers: tuple[tuple[str, str], ...] = ()


class Link:
    """The way to one server. Safe for concurrent use; `close` ends it."""

    def __init__(
        self,
        server: Server,
        *,
        name: str,
        clock: Clock,
        count: Count,
        concurrency: int,
    ) -> None:
        self._server = server
        self._name = name
        self._clock = clock
        self._count = count
        self._slots = asyncio.Semaphore(concurrency)
        self._concurrency = concurrency
        self._rate = (
            TokenBucket(
                per_s=server.requests_per_second,
                burst=max(1, int(server.requests_per_second)),
                now_s=clock.monotonic_s(),
            )
            if server.requests_per_second
            else None
        )
        self._credentials = (
            Credentials(server.auth, clock, self._post_form, name=name) if server.auth else None
        )
        self._http: httpx.AsyncClient | None = None

    @property
    def base(self) -> str:
        """The server's base address."""
        return self._server.base

    def open(self) -> None:
        """Prepare; no connection is made yet. Raises `ConfigurationError` for certificates and secrets."""
        server = self._server
        tls = client_context(server.tls, name=self._name) if server.tls else None
        if self._credentials is not None:
            self._credentials.check()
        for chatty in ("httpx", "httpcore"):  # they log addresses, which hold identifiers
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._http = httpx.AsyncClient(
            verify=tls or _system_context(server),
            trust_env=False,  # no proxy and no .netrc that mesh.toml does not name
            follow_redirects=False,
            timeout=httpx.Timeout(server.request_timeout_s, connect=server.connect_timeout_s),
            limits=httpx.Limits(
                max_connections=self._concurrency + 1,
                max_keepalive_connections=self._concurrency,
                keepalive_expiry=_KEEP_S,
            ),
        )

    async def close(self) -> None:
        """Close every connection."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def send(self, request: Request) -> Answer:
        """Send one request and read its whole answer, whatever its status.

        Raises `NotSent` (the server saw nothing), `NoAnswer` (nobody knows), `AnswerTooLarge` (it answered, and with
        how much), `Unavailable` when no token can be had, `Closed`.
        """
        async with self._slots:
            answer, shown = await self._authorized(request)
            if answer.status == _UNAUTHORIZED and self._credentials is not None and shown:
                self._count("token_refused", "")
                if self._credentials.refused(shown):
                    answer, _ = await self._authorized(request)
            return answer

    async def _authorized(self, request: Request) -> tuple[Answer, str]:
        shown = await self._credentials.header() if self._credentials is not None else ""
        await self._wait_for_rate()
        headers = {
            "accept": FHIR_JSON,
            # a compressed answer could unfold into anything: the bound holds for what is read
            "accept-encoding": "identity",
            **dict(request.headers),
        }
        if shown:
            headers["authorization"] = shown
        if request.body is not None:
            headers["content-type"] = request.content_type
        address = _below(self._server.base, request.path)
        answer = await self._exchange(
            request.method, address, request.body, headers, self._server.max_answer_bytes
        )
        return answer, shown

    async def _wait_for_rate(self) -> None:
        if self._rate is None:
            return
        while (delay_s := self._rate.take(self._clock.monotonic_s())) > 0:
            self._count("request_delayed", "requests_per_second")
            await asyncio.sleep(delay_s)

    async def _post_form(
        self, address: str, form: str, headers: tuple[tuple[str, str], ...]
    ) -> Answer:
        """A form to the authorisation server, outside the slots and the rate of the FHIR server."""
        own = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/x-www-form-urlencoded",
        }
        return await self._exchange(
            "POST", address, form.encode(), own | dict(headers), _TOKEN_BYTES
        )

    async def _exchange(
        self,
        method: str,
        address: str,
        body: bytes | None,
        headers: dict[str, str],
        max_bytes: int,
    ) -> Answer:
        if self._http is None:
            raise Closed(f"{self._name}: the link is closed")
        try:
            async with (
                asyncio.timeout(self._server.request_timeout_s),
                self._http.stream(method, address, content=body, headers=headers) as response,
            ):
                return await _read(response, max_bytes)
        except _NOTHING_SENT as error:
            self._count("server_away", "connect")
            raise NotSent(f"{self._where}: no connection ({type(error).__name__})") from None
        except (TimeoutError, httpx.TimeoutException):
            self._count("server_away", "timeout")
            raise NoAnswer(
                f"{self._where}: no whole answer within {self._server.request_timeout_s:g} s "
                "(request_timeout_s)"
            ) from None
        except (httpx.HTTPError, httpx.StreamError, ssl.SSLError, OSError) as error:
            self._count("server_away", "connection_lost")
            raise NoAnswer(f"{self._where}: connection lost ({type(error).__name__})") from None

    @property
    def _where(self) -> str:
        return httpx.URL(self._server.base).netloc.decode()


async def _read(response: httpx.Response, max_bytes: int) -> Answer:
    """The whole answer, as it came over the wire."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        if size > max_bytes:
            raise AnswerTooLarge(
                f"an answer {response.status_code} of more than {max_bytes} bytes (max_answer_bytes)",
                status=response.status_code,
            )
        pieces.append(piece)
    headers = {name.lower(): value for name, value in response.headers.items()}
    coded = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    # nobody asked for a coding: what it hides is not looked at, while the status stays true
    return Answer(
        status=response.status_code, headers=headers, body=b"" if coded else b"".join(pieces)
    )


def _below(base: str, path: str) -> str:
    return f"{base}/{path}" if path else base


def _system_context(server: Server) -> ssl.SSLContext | bool:
    """Verification against the system's authorities; none is built for plain HTTP, where it would cost for nothing."""
    token_url = server.auth.token_url if server.auth is not None else None
    encrypted = any(a and a.startswith("https") for a in (server.base, token_url))
    return trusted.client_context() if encrypted else False


__all__ = ["FHIR_JSON", "Count", "Link", "Request"]
