"""`/fhir/<release>` on the gateway's HTTP side: from ASGI to the façade and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any, Final

from adapters.contract import Rights
from adapters.fhir.codec.outcome import operation_outcome
from bus.services.rights import CallRights, caller_rights
from gateway.access.protocol import Access, Client, Proof
from gateway.access.rights import GATEWAY
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.fhir.exchange import FHIR_JSON, FhirRequest, FhirResponse, Refusal
from gateway.fhir.facade import Facade
from gateway.fhir.openapi import components, path_items
from gateway.fhir.owners import MAJOR
from gateway.fhir.reading import pairs_of
from gateway.http.departure import Departure, first_looks
from gateway.http.request import Bounds, Request
from gateway.part import Mount, PartKind
from schemas.gateway import GatewaySection
from schemas.gateway.fhir import GatewayFhirSection
from schemas.subjects import SiteId

PREFIX: Final = "/fhir/"
_OPEN: Final = frozenset({("metadata",)})
"""What anyone may ask, as FHIR clients do before they log in."""
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_SAFE: Final = frozenset({"GET", "HEAD"})
_PASSED: Final = (
    "accept", "content-type", "prefer", "if-match", "if-none-match", "if-none-exist", "if-modified-since",
)  # fmt: skip
_CODES: Final = {
    400: "invalid", 401: "login", 403: "forbidden", 404: "not-found", 405: "not-supported", 406: "not-supported",
    408: "timeout", 413: "too-long", 415: "not-supported", 429: "throttled", 503: "transient", 504: "timeout",
}  # fmt: skip
_ANYONE: Final = Client(name="anyone", proof=Proof.NOTHING)


class FhirPart:
    """The FHIR interface as a part of the gateway."""

    def __init__(self, section: GatewaySection, runtime: GatewayRuntime, access: Access) -> None:
        self._section = section
        self._own = section.fhir or GatewayFhirSection()
        self._access = access
        self._looks = first_looks()
        self._facade = Facade(
            runtime, access, trusted=frozenset(trusted(section)), smart=bool(section.client)
        )
        self._bounds = Bounds(
            max_body=section.max_body,
            body_timeout_s=section.body_timeout_s,
            request_timeout_s=section.request_timeout_s,
        )

    async def start(self) -> None:
        """Nothing runs in the background."""

    def mounts(self) -> Sequence[Mount]:
        """See `Part.mounts`."""
        openapi = path_items(self._own.releases)
        return (Mount(prefix=PREFIX, app=self._app, openapi=openapi, render=render),)

    def components(self) -> Mapping[str, Any]:
        """See `Part.components`."""
        return components()

    async def drain(self, *, timeout_s: float) -> None:
        """Requests in hand are the front's matter."""

    async def stop(self) -> None:
        """Nothing runs in the background."""

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        _, _, release, *path = (*request.path.split("/"), "")
        steps = tuple(step for step in path if step)
        client = await self._client(request, steps)
        try:
            wanted = await self._read(request, client, release, steps, scope)
            # A search that nobody waits for any more is given up; a change goes on, so that its record tells its end.
            with Departure(receive, self._looks) if wanted.method in _SAFE else nullcontext():
                response = await self._facade.respond(wanted)
        except Refusal as refusal:
            response = refusal.response()
        await _send(send, request.method, response)

    async def _client(self, request: Request, steps: tuple[str, ...]) -> Client:
        if steps in _OPEN:
            return _ANYONE
        client = await self._access.identify(request.credentials())
        self._access.admit(client)
        return client

    async def _read(
        self,
        request: Request,
        client: Client,
        release: str,
        steps: tuple[str, ...],
        scope: Scope,
    ) -> FhirRequest:
        if release not in self._own.releases:
            listed = ", ".join(self._own.releases)
            text = f"there is no such FHIR release here; there is: {listed} (gateway.fhir.releases)"
            raise Refusal(HTTPStatus.NOT_FOUND, "not-found", text)
        body = b""
        if request.method in _WITH_BODY:
            body = await request.body(self._bounds)
        query = scope["query_string"]
        return FhirRequest(
            method=request.method,
            release=release,
            path=steps,
            base=f"{self._address(request)}/fhir/{release}",
            client=client,
            query=pairs_of(query) if query else (),
            headers={name: text for name in _PASSED if (text := request.text(name.encode()))},
            body=body,
            timeout_s=request.timeout_s(self._section.request_timeout_s),
            remote=request.remote,
            traceparent=request.traceparent,
        )

    def _address(self, request: Request) -> str:
        """The gateway as this client sees it: as configured, else as it asked."""
        if self._section.public_url:
            return self._section.public_url
        host = request.text(b"host") or self._section.listen
        return f"{request.scope['scheme']}://{host}"


async def _send(send: Send, method: str, response: FhirResponse) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"cache-control", b"private, no-cache"))
    if response.body:
        headers.append((b"content-type", f"{FHIR_JSON};charset=utf-8".encode()))
    if method != "HEAD" and response.status not in (204, 304):
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def render(status: int, code: str, words: str) -> tuple[bytes, bytes]:
    """A refusal of the gateway itself as an OperationOutcome."""
    issue = _CODES.get(status, "exception")
    return FHIR_JSON.encode(), operation_outcome(issue, f"{words} ({code})")


def trusted(section: GatewaySection) -> tuple[str, ...]:
    """The owners that are believed: those configured, and the gateways themselves, where they own subscriptions."""
    own = section.fhir or GatewayFhirSection()
    return (*own.owners, GATEWAY) if section.subscriptions is not None else own.owners


def rights(section: GatewaySection, site: SiteId) -> Rights:
    """To call the owners, and to read their answers."""
    wanted = sum(
        (caller_rights(site, owner, MAJOR, caller=GATEWAY) for owner in trusted(section)),
        CallRights(),
    )
    return Rights(publish=wanted.publish, subscribe=wanted.subscribe)


FHIR: Final = PartKind(
    name="fhir",
    is_wanted=lambda section: section.fhir is not None,
    rights=rights,
    build=FhirPart,
)

__all__ = ["FHIR", "PREFIX", "FhirPart", "render", "rights", "trusted"]
