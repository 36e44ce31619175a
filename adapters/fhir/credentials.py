"""How a request shows who sends it: a bearer token, a password, or tokens fetched from an authorisation server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote_plus

import msgspec

from adapters.fhir.codec.answers import Answer
from adapters.fhir.peers import Authentication, Method
from adapters.fhir.secrets import read_secrets
from schemas.clock import Clock
from schemas.errors import ConfigurationError, Unavailable

PostForm = Callable[[str, str, tuple[tuple[str, str], ...]], Awaitable[Answer]]
"""(address, form, headers): posts a form to the authorisation server."""

_EARLY_S: Final = 30.0
"""A token is replaced so long before it ends, at most half of its life."""
_DEFAULT_LIFE_S: Final = 300.0


class _Token(msgspec.Struct):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: str
    expires_in: float = _DEFAULT_LIFE_S


_TOKEN: Final = msgspec.json.Decoder(_Token, strict=False)


class Credentials:
    """Gives the Authorization header; None of it is ever shown."""

    def __init__(
        self, settings: Authentication, clock: Clock, post_form: PostForm, *, name: str
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._post_form = post_form
        self._name = name
        self._header = ""
        self._until_s = float("inf")
        self._fetching = asyncio.Lock()

    def check(self) -> None:
        """Read the secret once, at the start. Raises `ConfigurationError`."""
        read_secrets(self._settings, name=self._name)

    async def header(self) -> str:
        """The header's value; one fetch for all who wait. Raises `Unavailable`."""
        if self._is_fresh:
            return self._header
        async with self._fetching:
            if not self._is_fresh:
                await self._renew()
            return self._header

    def refused(self, header: str) -> bool:
        """The server did not take this header; whether another one may be had now."""
        if header == self._header:
            self._header = ""
        return self._settings.method is Method.CLIENT_CREDENTIALS or bool(
            self._settings.secret_file
        )

    @property
    def _is_fresh(self) -> bool:
        return bool(self._header) and self._clock.monotonic_s() < self._until_s

    async def _renew(self) -> None:
        settings = self._settings
        try:
            secret = read_secrets(settings, name=self._name)[0]
        except ConfigurationError as error:
            # it was there at the start: the resource that is to be sent is not at fault
            raise Unavailable(str(error)) from error
        match settings.method:
            case Method.BEARER:
                self._header = f"Bearer {secret}"
            case Method.BASIC:
                self._header = _basic(settings.user, secret)
            case Method.CLIENT_CREDENTIALS:
                await self._fetch(secret)

    async def _fetch(self, secret: str) -> None:
        settings = self._settings
        form = "grant_type=client_credentials"
        if settings.scope:
            form += f"&scope={quote_plus(settings.scope)}"
        # RFC 6749 §2.3.1: id and secret are form-encoded before they go into a Basic header
        header = _basic(quote_plus(settings.user), quote_plus(secret))
        answer = await self._post_form(settings.token_url or "", form, (("authorization", header),))
        token = self._read(answer)
        life_s = max(0.0, token.expires_in)
        self._until_s = self._clock.monotonic_s() + life_s - min(_EARLY_S, life_s / 2)
        self._header = f"Bearer {token.access_token}"

    def _read(self, answer: Answer) -> _Token:
        if not answer.is_success:
            raise Unavailable(f"the authorisation server answered {answer.status}")
        try:
            token = _TOKEN.decode(answer.body)
        except (msgspec.DecodeError, RecursionError):
            raise Unavailable("the authorisation server's answer holds no token") from None
        usable = token.access_token.isascii() and token.access_token.isprintable()
        if token.token_type.lower() != "bearer" or not token.access_token or not usable:
            raise Unavailable("the authorisation server gives tokens of another kind than Bearer")
        return token


def _basic(user: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


__all__ = ["Credentials", "PostForm"]
