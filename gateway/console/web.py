"""Requests and answers of the console: routes, forms, cookies, and the headers that keep a browser honest."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from gateway.access.protocol import Client
from gateway.console.sessions import Session
from gateway.http.exchange import Refused
from gateway.http.problems import Header, Problem
from gateway.http.request import Bounds, Request, bad_request, unsupported_type

ROOT: Final = "/console"
FORM: Final = "application/x-www-form-urlencoded"
HTML: Final = b"text/html; charset=utf-8"
COOKIE: Final = "medmesh-console"
THEME_COOKIE: Final = "medmesh-theme"
THEMES: Final = ("light", "dark")
_MAX_FORM: Final = 64 * 1024
_MAX_FIELDS: Final = 2048
_WITHIN: Final = re.compile(r"/console(?:/[A-Za-z0-9_/.-]*)?(?:\?[A-Za-z0-9_=&.*%-]*)?\Z")
_FROM_HERE: Final = frozenset({"", "same-origin", "none"})
"""Values of `Sec-Fetch-Site` that a form of ours has; "" is a browser that does not tell."""

SAFE_HEADERS: Final[tuple[Header, ...]] = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'; "
        b"form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
NO_STORE: Final[Header] = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    body: bytes = b""
    status: int = HTTPStatus.OK
    headers: tuple[Header, ...] = ()
    content_type: bytes = HTML

    def all_headers(self) -> list[Header]:
        """Those of every answer of the console, and its own."""
        found = [*SAFE_HEADERS, *self.headers]
        if self.body:
            found.append((b"content-type", self.content_type))
        if not any(name == b"cache-control" for name, _ in self.headers):
            found.append(NO_STORE)
        return found


@dataclass(slots=True)
class Visit:
    """One request of an operator who is signed in."""

    request: Request
    client: Client
    session: Session
    rights: frozenset[str]
    """Of `view`, `find`, `replay`, `unmask`."""
    parts: tuple[str, ...] = ()
    """What the path has in place of each `{}`."""
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def field(self, name: str) -> str:
        """A field of the form or of the query; empty where there is none."""
        values = self.form.get(name, ())
        return values[0].strip() if values else ""


Handler = Callable[[Visit], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """One address."""

    method: str
    path: str
    """Below `/console`; `{}` stands for one step."""
    right: str
    """What the operator must be allowed to do."""
    handler: Handler


class Routes:
    """Finds the handler of an address."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(one, tuple(one.path.strip("/").split("/"))) for one in routes]

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """The route and what stands for its `{}`. Raises `Refused` (404, 405)."""
        steps = tuple(path.removeprefix(ROOT).strip("/").split("/"))
        allowed: list[str] = []
        for route, wanted in self._routes:
            parts = _matched(wanted, steps)
            if parts is None:
                continue
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                return route, parts
            allowed.append(route.method)
        if allowed:
            raise Refused(
                Problem(
                    status=HTTPStatus.METHOD_NOT_ALLOWED,
                    code="method_not_allowed",
                    detail="this address takes another method",
                    headers=((b"allow", ", ".join(allowed).encode()),),
                )
            )
        raise Refused(
            Problem(
                status=HTTPStatus.NOT_FOUND,
                code="not_found",
                detail="There is no such page in the console.",
            )
        )


def _matched(wanted: tuple[str, ...], steps: tuple[str, ...]) -> tuple[str, ...] | None:
    if len(wanted) != len(steps):
        return None
    parts = []
    for one, step in zip(wanted, steps, strict=True):
        if one == "{}" and step:
            parts.append(step)
        elif one != step:
            return None
    return tuple(parts)


def redirect(path: str, *headers: Header) -> Reply:
    """Send the browser to another page of the console, by GET."""
    return Reply(
        status=HTTPStatus.SEE_OTHER, headers=((b"location", path.encode("ascii")), *headers)
    )


def own_path(told: str) -> str:
    """Where to go on: a path of the console, whatever was asked for."""
    return told if _WITHIN.match(told) and "//" not in told else ROOT


def cookie(
    name: str,
    value: str,
    *,
    path: str = ROOT,
    max_age_s: int,
    is_secure: bool,
    is_http_only: bool = True,
) -> Header:
    """`Set-Cookie`. An age of 0 takes it back."""
    parts = [f"{name}={value}", f"Path={path}", f"Max-Age={max_age_s}", "SameSite=Strict"]
    parts += ["HttpOnly"] * is_http_only + ["Secure"] * is_secure
    return b"set-cookie", "; ".join(parts).encode("ascii")


def cookies(request: Request) -> Mapping[str, str]:
    """What the browser sent. Over HTTP/2 they may come as several headers."""
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, text = part.strip().partition("=")
                found.setdefault(key, text)
    return found


def query(request: Request) -> Mapping[str, Sequence[str]]:
    """The fields behind `?`. Raises `Refused`."""
    return _fields(request.scope["query_string"])


async def form(request: Request, bounds: Bounds) -> Mapping[str, Sequence[str]]:
    """The fields of a form that one of our pages sent. Raises `Refused` (400, 403, 408, 413, 415)."""
    if request.text(b"sec-fetch-site") not in _FROM_HERE:
        raise Refused(refusal("cross_site", "That form was not sent from a page of the console."))
    if request.content_type != FORM:
        raise Refused(unsupported_type(FORM))
    body = await request.body(
        Bounds(
            max_body=min(_MAX_FORM, bounds.max_body),
            body_timeout_s=bounds.body_timeout_s,
            request_timeout_s=bounds.request_timeout_s,
        )
    )
    return _fields(body)


def refusal(code: str, detail: str) -> Problem:
    """403."""
    return Problem(status=HTTPStatus.FORBIDDEN, code=code, detail=detail)


def _fields(raw: bytes) -> Mapping[str, Sequence[str]]:
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refused(bad_request("form", "The form cannot be read.")) from None


__all__ = [
    "COOKIE",
    "FORM",
    "HTML",
    "NO_STORE",
    "ROOT",
    "SAFE_HEADERS",
    "THEMES",
    "THEME_COOKIE",
    "Handler",
    "Reply",
    "Route",
    "Routes",
    "Visit",
    "cookie",
    "cookies",
    "form",
    "own_path",
    "query",
    "redirect",
    "refusal",
]
