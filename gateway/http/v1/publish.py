"""`POST /v1/publish/{subject}`: 202 once the event is stored, and not before."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from bus.events.protocol import NewEvent, StoredEvent
from gateway.access.protocol import Deed
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.http.exchange import Refused, answer
from gateway.http.problems import Header
from gateway.http.request import JSON, Request, bad_request
from gateway.http.v1.desk import Desk
from schemas import subjects
from schemas.errors import SubjectError
from schemas.subjects import Domain, SiteId

PREFIX: Final = "/v1/publish/"
_TYPE: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}\Z")
_BYTES: Final = "application/octet-stream"
_SHORT, _LONG = 4, 5
_ID_BYTES: Final = 16
_HEADERS: Final[list[Header]] = [JSON]


class Target(NamedTuple):
    """What an address names."""

    domain: Domain
    event: str
    partition: int | None
    """None where the address leaves it to the gateway."""
    name: str
    """The address without its partition."""


class Publishing:
    """The route."""

    def __init__(self, runtime: GatewayRuntime, desk: Desk) -> None:
        self._runtime = runtime
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store one event."""
        request = Request(scope, receive)
        request.require("POST")
        desk = self._desk
        client = await desk.admit(request)
        request.accepts("application/json")
        target = target_of(self._runtime.site, request.path[len(PREFIX) :])
        kind = _event_type(request.headers.get(b"content-type", b""))
        message_id = desk.id_for(client, request, target.name) or self._fresh()
        subject = self._subject(request, target, message_id)
        desk.allow(
            client, request, Deed.WRITE, subject, lambda: desk.access.may_publish(client, subject)
        )
        priority = desk.priority(request)
        timeout_s = request.timeout_s(desk.bounds.request_timeout_s)
        body = await request.body(desk.bounds)
        record = desk.record(client, request, Deed.WRITE, subject)
        stored = await self._runtime.events.publish(
            NewEvent(
                subject=subject,
                type=kind,
                body=body,
                message_id=message_id,
                received_ms=self._runtime.clock.now_ms(),
                traceparent=request.traceparent,
                priority=priority,
            ),
            timeout_s=timeout_s,
        )
        await desk.recorded(record)
        await answer(send, 202, _told(stored, subject), list(_HEADERS))

    def _fresh(self) -> bytes:
        return self._runtime.random.randbytes(_ID_BYTES)

    def _subject(self, request: Request, target: Target, message_id: bytes) -> str:
        """The full subject. What `Medmesh-Key` says is hashed and goes nowhere else."""
        key = request.headers.get(b"medmesh-key", b"").strip()
        if target.partition is not None:
            if key:
                raise Refused(
                    bad_request(
                        "partition_twice",
                        "the address names a partition already: leave it or Medmesh-Key out",
                    )
                )
            partition = target.partition
        else:
            partition = subjects.partition_for(self._runtime.site_key, key or message_id)
        return subjects.event(self._runtime.site, target.domain, target.event, partition)


@lru_cache(maxsize=1024)
def target_of(site: SiteId, text: str) -> Target:
    """What `evt.<site>.<domain>.<event>[.<partition>]` names. Raises `SubjectError`."""
    parts = subjects.subject(text).split(".") if text else []
    if len(parts) not in (_SHORT, _LONG) or parts[:2] != ["evt", site]:
        raise SubjectError(
            f"that is no event of this site: write evt.{site}.<domain>.<event>, with or without .<partition>"
        )
    if parts[2] not in set(Domain):
        raise SubjectError(f"that is no domain of events; domains: {', '.join(Domain)}")
    partition = None
    if len(parts) == _LONG:
        if not parts[4].isdigit() or int(parts[4]) >= subjects.PARTITIONS:
            raise SubjectError(f"partitions are 0 to {subjects.PARTITIONS - 1}")
        partition = int(parts[4])
    return Target(Domain(parts[2]), parts[3], partition, ".".join(parts[:_SHORT]))


@lru_cache(maxsize=1024)
def _event_type(raw: bytes) -> str:
    """The type of an event, from `Content-Type`. Raises `Refused`."""
    told = raw.decode("latin-1").strip()
    if not told:
        return _BYTES
    if not _TYPE.match(told):
        raise Refused(
            bad_request("content_type", "Content-Type has 1 to 255 visible ASCII characters")
        )
    return told


def _told(stored: StoredEvent, subject: str) -> bytes:
    return orjson.dumps(
        {
            "message_id": stored.message_id.hex(),
            "stream": stored.stream,
            "seq": stored.seq,
            "duplicate": stored.duplicate,
            "subject": subject,
        }
    )


__all__ = ["PREFIX", "Publishing", "Target", "target_of"]
