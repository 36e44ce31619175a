"""`FhirClient`: FHIR's REST interface for services (FHIR R4 §3.1.0). Bodies go out and come back byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlencode, urljoin, urlsplit

from adapters.fhir.codec.answers import Answer
from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import (
    Bundle,
    is_id,
    is_resource_type,
    read_bundle,
    read_head,
    resources_of,
)
from adapters.fhir.errors import ForeignLink, NotFound, TooManyPages, UnreadableAnswer
from adapters.fhir.link import FHIR_JSON, Link, Request
from adapters.fhir.peers import Server
from adapters.fhir.verdict import check, readable
from bus.telemetry.counters import Counters
from schemas.clock import Clock

Parameters = Sequence[tuple[str, str]]
"""Search parameters in order; values are encoded here, FHIR's own escapes (`\\|`) are the caller's."""
_MAX_PAGES: Final = 1000
_JSON_PATCH: Final = "application/json-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a search or a history."""

    body: bytes = field(repr=False)
    """The bundle as it came."""
    total: int | None
    resources: tuple[bytes, ...] = field(repr=False)
    """Each entry's resource, byte for byte as it stands in the bundle."""


class FhirClient:
    """Talks to one FHIR server: `async with FhirClient(server, clock=…) as fhir`.

    Every method raises what `adapters.fhir.verdict.check` raises, `NotSent` (the server has seen nothing), `NoAnswer`
    (nobody knows what became of the request), `AnswerTooLarge` and `UnreadableAnswer`. Nothing is retried here.
    """

    def __init__(
        self,
        server: Server,
        *,
        clock: Clock,
        counters: Counters | None = None,
        name: str = "fhir",
        concurrency: int = 8,
    ) -> None:
        self._counters = counters or Counters()
        self._name = name
        self._clock = clock
        self.link: Final = Link(
            server, name=name, clock=clock, count=self._count, concurrency=concurrency
        )

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def open(self) -> None:
        """Prepare; no connection is made yet. Raises `ConfigurationError` for certificates and secrets."""
        self.link.open()

    async def close(self) -> None:
        """Close every connection."""
        await self.link.close()

    async def capabilities(self) -> Answer:
        """The server's CapabilityStatement."""
        return await self._ask("GET", "metadata")

    async def read(self, type: str, id: str) -> Answer:
        """One resource. Raises `NotFound`, `Gone`."""
        return await self._ask("GET", _place(type, id))

    async def vread(self, type: str, id: str, version: str) -> Answer:
        """One version of a resource. Raises `NotFound`, `Gone`."""
        return await self._ask("GET", f"{_place(type, id)}/_history/{_id(version)}")

    async def create(self, body: bytes, *, if_none_exist: Parameters = ()) -> Answer:
        """Create a resource; with `if_none_exist` only where none matches (200 then). Raises `Conflict` for several."""
        headers = (("if-none-exist", urlencode(if_none_exist)),) if if_none_exist else ()
        return await self._ask("POST", read_head(body).resource_type, body, headers)

    async def update(self, body: bytes, *, if_match: str = "") -> Answer:
        """Update or create by the resource's own id; with `if_match` only that version. Raises `Conflict`."""
        head = read_head(body)
        headers = (("if-match", f'W/"{_id(if_match)}"'),) if if_match else ()
        return await self._ask("PUT", _place(head.resource_type, head.id), body, headers)

    async def update_where(self, body: bytes, where: Parameters) -> Answer:
        """Update the one resource that matches, or create it (conditional update). Raises `Conflict` for several."""
        kind = read_head(body).resource_type
        return await self._ask("PUT", _query(kind, _needed(where)), body)

    async def patch(self, type: str, id: str, operations: bytes, *, if_match: str = "") -> Answer:
        """Apply a JSON Patch (RFC 6902). Give `if_match`, or an operation `test`: a patch may not come twice."""
        headers = (("if-match", f'W/"{_id(if_match)}"'),) if if_match else ()
        return await self._ask("PATCH", _place(type, id), operations, headers, _JSON_PATCH)

    async def delete(self, type: str, id: str) -> Answer:
        """Delete a resource; fine when there is none any more."""
        return await self._ask("DELETE", _place(type, id))

    async def delete_where(self, type: str, where: Parameters) -> Answer:
        """Delete what matches (conditional delete). Raises `Conflict` where the server takes one match only."""
        return await self._ask("DELETE", _query(_type(type), _needed(where)))

    async def transaction(self, bundle: bytes) -> Answer:
        """Post a transaction or a batch. The answer to a batch has a status for each entry."""
        return await self._ask("POST", "", bundle)

    async def search(
        self, type: str, parameters: Parameters = (), *, max_pages: int = _MAX_PAGES
    ) -> AsyncIterator[Page]:
        """Every page of a search. Raises `TooManyPages`, and `ForeignLink` for a next page elsewhere."""
        async for page in self._pages(_query(_type(type), parameters), max_pages):
            yield page

    async def history(
        self, type: str = "", id: str = "", *, max_pages: int = _MAX_PAGES
    ) -> AsyncIterator[Page]:
        """The versions of a resource, of a type, or of everything, newest first."""
        place = _place(type, id) if id else _type(type) if type else ""
        async for page in self._pages(f"{place}/_history".lstrip("/"), max_pages):
            yield page

    async def _pages(self, path: str, max_pages: int) -> AsyncIterator[Page]:
        for _ in range(max_pages):
            answer = await self._ask("GET", path)
            bundle = _bundle(answer.body)
            yield Page(body=answer.body, total=bundle.total, resources=tuple(resources_of(bundle)))
            link = bundle.next_link()
            if not link:
                return
            path = next_path(self.link.base, link)
        raise TooManyPages(f"more than {max_pages} pages (max_pages)")

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        content_type: str = FHIR_JSON,
    ) -> Answer:
        request = Request(
            method=method, path=path, body=body, headers=headers, content_type=content_type
        )
        answer = await self.link.send(request)
        return readable(check(answer, now_ms=self._clock.now_ms()))

    def _count(self, name: str, reason: str) -> None:
        self._counters.add(name, who=self._name, reason=reason)


def next_path(base: str, link: str) -> str:
    """A page's address below the base. Raises `ForeignLink` for another scheme, host or port, or above the base."""
    target = urljoin(f"{base}/", link)
    if _origin(target) != _origin(base):
        raise ForeignLink(
            "the next page lies on another server than base: set base to the server's own address"
        )
    base_path, parts = urlsplit(base).path, urlsplit(target)
    inside = parts.path == base_path or parts.path.startswith(f"{base_path}/")
    if not inside or ".." in parts.path.split("/"):
        raise ForeignLink("the next page lies outside base")
    query = f"?{parts.query}" if parts.query else ""
    return parts.path[len(base_path) :].lstrip("/") + query


def _origin(address: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return parts.scheme, (parts.hostname or "").lower(), port
    except ValueError:
        return "", "", None


def _bundle(body: bytes) -> Bundle:
    try:
        return read_bundle(body)
    except UnreadableResource as error:
        raise UnreadableAnswer(f"the answer is no Bundle: {error}") from None


def _type(text: str) -> str:
    if not is_resource_type(text):
        raise ValueError("that is no name of a FHIR resource")
    return text


def _id(text: str) -> str:
    if not is_id(text):
        raise ValueError("an id is 1 to 64 of letters, digits, '-' and '.'")
    return text


def _place(type: str, id: str) -> str:
    return f"{_type(type)}/{_id(id)}"


def _query(type: str, parameters: Parameters) -> str:
    return f"{type}?{urlencode(parameters, quote_via=quote)}" if parameters else type


def _needed(where: Parameters) -> Parameters:
    if not where:
        raise ValueError("a condition is needed: without one everything would match")
    return where


__all__ = ["FhirClient", "NotFound", "Page", "Parameters", "next_path"]
