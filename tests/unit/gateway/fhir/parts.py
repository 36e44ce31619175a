"""What the façade's tests are made of: a mesh with scripted owners, an access that forbids what it is told to."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bus.flow.priority import Priority
from bus.services.protocol import Instance, Response, Seen
from bus.telemetry.counters import Counters
from gateway.access.protocol import Access, AccessRecord, Client, Credentials, Forbidden, Proof
from gateway.contract import GatewayRuntime
from gateway.fhir.exchange import FhirRequest, FhirResponse
from gateway.fhir.facade import Facade
from schemas.clock import FakeClock
from schemas.errors import MeshError
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import SITE, SITE_KEY, no_records

BASE = "https://gateway.example/fhir/R4"
Owner = Callable[[pb.Interaction], pb.Outcome]


@dataclass
class ListedAccess(Access):
    """Everyone may do everything but what is listed as `(type, letter)`; keeps the records."""

    forbidden: set[tuple[str, str]] = field(default_factory=set)
    records: list[AccessRecord] = field(default_factory=list)
    failure: MeshError | None = None

    async def identify(self, credentials: Credentials) -> Client:
        return client()

    def admit(self, client: Client) -> None: ...

    def may_publish(self, client: Client, subject: str) -> None: ...

    def may_subscribe(self, client: Client, pattern: str) -> None: ...

    def may_call(self, client: Client, service: str, method: str) -> None: ...

    def may_fhir(self, client: Client, resource_type: str, deed: str) -> None:
        if (resource_type, deed) in self.forbidden:
            raise Forbidden(f"{client.name} may not: {resource_type}.{deed}")

    def may_operate(self, client: Client, deed: str) -> None: ...

    async def record(self, record: AccessRecord) -> None:
        if self.failure is not None:
            raise self.failure
        self.records.append(record)


@dataclass
class Town:
    """A mesh of scripted owners behind one façade."""

    owners: dict[str, Owner]
    metadata: dict[str, Mapping[str, str]]
    access: ListedAccess = field(default_factory=ListedAccess)
    asked: list[tuple[str, pb.Interaction]] = field(default_factory=list)
    idempotent: list[bool] = field(default_factory=list)
    failure: MeshError | None = None
    raw: bytes | None = None
    trusted: frozenset[str] = frozenset({"store", "lab"})

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
        assert method == "interaction"
        if self.failure is not None:
            raise self.failure
        interaction = pb.Interaction.FromString(body)
        self.asked.append((service, interaction))
        self.idempotent.append(idempotent)
        answer = self.owners[service](interaction).SerializeToString()
        return Response(type=type, body=self.raw if self.raw is not None else answer)

    def services(self) -> Mapping[str, Sequence[Seen]]:
        return {
            name: (
                Seen(
                    instance=Instance(
                        service=name, id="1", version="1.0.0", site="north", metadata=metadata
                    )
                ),
            )
            for name, metadata in self.metadata.items()
        }

    def facade(self, *, smart: bool = False) -> Facade:
        runtime = GatewayRuntime(
            site=SITE,
            site_key=SITE_KEY,
            events=MemoryEvents(),
            call=self.call,
            services=self.services,
            catalogue=None,
            health=dict,
            is_connected=lambda: True,
            counters=Counters(),
            clock=FakeClock(),
            random=random.Random(7),
            folder=Path("unused"),
            records=no_records,
        )
        return Facade(runtime, self.access, trusted=self.trusted, smart=smart)

    @property
    def last(self) -> pb.Interaction:
        return self.asked[-1][1]


def town(owner: Owner, *, types: str = "*", **metadata: str) -> Town:
    """One owner of these types of R4."""
    return Town(
        owners={"store": owner},
        metadata={"store": {"fhir.releases": "R4", "fhir.types": types, **metadata}},
    )


def always(**fields: Any) -> Owner:
    """An owner that has one answer."""
    return lambda _: pb.Outcome(**fields)


def client(**fields: Any) -> Client:
    return Client(name="portal", proof=Proof.API_KEY, **fields)


def request(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    who: Client | None = None,
    query: Sequence[tuple[str, str]] = (),
    **headers: str,
) -> FhirRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body:
        named.setdefault("content-type", "application/fhir+json")
    return FhirRequest(
        method=method,
        release="R4",
        path=tuple(step for step in path.split("/") if step),
        base=BASE,
        client=who or client(),
        query=tuple(query),
        headers=named,
        body=body,
    )


PATIENT = b'{"resourceType":"Patient","id":"1","birthDate":"1970-01-01"}'
FOUND: dict[str, Any] = {
    "status": 200, "body": PATIENT, "resource_type": "Patient", "id": "1", "version": "3",
    "last_modified_ms": 784_111_777_000,
}  # fmt: skip


def outcome(response: FhirResponse) -> tuple[int, str]:
    body = orjson.loads(response.body)
    assert body["resourceType"] == "OperationOutcome"
    return response.status, body["issue"][0]["code"]


def two_owners() -> Town:
    both = town(always(status=200))
    both.owners["lab"] = always(status=200)
    both.metadata["lab"] = {"fhir.releases": "R4,R5", "fhir.types": "Observation, Specimen"}
    return both
