"""A console for tests: sources that hold what the test says, access by a table, a browser that keeps cookies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import unescape
from typing import Any
from urllib.parse import urlencode

from bus.events.replays import DeadLetterSummary, Replayed, UnreadableDeadLetter
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue, NotFound
from gateway.access.protocol import (
    AccessRecord,
    Client,
    Credentials,
    Forbidden,
    Proof,
    TooMany,
    Unauthenticated,
)
from gateway.console.masking import Masked, mask, reveal
from gateway.console.part import ConsolePart
from gateway.console.sources import (
    ContentClosed,
    Flow,
    Found,
    Journey,
    Kind,
    Letter,
    Place,
    Sources,
    Stream,
    Timing,
)
from gateway.http.edge import Edge
from gateway.http.origins import Origins
from gateway.http.router import Router
from schemas.clock import FakeClock
from schemas.errors import MeshError
from schemas.gateway import GatewaySection
from tests.unit.gateway.http.kit import SITE, World

EVERYTHING = ("view", "find", "replay", "unmask")
MESSAGE_ID = bytes(range(16))


@dataclass
class Doors:
    """`Access`: clients by their key, and what each may do."""

    rights: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"ops": EVERYTHING})
    records: list[AccessRecord] = field(default_factory=list)
    record_error: MeshError | None = None
    expires_ms: int = 0
    rate: int = 1_000_000

    async def identify(self, credentials: Credentials) -> Client:
        name = credentials.authorization.removeprefix("Bearer key-")
        if credentials.authorization and name in self.rights:
            return Client(
                name=name, proof=Proof.API_KEY, scopes=("mesh/operate",), expires_ms=self.expires_ms
            )
        raise Unauthenticated("the API key is not known")

    def admit(self, client: Client) -> None:
        self.rate -= 1
        if self.rate < 0:
            raise TooMany("slow down", retry_after_s=2.5)

    def may_operate(self, client: Client, deed: str) -> None:
        if deed not in self.rights.get(client.name, ()):
            raise Forbidden(f"client {client.name} may not {deed} in the console")

    async def record(self, record: AccessRecord) -> None:
        if self.record_error is not None:
            raise self.record_error
        self.records.append(record)

    def _no(self, *_: object) -> None:
        raise Forbidden("not here")

    may_publish = may_subscribe = may_call = may_fhir = _no


@dataclass
class FakeFigures:
    """How the site does, by the test's word."""

    counts: dict[str, int] = field(default_factory=lambda: {"evt.test.patient.admitted": 10})
    stored: list[Stream] = field(
        default_factory=lambda: [
            Stream(name="evt-test", messages=10, bytes=5000, last_seq=10, is_synced=True)
        ]
    )
    read: list[Place] = field(default_factory=list)
    error: MeshError | None = None

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    async def flows(self) -> Sequence[Flow]:
        self._fail()
        return [Flow(subject=name, count=count) for name, count in self.counts.items()]

    async def streams(self) -> Sequence[Stream]:
        self._fail()
        return self.stored

    async def places(self) -> Sequence[Place]:
        return self.read

    async def timings(self, service: str, instance: str) -> Sequence[Timing]:
        return [Timing(method="echo", requests=5, errors=1, average_ms=1.5, last_error="timeout")]


def letter(seq: int, consumer: str = "archive", **more: Any) -> DeadLetterSummary:
    fields: dict[str, Any] = {
        "subject": "evt.test.patient.admitted.7", "stream_seq": seq + 100, "message_id": MESSAGE_ID,
        "reason": "rejected", "detail": f"line {seq} was refused", "attempts": 3, "first_attempt_ms": 1000,
        "last_attempt_ms": 2000, "stack": "Trace\n <script>", "reported_by": consumer, "stored_ms": 3000,
        "envelope_bytes": 900,
    }  # fmt: skip
    return DeadLetterSummary(seq=seq, consumer=consumer, **(fields | more))


@dataclass
class FakeLetters:
    """Dead letters; every replay that was really ordered is in `sent`."""

    there: dict[int, Letter] = field(default_factory=dict)
    sent: list[tuple[int, str, str]] = field(default_factory=list)

    async def list(
        self, consumer: str = "", *, known: Mapping[int, Letter] | None = None
    ) -> AsyncIterator[Letter]:
        for one in self.there.values():
            yield one

    async def show(self, seq: int) -> Letter:
        if seq not in self.there:
            raise NotFound("gone")
        return self.there[seq]

    async def replay(self, seqs: Sequence[int], *, reason: str, to: str = "") -> Replayed:
        ordered = [seq for seq in seqs if seq in self.there]
        for seq in ordered:
            del self.there[seq]
            self.sent.append((seq, to, reason))
        gone = tuple(seq for seq in seqs if seq not in ordered)
        return Replayed(ordered=tuple(ordered), gone=gone)


@dataclass
class FakeFinder:
    """Messages by identifier."""

    found: dict[str, list[Found]] = field(default_factory=dict)
    journeys: dict[bytes, Journey] = field(default_factory=dict)
    asked: list[tuple[Kind, str]] = field(default_factory=list)
    error: MeshError | None = None

    async def find(self, kind: Kind, text: str, *, limit: int) -> Sequence[Found]:
        if self.error is not None:
            raise self.error
        self.asked.append((kind, text))
        return self.found.get(text, [])[:limit]

    async def journey(self, message_id: bytes) -> Journey:
        if message_id not in self.journeys:
            raise NotFound("no such message")
        return self.journeys[message_id]


@dataclass
class FakeContents:
    """What messages hold."""

    bodies: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    opened: list[int] = field(default_factory=list)

    def _body(self, seq: int) -> tuple[str, bytes]:
        if seq not in self.bodies:
            raise ContentClosed("This gateway may not open it.")
        return self.bodies[seq]

    async def masked(self, subject: str, seq: int) -> Masked:
        return mask(*self._body(seq))

    async def revealed(self, subject: str, seq: int) -> Masked:
        self.opened.append(seq)
        return reveal(*self._body(seq))


@dataclass
class Page:
    """What a browser got."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def hidden(self, name: str) -> list[str]:
        """Values of hidden fields of that name."""
        return [unescape(one) for one in re.findall(rf'name="{name}" value="([^"]*)"', self.text)]

    def __contains__(self, text: str) -> bool:
        return text in re.sub(r"<wbr>", "", unescape(self.text))


@dataclass
class Browser:
    """Keeps cookies, follows no redirect by itself."""

    edge: Edge
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Page:
        return await self.ask("GET", path, b"", dict(headers or {}))

    async def post(
        self, path: str, fields: Mapping[str, object] | None = None, **headers: str
    ) -> Page:
        body = urlencode(fields or {}, doseq=True).encode()
        told = {"content-type": "application/x-www-form-urlencoded"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.ask("POST", path, body, told)

    async def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Page:
        place, _, query = path.partition("?")
        every = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())]
        every += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        if self.cookies:
            told = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            every.append((b"cookie", told.encode()))
        scope = {
            "type": "http", "method": method, "path": place, "query_string": query.encode(), "headers": every,
            "scheme": "http", "http_version": "1.1", "client": ("127.0.0.1", 1),
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.edge(scope, receive, send)
        told_headers = [(n.decode(), v.decode("latin-1")) for n, v in sent[0]["headers"]]
        for name, value in told_headers:
            if name == "set-cookie":
                self._keep(value)
        text = b"".join(one.get("body", b"") for one in sent[1:]).decode()
        return Page(sent[0]["status"], told_headers, text)

    def _keep(self, header: str) -> None:
        name, _, value = header.partition(";")[0].partition("=")
        if "Max-Age=0" in header:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


@dataclass
class Site:
    """A console and all that lies behind it."""

    world: World
    doors: Doors = field(default_factory=Doors)
    figures: FakeFigures = field(default_factory=FakeFigures)
    letters: FakeLetters = field(default_factory=FakeLetters)
    finder: FakeFinder = field(default_factory=FakeFinder)
    contents: FakeContents = field(default_factory=FakeContents)
    console: Mapping[str, Any] = field(default_factory=dict)
    has_clients: bool = True
    public_url: str = ""
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    clock: FakeClock = field(default_factory=lambda: FakeClock(now_ms=1_800_000_000_000))
    part: ConsolePart | None = None

    def section(self) -> GatewaySection:
        clients = [{"name": name, "operate": rights} for name, rights in self.doors.rights.items()]
        return GatewaySection.model_validate(
            {
                "console": self.console, "client": clients if self.has_clients else [],
                "public_url": self.public_url,
            }
        )  # fmt: skip

    async def records(self, bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
        return await (await self.broker.connect()).key_value(bucket)

    def browser(self) -> Browser:
        """A browser at a gateway of its own: another one is another gateway of the same site."""
        runtime = replace(self.world.runtime(), records=self.records, clock=self.clock)
        sources = Sources(
            figures=self.figures, letters=self.letters, finder=self.finder, contents=self.contents
        )
        self.part = part = ConsolePart(
            self.section(), runtime, self.doors, sources, version="0.0.0"
        )
        edge = Edge(
            Router(part.mounts()), Origins((), hosts=frozenset()), max_requests=8,
            counters=self.world.counters, chance=self.world.runtime().random,
        )  # fmt: skip
        return Browser(edge)

    async def signed_in(self, name: str = "ops") -> Browser:
        browser = self.browser()
        page = await browser.post("/console/sign-in", {"proof": f"key-{name}"})
        assert page.status == 303, page.text
        await self.look()
        return browser

    async def look(self) -> None:
        assert self.part is not None
        await self.part._watch.look()


__all__ = [
    "EVERYTHING",
    "MESSAGE_ID",
    "SITE",
    "Browser",
    "Page",
    "Site",
    "UnreadableDeadLetter",
    "letter",
]
