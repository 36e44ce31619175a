"""A gateway's subscriptions without HTTP: buckets in memory, a scripted owner of resources, a clock by hand."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from adapters.fhir.store.events import Change, change_event
from bus.events.protocol import ReceivedEvent
from bus.flow.priority import Priority
from bus.services.protocol import Instance, Response, Seen
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Transport
from gateway.contract import GatewayRuntime
from gateway.subscriptions.binding import Tokens
from gateway.subscriptions.book import Book
from gateway.subscriptions.catalogue import Topics
from gateway.subscriptions.contents import Contents
from gateway.subscriptions.delivering import Desk
from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.matching import Matcher
from gateway.subscriptions.operations import Operations
from gateway.subscriptions.owner import Owner
from gateway.subscriptions.permits import Permits
from schemas.clock import FakeClock
from schemas.gateway import GatewaySection
from schemas.gateway.access import ClientSection
from schemas.gateway.subscriptions import SubscriptionsSection
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import SITE, SITE_KEY
from tests.unit.gateway.fhir.parts import ListedAccess

TOPIC = "urn:medmesh:topic:resource-change:Patient"
HOOK = "https://ehr.example/hook"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
SCOPES = ("system/Patient.rs", "system/Subscription.cruds")


def client_section(name: str, *scopes: str, operate: tuple[str, ...] = ()) -> ClientSection:
    return ClientSection.model_construct(
        name=name, publish=(), subscribe=(), call=(), fhir=scopes or SCOPES, operate=operate
    )


@dataclass
class House:
    """Everything of one gateway but its listeners."""

    transport: Transport
    section: SubscriptionsSection
    clients: tuple[ClientSection, ...]
    clock: FakeClock = field(default_factory=FakeClock)
    counters: Counters = field(default_factory=Counters)
    access: ListedAccess = field(default_factory=ListedAccess)
    versions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    asked: list[pb.Interaction] = field(default_factory=list)
    releases: tuple[str, ...] = ("R4", "R4B", "R5")
    release: str = "R4"
    seq: int = 0

    def __post_init__(self) -> None:
        self.runtime = GatewayRuntime(
            site=SITE,
            site_key=SITE_KEY,
            events=MemoryEvents(),
            call=self.call,
            services=self.services,
            catalogue=None,
            health=dict,
            is_connected=lambda: True,
            counters=self.counters,
            clock=self.clock,
            random=random.Random(7),
            folder=Path("unused"),
            records=self.transport.key_value,
        )
        gateway = GatewaySection.model_construct(client=self.clients)
        self.book = Book(self.runtime, keep_events=self.section.keep_events)
        self.topics = Topics(self.section, self.releases)
        self.permits = Permits(gateway, SITE)
        self.contents = Contents(self.runtime, ("store",))
        self.desk = Desk(
            runtime=self.runtime,
            access=self.access,
            section=self.section,
            book=self.book,
            topics=self.topics,
            permits=self.permits,
            contents=self.contents,
        )
        self.tokens = Tokens(self.runtime, lifetime_s=60)
        endpoints = Endpoints(self.section.endpoints, allow_local=False)
        self.owner = Owner(self.desk, endpoints, Operations(self.desk, self.tokens))
        self.matcher = Matcher(
            self.runtime,
            book=self.book,
            topics=self.topics,
            permits=self.permits,
            fetch=self.contents.version,
            release=self.contents.release_of,
        )

    def services(self) -> Mapping[str, Sequence[Seen]]:
        metadata = {"fhir.releases": self.release, "fhir.types": "*"}
        one = Instance(service="store", id="1", version="1.0.0", site="north", metadata=metadata)
        return {"store": (Seen(instance=one),)}

    async def call(
        self,
        service: str,
        method: str,
        body: bytes,
        *,
        type: str,
        version: int = 1,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        call_id: bytes = b"",
        priority: Priority = Priority.ROUTINE,
        traceparent: str = "",
    ) -> Response:
        asked = pb.Interaction.FromString(body)
        self.asked.append(asked)
        found = self.versions.get(f"{asked.resource_type}/{asked.id}/{asked.version}")
        outcome = pb.Outcome(status=200 if found else 404, body=orjson.dumps(found or {}))
        return Response(type=type, body=outcome.SerializeToString())

    async def change(self, change: Change, body: dict[str, Any]) -> None:
        """A change as the store tells it, handled."""
        await self.matcher.handle(self.event(change, body))

    def event(self, change: Change, body: dict[str, Any], **more: Any) -> ReceivedEvent:
        self.seq += 1
        type_, id_ = body["resourceType"], body["id"]
        raw = orjson.dumps(body)
        made = change_event(
            site=SITE,
            site_key=SITE_KEY,
            change=change,
            resource_type=type_,
            id=id_,
            body=raw,
            about=raw,
        )
        if change is not Change.DELETED:
            self.versions[f"{type_}/{id_}/{body['meta']['versionId']}"] = body
        assert made.index is not None
        fields: dict[str, Any] = {
            "subject": made.subject,
            "message_id": self.seq.to_bytes(16, "big"),
            "type": made.type,
            "body": raw,
            "index": made.index,
            "source": "store",
            "received_ms": self.clock.now_ms(),
            "stored_ms": self.clock.now_ms(),
            "seq": self.seq,
            "partition": int(made.subject.rpartition(".")[2]),
            "attempt": 1,
            "replayed": False,
            "fence": 1,
        }
        return ReceivedEvent(**(fields | more))

    async def ask(self, kind: pb.Kind.ValueType, **fields: Any) -> pb.Outcome:
        requester = pb.Requester(
            client=fields.pop("client", "portal"),
            scopes=fields.pop("scopes", SCOPES),
            compartment=fields.pop("compartment", ""),
        )
        release = fields.pop("release", "R4")
        return await self.owner.respond(
            pb.Interaction(
                kind=kind,
                release=release,
                resource_type=fields.pop("resource_type", "Subscription"),
                base=f"https://gateway.example/fhir/{release}",
                requester=requester,
                **fields,
            )
        )

    async def create(self, body: Any, **fields: Any) -> str:
        outcome = await self.ask(pb.KIND_CREATE, body=orjson.dumps(body), **fields)
        assert outcome.status == 201, outcome.body
        return outcome.id


async def house(
    broker: MemoryBroker,
    *,
    clients: tuple[ClientSection, ...] | None = None,
    **section: Any,
) -> House:
    """One gateway that follows its book."""
    wanted: dict[str, Any] = {"endpoints": ["https://ehr.example/hook"], **section}
    found = House(
        transport=await broker.connect(),
        section=SubscriptionsSection(**wanted),
        clients=clients
        or (
            client_section("portal"),
            client_section("other"),
            client_section("operator", operate=("view",)),
            client_section("nurse", "system/Subscription.cruds"),
        ),
    )
    await found.book.start()
    return found


def patient(id_: str = "1", version: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": id_,
        "meta": {"versionId": str(version), "lastUpdated": "2026-11-23T06:00:00.000Z"},
        **more,
    }


def r4(*, query: str = "", content: str = "id-only", **channel: Any) -> dict[str, Any]:
    payload = {"extension": [{"url": f"{BACKPORT}backport-payload-content", "valueCode": content}]}
    made: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "test",
        "criteria": TOPIC,
        "channel": {
            "type": "rest-hook",
            "endpoint": HOOK,
            "payload": "application/fhir+json",
            "_payload": payload,
            **channel,
        },
    }
    if query:
        extension = {"url": f"{BACKPORT}backport-filter-criteria", "valueString": query}
        made["_criteria"] = {"extension": [extension]}
    return made


def r5(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": TOPIC,
        "channelType": {"code": "rest-hook"},
        "endpoint": HOOK,
        "content": "id-only",
        **more,
    }
