"""What every page does alike: who is there, what they may do, that it is written down, and how a page is answered."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from gateway.access.protocol import (
    Access,
    AccessRecord,
    Client,
    Credentials,
    Deed,
    Forbidden,
    Unauthenticated,
)
from gateway.console import views
from gateway.console.render import Renderer
from gateway.console.sessions import Session, SessionRefused, Sessions
from gateway.console.sources import Sources
from gateway.console.watch import Watch
from gateway.console.web import (
    COOKIE,
    ROOT,
    THEME_COOKIE,
    THEMES,
    Reply,
    Visit,
    cookie,
    cookies,
)
from gateway.contract import GatewayRuntime
from gateway.http.exchange import Refused
from gateway.http.problems import Header, Problem
from gateway.http.request import Request
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.gateway.console import ConsoleSection

RIGHTS: Final = ("view", "find", "replay", "unmask")
_ID_BYTES: Final = 16


class Desk:
    """Shared by the pages of a gateway; holds no state that another gateway would need."""

    def __init__(
        self,
        section: GatewaySection,
        runtime: GatewayRuntime,
        access: Access,
        sources: Sources,
        watch: Watch,
        renderer: Renderer,
    ) -> None:
        self.own = section.console or ConsoleSection()
        self.runtime = runtime
        self.access = access
        self.sources = sources
        self.watch = watch
        self.renderer = renderer
        self.sessions = Sessions(
            site=runtime.site,
            site_key=runtime.site_key,
            idle_s=self.own.idle_s,
            session_s=self.own.session_s,
        )
        self._section = section
        self._is_open = not section.client
        """No clients: whoever may use this machine is an operator."""

    # who is there

    async def enter(self, request: Request) -> tuple[Session, tuple[Header, ...]]:
        """The session of a request, with headers that keep it going. Raises `Unauthenticated`, `TooMany`."""
        now_ms = self.runtime.clock.now_ms()
        told = cookies(request).get(COOKIE, "")
        if told:
            try:
                session = self.sessions.open(told, now_ms=now_ms)
            except SessionRefused:
                self.runtime.counters.add("console_session_refused", who="console")
            else:
                self.access.admit(session.as_client())
                renewed = self.sessions.renewed(session, now_ms=now_ms)
                kept = (self.session_cookie(request, renewed),) if renewed else ()
                return renewed or session, kept
        credentials = request.credentials()
        if not self._is_open and credentials == Credentials():
            raise Unauthenticated("sign in first")
        session = await self.sign_in(request, credentials)
        return session, (self.session_cookie(request, session),)

    async def sign_in(self, request: Request, credentials: Credentials) -> Session:
        """Exchange a proof for a session. Raises `Unauthenticated`, `TooMany`, `Forbidden`."""
        client = await self.access.identify(credentials)
        self.access.admit(client)
        if not self.rights_of(client):
            raise Forbidden(
                f"client {client.name} may do nothing in the console (its right: operate)"
            )
        if not self._is_open:
            await self.record(request, client, Deed.READ, "console: signed in")
        return self.sessions.begin(
            client,
            identifier=secrets.token_urlsafe(_ID_BYTES),
            now_ms=self.runtime.clock.now_ms(),
        )

    def session_cookie(self, request: Request, session: Session) -> Header:
        """The cookie of a session."""
        left_s = self.sessions.left_s(session, now_ms=self.runtime.clock.now_ms())
        return cookie(
            COOKIE, self.sessions.seal(session), max_age_s=left_s, is_secure=self.is_secure(request)
        )

    def is_secure(self, request: Request) -> bool:
        """Whether browsers reach the gateway by TLS, here or at a proxy before it."""
        return request.scope["scheme"] == "https" or self._section.public_url.startswith("https:")

    @property
    def can_sign_out(self) -> bool:
        """Whether there is anything to sign out of."""
        return not self._is_open

    # what they may do

    def rights_of(self, client: Client) -> frozenset[str]:
        """What the configuration lets a client do now."""
        return frozenset(right for right in RIGHTS if self._may(client, right))

    def _may(self, client: Client, right: str) -> bool:
        try:
            self.access.may_operate(client, right)
        except Forbidden:
            return False
        return True

    async def require(self, request: Request, client: Client, right: str) -> None:
        """Raises `Forbidden`; a refusal of more than looking is written down."""
        try:
            self.access.may_operate(client, right)
        except Forbidden:
            deed = {"unmask": Deed.UNMASK, "replay": Deed.REPLAY, "find": Deed.SEARCH}.get(right)
            if deed is not None:
                await self.record(
                    request, client, deed, f"console: {request.path}", is_allowed=False
                )
            raise

    async def record(
        self,
        request: Request,
        client: Client,
        deed: Deed,
        what: str,
        *,
        is_allowed: bool = True,
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Write down what is about to be done. Raises `Refused` where that is not possible: then it is not done."""
        try:
            await self.access.record(
                AccessRecord(
                    client=client,
                    deed=deed,
                    what=what,
                    allowed=is_allowed,
                    remote=request.remote,
                    details={"way": "console", **(details or {})},
                )
            )
        except MeshError as error:
            raise Refused(
                Problem(
                    status=HTTPStatus.SERVICE_UNAVAILABLE,
                    code="not_recorded",
                    detail="It is not shown or done, because it cannot be written down who asked "
                    f"({error.code}). Try again in a moment.",
                    retry_after_s=1.0,
                )
            ) from None

    # what they get

    def page(
        self,
        visit: Visit,
        name: str,
        *,
        status: int = HTTPStatus.OK,
        live: str = "",
        **more: object,
    ) -> Reply:
        """One page, with what stands on each."""
        context = {
            **self.common(visit.request, visit.client.name),
            "rights": visit.rights,
            "form_token": self.sessions.form_token(visit.session),
            "live": live,
            **more,
        }
        return Reply(self.renderer.page(name, context), status)

    def bare(self, request: Request, name: str, *, status: int, **more: object) -> Reply:
        """A page for whom nobody knows yet, or that says what went wrong."""
        context = {
            **self.common(request, ""),
            "rights": frozenset(),
            "form_token": "",
            "live": "",
            **more,
        }
        return Reply(self.renderer.page(name, context), status)

    def common(self, request: Request, client: str) -> dict[str, Any]:
        """What every page shows."""
        theme = cookies(request).get(THEME_COOKIE, "")
        return {
            "client": client,
            "can_sign_out": self.can_sign_out,
            "theme": theme if theme in THEMES else "",
            "here": request.path.rstrip("/") or ROOT,
            "status": self.status(),
        }

    def status(self) -> dict[str, Any]:
        """The line on top."""
        return views.status(self.watch.picture, now_ms=self.runtime.clock.now_ms())


__all__ = ["RIGHTS", "Desk"]
