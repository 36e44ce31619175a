"""A small FHIR server for tests, over real sockets: versions, conditions, transactions, pages, and faults on demand.

It keeps every body byte for byte. `python -m tests.peers.fhir_server PORT JOURNAL` runs one as a process that may be
killed: what it answered 2xx is in the journal, fsynced, and there again after the next start.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

_UNESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Fault:
    """What becomes of one request instead of, or after, the ordinary."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    work: bool = False
    """Work the request all the same, before the fault."""
    drop: bool = False
    """Close the connection without an answer."""
    hang: bool = False
    """Never answer; the connection stays."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw()
    request: dict[str, str] = {}


class _Transaction(msgspec.Struct):
    type: str = ""
    entry: list[_Entry] = []


class Refused(Exception):
    """The server does not take it: a status and an OperationOutcome whose words quote the patient."""

    def __init__(self, status: int, code: str = "invalid") -> None:
        super().__init__(status)
        self.status = status
        issue = {"severity": "error", "code": code, "diagnostics": "Patient ZEBRAFISH is refused"}
        self.body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


@dataclass
class Store:
    """Versions of resources, byte for byte."""

    versions: dict[tuple[str, str], list[bytes | None]] = field(default_factory=dict)
    journal: Path | None = None
    _next_id: int = 1

    def load(self) -> None:
        if self.journal is None or not self.journal.exists():
            return
        for line in self.journal.read_bytes().splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut short was never answered
                kind, id_, text = json.loads(line)
                self.versions.setdefault((kind, id_), []).append(
                    None if text is None else base64.b64decode(text)
                )
        self._next_id = len(self.versions) + 1

    def put(self, kind: str, id_: str, body: bytes | None) -> int:
        if self.journal is not None:
            text = None if body is None else base64.b64encode(body).decode()
            with self.journal.open("ab") as file:
                file.write(json.dumps([kind, id_, text]).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        versions = self.versions.setdefault((kind, id_), [])
        versions.append(body)
        return len(versions)

    def new_id(self) -> str:
        self._next_id += 1
        return f"s{self._next_id}"

    def current(self, kind: str) -> list[tuple[str, bytes]]:
        return [
            (id_, versions[-1])
            for (one, id_), versions in self.versions.items()
            if one == kind and versions[-1] is not None
        ]

    def matching(self, kind: str, query: str) -> list[tuple[str, bytes]]:
        found = self.current(kind)
        for name, value in parse_qsl(query):
            if name == "identifier":
                found = [(i, b) for i, b in found if _has_identifier(b, value)]
            elif name in ("status", "gender"):
                found = [(i, b) for i, b in found if json.loads(b).get(name) == value]
        return found


def _has_identifier(body: bytes, wanted: str) -> bool:
    parts = re.split(r"(?<!\\)\|", wanted)
    system, value = (_UNESCAPED.sub(r"\1", part) for part in parts)
    found = json.loads(body).get("identifier", [])
    several = found if isinstance(found, list) else [found]
    return any(one.get("system") == system and one.get("value") == value for one in several)


class FhirServer:
    """The server. `base` is its address; `faults` are taken one a request, `always` by every one."""

    def __init__(self, *, port: int = 0, journal: Path | None = None, token: str = "") -> None:
        self.store = Store(journal=journal)
        self.seen: list[Seen] = []
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.token = token
        self.tokens_given = 0
        self.under_way = self.most_under_way = 0
        self.gate: asyncio.Event | None = None
        self.next_base = ""
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    @property
    def port(self) -> int:
        return self._port

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._port}/fhir"

    async def start(self, ssl: Any = None) -> None:
        self.store.load()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=ssl)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut every connection and close the port."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks)
            self._server = None

    async def until(self, condition: Any, timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    def writes(self) -> list[Seen]:
        return [one for one in self.seen if one.method != "GET"]

    # HTTP

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                while await self._one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        parts = urlsplit(target)
        path = parts.path.removeprefix("/fhir").strip("/")
        seen = Seen(method, path, parts.query, headers, body)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._answer(seen, writer)
        finally:
            self.under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        if seen.path == "token":
            self.tokens_given += 1
            self.token = f"token-{self.tokens_given}"
            grant = {"access_token": self.token, "token_type": "Bearer", "expires_in": 3600}
            _write(writer, 200, {"content-type": "application/json"}, json.dumps(grant).encode())
            return True
        self.seen.append(seen)
        async with self._changed:
            self._changed.notify_all()
        if self.gate is not None:
            await self.gate.wait()
        fault = self.faults.popleft() if self.faults else self.always
        if fault is not None and not fault.work:
            return await self._fail(fault, writer)
        status, headers, body = self._work(seen)
        if fault is not None:
            return await self._fail(fault, writer)
        _write(writer, status, headers, body)
        return True

    async def _fail(self, fault: Fault, writer: asyncio.StreamWriter) -> bool:
        if fault.hang:
            await asyncio.Event().wait()
        if fault.drop:
            writer.transport.abort()
            return False
        _write(writer, fault.status, dict(fault.headers), fault.body)
        return True

    # FHIR

    def _work(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if self.token and seen.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}, Refused(401, "login").body
        try:
            return self._interact(seen)
        except Refused as refused:
            return refused.status, {"content-type": "application/fhir+json"}, refused.body

    def _interact(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        steps = seen.path.split("/") if seen.path else []
        return self._asked(seen, steps) if seen.method == "GET" else self._written(seen, steps)

    def _asked(self, seen: Seen, steps: list[str]) -> tuple[int, dict[str, str], bytes]:
        match steps:
            case ["metadata"]:
                return 200, {}, b'{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1"}'
            case [kind, id_]:
                return self._read(kind, id_, 0)
            case [kind, id_, "_history", version]:
                return self._read(kind, id_, int(version))
            case [kind]:
                return 200, {}, self._page(kind, seen.query)
            case _:
                raise Refused(404, "not-supported")

    def _written(self, seen: Seen, steps: list[str]) -> tuple[int, dict[str, str], bytes]:
        match seen.method, steps:
            case "POST", []:
                return self._transaction(seen.body)
            case "POST", ["$process-message"]:
                return 200, {}, b""
            case "POST", [kind]:
                return self._create(kind, seen.body, seen.headers.get("if-none-exist", ""))
            case "PUT", [kind]:
                return self._update_where(kind, seen.query, seen.body)
            case "PUT", [kind, id_]:
                return self._update(kind, id_, seen.body, seen.headers.get("if-match", ""))
            case "DELETE", [kind, id_]:
                self.store.put(kind, id_, None)
                return 204, {}, b""
            case _:
                raise Refused(404, "not-supported")

    def _read(self, kind: str, id_: str, version: int) -> tuple[int, dict[str, str], bytes]:
        versions = self.store.versions.get((kind, id_), [])
        if not versions or version > len(versions):
            raise Refused(404, "not-found")
        body = versions[version - 1]
        if body is None:
            raise Refused(410, "deleted")
        return 200, _head(kind, id_, version or len(versions)), body

    def _create(self, kind: str, body: bytes, condition: str) -> tuple[int, dict[str, str], bytes]:
        if json.loads(body).get("resourceType") != kind:
            raise Refused(400)
        if condition:
            found = self.store.matching(kind, condition)
            if len(found) > 1:
                raise Refused(412, "multiple-matches")
            if found:
                return 200, _head(kind, found[0][0], 1), b""
        id_ = self.store.new_id()
        return 201, _head(kind, id_, self.store.put(kind, id_, body)), b""

    def _update(
        self, kind: str, id_: str, body: bytes, if_match: str
    ) -> tuple[int, dict[str, str], bytes]:
        content = json.loads(body)
        if content.get("resourceType") != kind or content.get("id") != id_:
            raise Refused(400)
        known = len(self.store.versions.get((kind, id_), []))
        if if_match and if_match != f'W/"{known}"':
            raise Refused(412, "conflict")
        version = self.store.put(kind, id_, body)
        return (200 if known else 201), _head(kind, id_, version), b""

    def _update_where(
        self, kind: str, query: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        found = self.store.matching(kind, query)
        if len(found) > 1:
            raise Refused(412, "multiple-matches")
        id_ = found[0][0] if found else self.store.new_id()
        version = self.store.put(kind, id_, body)
        return (200 if found else 201), _head(kind, id_, version), b""

    def _transaction(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        bundle = msgspec.json.decode(body, type=_Transaction)
        if bundle.type not in ("transaction", "batch"):
            raise Refused(400)
        before = {key: list(versions) for key, versions in self.store.versions.items()}
        entries = []
        for entry in bundle.entry:
            request = entry.request
            parts = urlsplit(request["url"])
            headers = {"if-none-exist": request.get("ifNoneExist", "")}
            one = Seen(request["method"], parts.path, parts.query, headers, bytes(entry.resource))
            try:
                status, _, _ = self._interact(one)
            except Refused as refused:
                if bundle.type == "transaction":
                    self.store.versions = before
                    raise
                status = refused.status
            entries.append({"response": {"status": f"{status} Whatever"}})
        answer = {"resourceType": "Bundle", "type": f"{bundle.type}-response", "entry": entries}
        return 200, {}, json.dumps(answer).encode()

    def _page(self, kind: str, query: str) -> bytes:
        wanted = dict(parse_qsl(query))
        count, offset = int(wanted.get("_count", "10")), int(wanted.get("_offset", "0"))
        found = self.store.matching(kind, query)
        base = self.next_base or self.base
        links = b""
        if offset + count < len(found):
            address = f"{base}/{kind}?_count={count}&_offset={offset + count}"
            links = b'"link":[{"relation":"next","url":"%b"}],' % address.encode()
        entries = b",".join(
            b'{"fullUrl":"%b/%b/%b","resource":%b}' % (base.encode(), kind.encode(), i.encode(), b)
            for i, b in found[offset : offset + count]
        )
        return b'{"resourceType":"Bundle","type":"searchset","total":%d,%b"entry":[%b]}' % (
            len(found),
            links,
            entries,
        )


def _head(kind: str, id_: str, version: int) -> dict[str, str]:
    return {
        "content-type": "application/fhir+json",
        "etag": f'W/"{version}"',
        "location": f"/fhir/{kind}/{id_}/_history/{version}",
        "last-modified": format_datetime(datetime.now(UTC), usegmt=True),
    }


def _write(writer: asyncio.StreamWriter, status: int, headers: dict[str, str], body: bytes) -> None:
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


@contextlib.asynccontextmanager
async def fhir_server(**settings: Any) -> AsyncIterator[FhirServer]:
    """A server on a port of its own, for the length of a test."""
    server = FhirServer(**settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _main(port: int, journal: Path) -> None:
    server = FhirServer(port=port, journal=journal)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
