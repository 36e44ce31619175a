"""A gateway for tests without sockets: access by a table, calls and events that the test gives, ASGI by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from bus.clock import SystemClock
from bus.events.protocol import Events, NewEvent, StoredEvent
from bus.services.protocol import Instance, Response, Seen
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue
from gateway.access.protocol import (
    AccessRecord,
    Client,
    Credentials,
    Forbidden,
    Proof,
    TooMany,
    Unauthenticated,
)
from gateway.contract import Asgi, Call, GatewayRuntime
from gateway.http.edge import Edge
from gateway.http.origins import Origins
from gateway.http.router import Router
from gateway.http.v1 import ApiPart
from gateway.part import Mount
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId, matches

SITE = SiteId("test")
KEY = "the-key"
Headers = Mapping[str, str]


@dataclass
class FakeAccess:
    """One client by its key; rights as patterns."""

    publish: tuple[str, ...] = ("evt.test.>",)
    call: tuple[str, ...] = ("beds/free", "beds.v2/free")
    operate: tuple[str, ...] = ()
    rate: int = 1_000_000
    record_error: MeshError | None = None
    records: list[AccessRecord] = field(default_factory=list)
    admitted: int = 0
    written: asyncio.Event = field(default_factory=asyncio.Event)

    async def identify(self, credentials: Credentials) -> Client:
        if credentials.api_key == KEY:
            return Client(name="lab", proof=Proof.API_KEY)
        raise Unauthenticated("no credentials that prove anything")

    def admit(self, client: Client) -> None:
        self.admitted += 1
        if self.admitted > self.rate:
            raise TooMany("slow down", retry_after_s=2.5)

    def may_publish(self, client: Client, subject: str) -> None:
        self._check(any(matches(one, subject) for one in self.publish))

    def may_subscribe(self, client: Client, pattern: str) -> None:
        self._check(False)

    def may_call(self, client: Client, service: str, method: str) -> None:
        self._check(f"{service}/{method}" in self.call)

    def may_fhir(self, client: Client, resource_type: str, deed: str) -> None:
        self._check(False)

    def may_operate(self, client: Client, deed: str) -> None:
        self._check(deed in self.operate)

    def _check(self, is_allowed: bool) -> None:
        if not is_allowed:
            raise Forbidden("that is not among the client's rights")

    async def record(self, record: AccessRecord) -> None:
        if self.record_error is not None:
            raise self.record_error
        self.records.append(record)
        self.written.set()


@dataclass
class FakeEvents:
    """Stores in a list; `hold` lets the test decide when."""

    stored: list[NewEvent] = field(default_factory=list)
    error: MeshError | None = None
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, event: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        known = [one.message_id for one in self.stored]
        is_known = event.message_id in known
        if not is_known:
            self.stored.append(event)
            known.append(event.message_id)
        return StoredEvent(
            message_id=event.message_id,
            stream="evt-test",
            seq=known.index(event.message_id) + 1,
            duplicate=is_known,
        )


@dataclass
class FakeCall:
    """Answers with what the test says."""

    answer: Callable[[bytes], Awaitable[bytes]] | None = None
    error: MeshError | None = None
    type: str = "application/json"
    calls: list[tuple[str, str, bytes, Mapping[str, Any]]] = field(default_factory=list)

    async def __call__(self, service: str, method: str, body: bytes, **options: object) -> Response:
        self.calls.append((service, method, body, options))
        if self.error is not None:
            raise self.error
        told = body if self.answer is None else await self.answer(body)
        return Response(type=self.type, body=told, instance="i1")


async def _records(bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
    transport = await MemoryBroker().connect()
    return await transport.key_value(bucket)


@dataclass
class World:
    """Everything a front needs, and what came of it."""

    folder: Path
    access: FakeAccess = field(default_factory=FakeAccess)
    events: FakeEvents = field(default_factory=FakeEvents)
    call: FakeCall = field(default_factory=FakeCall)
    counters: Counters = field(default_factory=Counters)
    services: dict[str, Sequence[Seen]] = field(default_factory=dict)
    is_connected: bool = True

    def runtime(self) -> GatewayRuntime:
        return GatewayRuntime(
            site=SITE,
            site_key=b"k" * 32,
            events=cast("Events", self.events),
            call=cast("Call", self.call),
            services=lambda: self.services,
            catalogue=None,
            health=dict,
            is_connected=lambda: self.is_connected,
            counters=self.counters,
            clock=SystemClock(),
            random=random.Random(1),
            folder=self.folder,
            records=_records,
        )

    def edge(
        self,
        mounts: Sequence[Mount] | None = None,
        *,
        section: GatewaySection | None = None,
        hosts: frozenset[bytes] = frozenset(),
    ) -> Edge:
        section = section or GatewaySection()
        part = ApiPart(section, self.runtime(), self.access)
        return Edge(
            Router(part.mounts() if mounts is None else mounts),
            Origins(section.cors_origins, hosts=hosts),
            max_requests=section.max_requests,
            counters=self.counters,
            chance=random.Random(1),
        )


def seen(service: str, *methods: str, version: str = "1.0.0") -> Seen:
    return Seen(
        instance=Instance(service=service, id="i1", version=version, site=SITE, methods=methods)
    )


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # any JSON
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


class Peer:
    """One client of one request: sends pieces, may go away, collects the answer."""

    def __init__(
        self,
        app: Asgi,
        method: str,
        path: str,
        *pieces: bytes,
        headers: Headers | None = None,
        query: str = "",
        http: str = "1.1",
        is_whole: bool = True,
    ) -> None:
        self._app = app
        shown = {"host": "gateway.example", "x-api-key": KEY, **(headers or {})}
        self.scope = {
            "type": "http",
            "http_version": http,
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in shown.items()],
            "client": ("192.0.2.7", 4711),
        }
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for piece in pieces:
            self._inbox.put_nowait({"type": "http.request", "body": piece, "more_body": True})
        if is_whole:
            self._inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.sent: list[dict[str, Any]] = []
        self.answered = asyncio.Event()

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def run(self) -> Answer:
        await self._app(self.scope, self._inbox.get, self._send)
        start, *rest = self.sent
        return Answer(
            status=start["status"],
            headers={k.decode(): v.decode("latin-1") for k, v in start["headers"]},
            body=b"".join(one.get("body", b"") for one in rest),
        )

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.answered.set()


async def ask(app: Asgi, method: str, path: str, *pieces: bytes, **options: Any) -> Answer:
    """One request, whole; a body has its length unless `headers` say otherwise."""
    headers = dict(options.pop("headers", None) or {})
    if pieces and not {"content-length", "transfer-encoding"} & {k.lower() for k in headers}:
        headers["content-length"] = str(sum(map(len, pieces)))
    return await Peer(app, method, path, *pieces, headers=headers, **options).run()
