"""The console as a part of the gateway: who comes in, which page answers, and what goes wrong in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from gateway.access.protocol import Access, Unauthenticated
from gateway.console.assets import PREFIX as STATIC
from gateway.console.assets import Assets
from gateway.console.desk import Desk
from gateway.console.live import PREFIX as LIVE
from gateway.console.live import Live, allowed
from gateway.console.orders import Orders
from gateway.console.pages.finding import Finding
from gateway.console.pages.letters import LetterPages
from gateway.console.pages.looking import Looking
from gateway.console.pages.signing import SIGN_IN, THEME, Signing
from gateway.console.render import Renderer
from gateway.console.sources import Sources
from gateway.console.watch import Watch
from gateway.console.web import ROOT, Reply, Routes, Visit, form, query, redirect, refusal
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Problem, problem_of
from gateway.http.request import Bounds, Request
from gateway.part import Mount
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.gateway.console import ConsoleSection

SIGN_OUT: Final = f"{ROOT}/sign-out"
_TITLES: Final = {
    400: "That cannot be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not this way",
    413: "Too much",
    429: "Too fast",
    503: "Not now",
    504: "No answer in time",
}


class ConsolePart:
    """`gateway.part.Part`: everything below `/console`."""

    def __init__(
        self,
        section: GatewaySection,
        runtime: GatewayRuntime,
        access: Access,
        sources: Sources,
        *,
        version: str,
    ) -> None:
        own = section.console or ConsoleSection()
        self._runtime = runtime
        self._watch = Watch(runtime, sources, own)
        self._bounds = Bounds(
            max_body=section.max_body,
            body_timeout_s=section.body_timeout_s,
            request_timeout_s=section.request_timeout_s,
        )
        self._renderer = Renderer(site=runtime.site, version=version)
        self._desk = desk = Desk(section, runtime, access, sources, self._watch, self._renderer)
        looking = Looking(desk)
        self._live = Live(desk, looking)
        self._signing = Signing(desk, self._bounds)
        self._routes = Routes(
            (
                *looking.routes(),
                *Finding(desk).routes(),
                *LetterPages(desk, Orders(runtime.records)).routes(),
            )
        )
        self._assets = Assets()

    async def start(self) -> None:
        """Begin to look at the mesh."""
        await self._watch.start()

    def mounts(self) -> Sequence[Mount]:
        """Pages, streams and files. None of it is in the OpenAPI document: it is for people."""
        return (
            Mount(prefix=ROOT, app=self._app),
            Mount(prefix=f"{ROOT}/", app=self._app),
            Mount(prefix=STATIC, app=self._assets),
            Mount(prefix=LIVE, app=self._follow, is_stream=True),
        )

    def components(self) -> Mapping[str, Any]:
        """None."""
        return {}

    async def drain(self, *, timeout_s: float) -> None:
        """Streams end, and their pages come back where somebody answers."""
        self._live.drain()

    async def stop(self) -> None:
        """Stop at once."""
        self._live.drain()
        await self._watch.stop()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            reply = await self._reply(request)
        except Unauthenticated:
            reply = self._to_sign_in(request)
        except Refused as refused:
            reply = self._error(request, refused.problem)
        except MeshError as error:
            reply = self._error(request, problem_of(error))
        headers = reply.all_headers()
        headers.append((b"content-length", b"%d" % len(reply.body)))
        body = b"" if request.method == "HEAD" else reply.body
        await answer(send, int(reply.status), body, headers)

    async def _reply(self, request: Request) -> Reply:
        if request.path == SIGN_IN:
            return await self._signing.sign_in(request)
        if request.path == THEME and request.method == "POST":
            return await self._signing.theme(request)
        is_leaving = request.path == SIGN_OUT and request.method == "POST"
        # found before anybody is asked who they are: what there is, is no secret
        route, parts = (None, ()) if is_leaving else self._routes.find(request.method, request.path)
        session, kept = await self._desk.enter(request)
        client = session.as_client()
        visit = Visit(request, client, session, self._desk.rights_of(client), parts)
        if request.method == "POST":
            visit.form = await form(request, self._bounds)
            if not self._desk.sessions.is_form_token(session, visit.field("form_token")):
                self._runtime.counters.add("console_form_refused", who="console")
                raise Refused(
                    refusal("form_token", "That form is not of this session: load the page again.")
                )
        if route is None:
            return self._signing.sign_out(request)
        if request.method != "POST":
            visit.form = query(request)
        await self._desk.require(request, client, route.right)
        reply = await route.handler(visit)
        return Reply(reply.body, reply.status, (*kept, *reply.headers), reply.content_type)

    def _to_sign_in(self, request: Request) -> Reply:
        if request.method == "POST":
            detail = "The session has ended, and nothing was done. Sign in and send it again."
            return self._error(
                request,
                Problem(status=HTTPStatus.UNAUTHORIZED, code="session_ended", detail=detail),
            )
        asked = request.path
        return redirect(SIGN_IN if asked == ROOT else f"{SIGN_IN}?next={quote(asked)}")

    def _error(self, request: Request, problem: Problem) -> Reply:
        self._runtime.counters.add("http_refused", who="console", reason=problem.code)
        page = self._desk.bare(
            request,
            "error",
            status=problem.status,
            title=_TITLES.get(problem.status, "That did not work"),
            words=problem.detail,
            code=problem.code,
        )
        return Reply(page.body, page.status, (*page.headers, *problem.all_headers()))

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request.require("GET")
        session, _ = await self._desk.enter(request)
        allowed(self._desk, session)
        await self._live.follow(request.path.removeprefix(LIVE), session, receive, send)


__all__ = ["ConsolePart"]
