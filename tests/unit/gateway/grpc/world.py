"""A gateway for tests: access by a table, calls and events that the test gives, schemas written in code."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from google.protobuf import descriptor_pb2, wrappers_pb2

from bus.catalogue import Catalogue
from bus.clock import SystemClock
from bus.events.protocol import Events
from bus.services.discovery.records import PROTOCOL
from bus.services.protocol import Health, Instance, Response, Seen
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue
from gateway.access.protocol import (
    AccessRecord,
    Client,
    Credentials,
    Deed,
    Forbidden,
    Proof,
    TooMany,
    Unauthenticated,
)
from gateway.contract import Call, GatewayRuntime
from gateway.grpc.routes import SCHEMA_KEY, SERVICES_KEY
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.registry.closures import Closure
from schemas.subjects import SiteId, matches

SITE = SiteId("test")
TOKEN = "Bearer lab-viewer"
RESULTS = "lab.v1.Results"


@dataclass
class FakeAccess:
    """One client by token, one by certificate; rights as lists of patterns."""

    clients: dict[str, Client] = field(
        default_factory=lambda: {TOKEN: Client(name="viewer", proof=Proof.JWT)}
    )
    publish: tuple[str, ...] = ("evt.test.>",)
    subscribe: tuple[str, ...] = ("evt.test.>",)
    call: tuple[str, ...] = ("*",)
    rate: int = 1_000_000
    records: list[AccessRecord] = field(default_factory=list)
    record_error: MeshError | None = None
    asked: int = 0

    async def identify(self, credentials: Credentials) -> Client:
        for key in (credentials.authorization, credentials.api_key, *credentials.certificate_names):
            if key in self.clients:
                return self.clients[key]
        raise Unauthenticated("no credentials that prove anything")

    def admit(self, client: Client) -> None:
        self.asked += 1
        if self.asked > self.rate:
            raise TooMany("slow down", retry_after_s=2.5)

    def may_publish(self, client: Client, subject: str) -> None:
        self._check(any(matches(one, subject) for one in self.publish), subject)

    def may_subscribe(self, client: Client, pattern: str) -> None:
        self._check(any(matches(one, pattern) for one in self.subscribe), pattern)

    def may_call(self, client: Client, service: str, method: str) -> None:
        what = f"{service}/{method}"
        self._check("*" in self.call or what in self.call, what)

    def may_fhir(self, client: Client, resource_type: str, deed: str) -> None:
        raise Forbidden("no")

    def may_operate(self, client: Client, deed: str) -> None:
        raise Forbidden("no")

    def _check(self, is_allowed: bool, what: str) -> None:
        if not is_allowed:
            raise Forbidden(f"{what} is not among the client's rights")

    async def record(self, record: AccessRecord) -> None:
        if self.record_error is not None:
            raise self.record_error
        self.records.append(record)

    def deeds(self) -> list[tuple[Deed, str, bool]]:
        return [(one.deed, one.what, one.allowed) for one in self.records]


@dataclass
class FakeCall:
    """Answers with what the test says, and remembers what was asked."""

    answer: Callable[[bytes], bytes] = lambda body: body
    error: MeshError | None = None
    type: str = "application/x-protobuf"
    calls: list[tuple[str, str, bytes, Mapping[str, object]]] = field(default_factory=list)

    async def __call__(self, service: str, method: str, body: bytes, **options: object) -> Response:
        self.calls.append((service, method, body, options))
        if self.error is not None:
            raise self.error
        return Response(type=self.type, body=self.answer(body), instance="i1")


def seen(
    service: str = "lab",
    *,
    version: str = "1.0.0",
    methods: Sequence[str] = ("get_result",),
    grpc: str = RESULTS,
    schema: str = "",
    health: Health = Health.HEALTHY,
    protocol: str = PROTOCOL,
    id: str = "i1",
) -> Seen:
    """One instance that answers for a gRPC service."""
    metadata = {SERVICES_KEY: grpc, SCHEMA_KEY: schema}
    return Seen(
        instance=Instance(
            service=service,
            id=id,
            version=version,
            site=SITE,
            methods=tuple(methods),
            protocols=(protocol,),
            metadata={key: text for key, text in metadata.items() if text},
        ),
        health=health,
    )


class Records:
    """Buckets in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    async def __call__(self, bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> KeyValue:
        transport = await self.broker.connect()
        return await transport.key_value(bucket, history=history)


def runtime(
    folder: Path,
    *,
    call: Call | None = None,
    events: Events | None = None,
    services: Callable[[], Mapping[str, Sequence[Seen]]] = lambda: {"lab": (seen(),)},
    clock: Clock | None = None,
    records: Records | None = None,
    catalogue: Catalogue | None = None,
    is_connected: Callable[[], bool] = lambda: True,
) -> GatewayRuntime:
    return GatewayRuntime(
        site=SITE,
        site_key=b"k" * 32,
        events=events or cast("Events", None),
        call=call or FakeCall(),
        services=services,
        catalogue=catalogue,
        health=dict,
        is_connected=is_connected,
        counters=Counters(),
        clock=clock or SystemClock(),
        random=random.Random(1),
        folder=folder,
        records=records or Records(),
    )


def lab_files(
    *, package: str = "lab.v1", service: str = "Results"
) -> descriptor_pb2.FileDescriptorSet:
    """`lab.v1.Results` with a method of each kind, on StringValue, with what it imports."""
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    own = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}/{service.lower()}.proto",
        package=package,
        syntax="proto3",
        dependency=[wrappers.name],
    )
    declared = own.service.add(name=service)
    kinds = {"GetResult": (False, False), "Watch": (False, True), "Upload": (True, False)}
    for name, (is_client, is_server) in {**kinds, "Chat": (True, True)}.items():
        method = declared.method.add(
            name=name,
            input_type=".google.protobuf.StringValue",
            output_type=".google.protobuf.StringValue",
            client_streaming=is_client,
            server_streaming=is_server,
        )
        if name == "GetResult":
            method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    return descriptor_pb2.FileDescriptorSet(file=[wrappers, own])


def lab_closure() -> Closure:
    """The same as it lies in the registry."""
    return Closure(lab_files().SerializeToString(deterministic=True))
