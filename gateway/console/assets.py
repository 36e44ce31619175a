"""Style, scripts and the icon: read once from the package, answered with an entity tag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from typing import Final

from gateway.console.web import SAFE_HEADERS
from gateway.contract import Receive, Scope, Send
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Header, Problem
from gateway.http.request import Request

PREFIX: Final = "/console/static/"
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    content_type: bytes
    tag: bytes


class Assets:
    """A raw ASGI application."""

    def __init__(self) -> None:
        self._assets = {name: _Asset(*told) for name, *told in _read()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give one out. Nothing of it is secret: the page of signing in needs it."""
        request = Request(scope, receive)
        request.require("GET", "HEAD")
        asset = self._assets.get(request.path.removeprefix(PREFIX))
        if asset is None:
            raise Refused(
                Problem(status=HTTPStatus.NOT_FOUND, code="not_found", detail="no such file")
            )
        headers: list[Header] = [
            *SAFE_HEADERS,
            (b"etag", asset.tag),
            (b"cache-control", b"no-cache"),
        ]
        if request.headers.get(b"if-none-match") == asset.tag:
            await answer(send, HTTPStatus.NOT_MODIFIED, b"", headers)
            return
        headers.append((b"content-type", asset.content_type))
        headers.append((b"content-length", b"%d" % len(asset.body)))
        await answer(send, HTTPStatus.OK, b"" if request.method == "HEAD" else asset.body, headers)


def _read() -> list[tuple[str, bytes, bytes, bytes]]:
    found = []
    for file in (resources.files("gateway.console") / "static").iterdir():
        ending = f".{file.name.rpartition('.')[2]}"
        if ending in _TYPES:
            body = file.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'.encode()
            found.append((file.name, body, _TYPES[ending], tag))
    return found


__all__ = ["PREFIX", "Assets"]
