"""`medmesh.gateway.v1.Mesh` as operations of the bridge."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

from bus.events.following import Feed, Followed
from bus.flow.priority import Priority
from bus.services.codecs import BYTES
from gateway.access.protocol import Client, Deed
from gateway.contract import GatewayRuntime
from gateway.grpc.api.content import to_client, to_mesh
from gateway.grpc.api.frames import priority_of, read
from gateway.grpc.api.publishing import Publishing
from gateway.grpc.asking import Asking
from gateway.grpc.ending import Ending
from gateway.grpc.exchange import Arrival, Operation, first_frame
from gateway.grpc.gate import Gate, written
from gateway.grpc.routes import Owner, Target
from gateway.grpc.status import invalid
from schemas import subjects
from schemas.fhir import MalformedFhir
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb

SERVICE: Final = "medmesh.gateway.v1.Mesh"
_MAX_PATTERNS: Final = 16
_MAX_MAJOR: Final = 9999


class MeshApi:
    """Publish, PublishAll, Request, Subscribe."""

    def __init__(
        self,
        runtime: GatewayRuntime,
        *,
        gate: Gate,
        asking: Asking,
        ending: Ending,
        feed: Feed,
    ) -> None:
        self._site = runtime.site
        self._gate = gate
        self._ending = ending
        self._asking = asking
        self._feed = feed
        self._publishing = Publishing(
            site=runtime.site,
            site_key=runtime.site_key,
            events=runtime.events,
            clock=runtime.clock,
            gate=gate,
            ending=ending,
        )

    def operations(self) -> Mapping[str, Operation]:
        """By path."""
        return {
            f"/{SERVICE}/Publish": Operation(run=self._publishing.publish),
            f"/{SERVICE}/PublishAll": Operation(run=self._publishing.publish_all, is_long=True),
            f"/{SERVICE}/Request": Operation(run=self._request),
            f"/{SERVICE}/Subscribe": Operation(run=self._subscribe, is_long=True),
        }

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
        patterns = self._patterns(client, arrival, request)
        record = self._gate.record(client, arrival, Deed.SUBSCRIBE, " ".join(patterns))
        await written(record)
        after_seq = request.after_seq if request.HasField("after_seq") else None
        steps = self._feed.follow(patterns, after_seq=after_seq)
        async with aclosing(steps), aclosing(self._ending.until(steps, client)) as until:
            async for step in until:
                yield await _response(step, request.accept_fhir)

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
