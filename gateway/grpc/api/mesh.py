"""`medmesh.gateway.v1.Mesh` as operations of the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from typing import Final

from bus.flow.priority import Priority
from bus.services.codecs import BYTES
from gateway.access.protocol import Client, Deed
from gateway.contract import GatewayRuntime
from gateway.grpc.api.content import to_client, to_mesh
from gateway.grpc.api.feed import Feed, Followed
from gateway.grpc.api.frames import priority_of, read
from gateway.grpc.api.publishing import Publishing
from gateway.grpc.asking import Asking
from gateway.grpc.exchange import Arrival, Operation, first_frame
from gateway.grpc.gate import Gate, written
from gateway.grpc.routes import Owner, Target
from gateway.grpc.status import RpcFailed, Status, draining, invalid, unimplemented
from schemas import subjects
from schemas.fhir import MalformedFhir
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb

SERVICE: Final = "medmesh.gateway.v1.Mesh"
_MAX_PATTERNS: Final = 16
_MAX_MAJOR: Final = 9999


class MeshApi:
    """Publish, PublishAll, Request, Subscribe."""

    def __init__(
        self, runtime: GatewayRuntime, gate: Gate, asking: Asking, feed: Feed | None
    ) -> None:
        self._site = runtime.site
        self._clock = runtime.clock
        self._gate = gate
        self._asking = asking
        self._feed = feed
        self._publishing = Publishing(
            site=runtime.site,
            site_key=runtime.site_key,
            events=runtime.events,
            clock=runtime.clock,
            gate=gate,
        )
        self._leaving = asyncio.Event()

    def operations(self) -> Mapping[str, Operation]:
        """By path."""
        return {
            f"/{SERVICE}/Publish": Operation(run=self._publishing.publish),
            f"/{SERVICE}/PublishAll": Operation(run=self._publishing.publish_all, is_long=True),
            f"/{SERVICE}/Request": Operation(run=self._request),
            f"/{SERVICE}/Subscribe": Operation(run=self._subscribe, is_long=True),
        }

    def drain(self) -> None:
        """Tell those who follow events to go on at another gateway."""
        self._leaving.set()

    async def _request(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        client = await self._gate.admit(arrival)
        request = read(pb.RequestRequest, await first_frame(frames))
        if request.version > _MAX_MAJOR:
            raise invalid(f"version {request.version} is no major version: up to {_MAX_MAJOR}")
        service = subjects.token(request.service, what="service")
        method = subjects.token(request.method, what="method")
        priority = priority_of(request.priority)
        content_type, body = await to_mesh(request.content)
        response = await self._asking.ask(
            client,
            arrival,
            Target(Owner(service, request.version or 1), method),
            body,
            type=content_type or BYTES,
            priority=priority if priority is not Priority.ROUTINE else arrival.priority,
            is_idempotent=request.is_idempotent,
        )
        kind, body = await to_client(response.type, response.body, request.accept_fhir)
        yield pb.RequestResponse(content=pb.Content(type=kind, body=body)).SerializeToString()

    async def _subscribe(
        self, arrival: Arrival, frames: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        client = await self._gate.admit(arrival)
        request = read(pb.SubscribeRequest, await first_frame(frames))
        if self._feed is None:
            raise unimplemented("this gateway follows no events", reason="no_feed")
        patterns = self._patterns(client, arrival, request)
        record = self._gate.record(client, arrival, Deed.SUBSCRIBE, " ".join(patterns))
        await written(record)
        after_seq = request.after_seq if request.HasField("after_seq") else None
        steps = self._feed.follow(patterns, after_seq=after_seq)
        try:
            async for step in _until(steps, self._end(client)):
                yield await _response(step, request.accept_fhir)
        finally:
            await steps.aclose()

    def _patterns(
        self, client: Client, arrival: Arrival, request: pb.SubscribeRequest
    ) -> tuple[str, ...]:
        if not 1 <= len(request.patterns) <= _MAX_PATTERNS:
            raise invalid(f"{len(request.patterns)} patterns; 1 to {_MAX_PATTERNS} are allowed")
        own = subjects.events_of(self._site)
        for pattern in request.patterns:
            if not subjects.matches(own, subjects.pattern(pattern)):
                raise invalid(
                    f"{pattern!r} is not within the events of this site: it must begin with {own[:-1]!r}",
                    reason="subject",
                )
            self._gate.check(client, arrival, Deed.SUBSCRIBE, pattern)
        return tuple(dict.fromkeys(request.patterns))

    async def _end(self, client: Client) -> RpcFailed:
        """Return why a stream must end, when it must."""
        left_s = (client.expires_ms - self._clock.now_ms()) / 1000 if client.expires_ms else None
        try:
            async with asyncio.timeout(None if left_s is None else max(0.0, left_s)):
                await self._leaving.wait()
        except TimeoutError:
            return RpcFailed(
                Status.UNAUTHENTICATED, "the client's token has expired", reason="expired"
            )
        return draining()


async def _until(
    steps: AsyncGenerator[Followed, None], ending: Coroutine[None, None, RpcFailed]
) -> AsyncGenerator[Followed, None]:
    """Steps until there are no more, or until the end comes: raises it."""
    end = asyncio.ensure_future(ending)
    step: asyncio.Future[Followed] | None = None
    try:
        while True:
            step = asyncio.ensure_future(anext(steps))
            await asyncio.wait((step, end), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                raise end.result()
            try:
                followed = step.result()
            except StopAsyncIteration:
                return
            yield followed
            if end.done():
                raise end.result()
    finally:
        pending = [one for one in (step, end) if one is not None and not one.done()]
        for one in pending:
            one.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _response(step: Followed, form: pb.FhirForm.ValueType) -> bytes:
    event = step.event
    if event is None:
        return pb.SubscribeResponse(seq=step.seq).SerializeToString()
    try:
        kind, body = await to_client(event.type, event.body, form)
    except MalformedFhir:  # it says that it is FHIR and is not: the reader gets what was sent
        kind, body = event.type, event.body
    received = pb.ReceivedEvent(
        subject=event.subject,
        message_id=event.message_id,
        content=pb.Content(type=kind, body=body),
        source=event.source,
        received_ms=event.received_ms,
        stored_ms=event.stored_ms,
        schema_id=event.schema_id,
        traceparent=event.traceparent,
    )
    return pb.SubscribeResponse(event=received, seq=step.seq).SerializeToString()


__all__ = ["SERVICE", "MeshApi"]
