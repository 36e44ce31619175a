"""Tokens by which a WebSocket is bound to subscriptions: sealed, so that any gateway believes them, and short-lived."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from gateway.contract import GatewayRuntime
from gateway.subscriptions.sealing import BadSeal, Safe
from schemas.errors import MeshError

PATH: Final = "/fhir-subscriptions"
_PLACE: Final = "binding"
_MAX_CHARS: Final = 16_384


class BadToken(MeshError):
    """No token of ours, or one whose time is over."""

    code: ClassVar[str] = "bad_binding_token"


class Binding(msgspec.Struct, frozen=True, array_like=True):
    """What a token says."""

    client: str
    ids: tuple[str, ...]
    until_ms: int
    nonce: str


class Tokens:
    """Makes and reads tokens."""

    def __init__(self, runtime: GatewayRuntime, *, lifetime_s: float) -> None:
        self._runtime = runtime
        self._safe = Safe(runtime.site, runtime.site_key)
        self._lifetime_ms = round(lifetime_s * 1000)

    def issue(self, client: str, ids: Sequence[str]) -> tuple[str, int]:
        """A token, and when it ends."""
        until_ms = self._runtime.clock.now_ms() + self._lifetime_ms
        nonce = urlsafe_b64encode(self._runtime.random.randbytes(9)).decode()
        binding = Binding(client, tuple(ids), until_ms, nonce)
        return self._safe.seal(_PLACE, binding).decode(), until_ms

    def read(self, token: str) -> Binding:
        """What it says. Raises `BadToken`."""
        if not token.isascii() or len(token) > _MAX_CHARS:
            raise BadToken("the token is none of this site's")
        try:
            binding = self._safe.open(_PLACE, token.encode(), Binding)
        except BadSeal:
            raise BadToken("the token is none of this site's") from None
        if self._runtime.clock.now_ms() >= binding.until_ms:
            raise BadToken("the token's time is over: get another one")
        return binding


def socket_address(base: str) -> str:
    """Where WebSockets are opened, from the address of a release."""
    root = base.rpartition("/fhir/")[0]
    return f"ws{root.removeprefix('http')}{PATH}"


__all__ = ["PATH", "BadToken", "Binding", "Tokens", "socket_address"]
