"""What the tests of the store are made of: a running store, its calls, and what it has announced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters.contract import Adapter
from adapters.fhir import STORE
from bus.flow.priority import Priority
from bus.services.protocol import CallContext, Offer
from schemas.clock import Clock, FakeClock
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import runtime

BASE = "https://gateway.example/fhir/R4"
CONTEXT = CallContext(
    caller="gateway",
    method="interaction",
    id=b"\0" * 16,
    attempt=1,
    priority=Priority.ROUTINE,
    left_s=lambda: 5.0,
)


class Offered:
    """An offered service that the test calls itself."""

    async def drain(self, *, timeout_s: float = 10.0) -> None:
        pass


@dataclass
class Ward:
    """A running store and those who ask it."""

    events: MemoryEvents
    clock: Clock
    release: str = "R4"
    offers: list[Offer] = field(default_factory=list)
    adapter: Adapter | None = None

    async def serve(self, offer: Offer) -> Offered:
        self.offers.append(offer)
        return Offered()

    async def ask(
        self,
        kind: pb.Kind.ValueType,
        place: str = "",
        body: bytes | dict[str, Any] | list[Any] = b"",
        query: Sequence[tuple[str, str]] = (),
        *,
        if_none_exist: Sequence[tuple[str, str]] = (),
        **more: Any,
    ) -> pb.Outcome:
        """One interaction; `place` is `Type`, `Type/id` or `Type/id/version`."""
        parts = [*place.split("/"), "", ""][:3]
        asked = pb.Interaction(
            kind=kind,
            release=more.pop("release", self.release),
            resource_type=parts[0],
            id=parts[1],
            version=parts[2],
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            base=BASE,
            **more,
        )
        asked.parameters.extend(pb.Parameter(name=name, value=value) for name, value in query)
        asked.if_none_exist.extend(
            pb.Parameter(name=name, value=value) for name, value in if_none_exist
        )
        handler = self.offers[-1].methods[0].handler
        return pb.Outcome.FromString(await handler(asked.SerializeToString(), CONTEXT))

    async def create(self, body: bytes | dict[str, Any], **more: Any) -> pb.Outcome:
        kind = json.loads(body)["resourceType"] if isinstance(body, bytes) else body["resourceType"]
        return await self.ask(pb.KIND_CREATE, kind, body, **more)

    async def put(self, place: str, body: dict[str, Any], **more: Any) -> pb.Outcome:
        kind, _, identity = place.partition("/")
        return await self.ask(
            pb.KIND_UPDATE, place, {"resourceType": kind, "id": identity, **body}, **more
        )

    async def read(self, place: str, **more: Any) -> pb.Outcome:
        return await self.ask(pb.KIND_READ, place, **more)

    async def search(self, kind: str, *query: tuple[str, str], **more: Any) -> dict[str, Any]:
        """The searchset."""
        outcome = await self.ask(pb.KIND_SEARCH, kind, query=query, **more)
        assert outcome.status == 200, outcome.body
        return parsed(outcome)

    async def ids(self, kind: str, *query: tuple[str, str], **more: Any) -> list[str]:
        """The ids of the matches, in order."""
        bundle = await self.search(kind, *query, **more)
        return [
            one["resource"]["id"]
            for one in bundle.get("entry", [])
            if one["search"]["mode"] == "match"
        ]

    async def announced(self) -> list[tuple[str, dict[str, Any]]]:
        """Subjects and bodies of its events, when all have reached the mesh."""
        assert self.adapter is not None
        await self.adapter.drain(timeout_s=10.0)
        return [(one.subject, json.loads(one.body)) for one in self.events.events]


@contextlib.asynccontextmanager
async def ward(
    folder: Path, *, events: MemoryEvents | None = None, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Ward]:
    """A running store; stopped at the end, so that another one can begin on the same folder."""
    mesh = events or MemoryEvents(service="store")
    own = Ward(mesh, clock or FakeClock(), release=str(settings.get("release", "R4")))
    config = STORE.config.model_validate({"name": "store", "kind": "fhir.store"} | settings)
    made = runtime(replace(mesh, service="store"), folder / "own", clock=own.clock, serve=own.serve)
    own.adapter = STORE.build(config, made)
    await own.adapter.start()
    try:
        yield own
    finally:
        await own.adapter.stop()


def parsed(outcome: pb.Outcome) -> dict[str, Any]:
    """The body as JSON."""
    found: dict[str, Any] = json.loads(outcome.body)
    return found


def issue(outcome: pb.Outcome) -> tuple[int, str, str]:
    """Status, code and first expression of a refusal."""
    body = parsed(outcome)
    assert body["resourceType"] == "OperationOutcome"
    first = body["issue"][0]
    return outcome.status, first["code"], next(iter(first.get("expression", [])), "")


def patient(family: str = "Example", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": family}], **more}


def identified(value: str, family: str = "Example", **more: Any) -> dict[str, Any]:
    return patient(family, identifier=[{"system": "urn:mrn", "value": value}], **more)


def observation(subject: str, value: float | str = 5.4, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": subject},
        "valueQuantity": {"value": value, "unit": "mmol/L", "system": "urn:ucum", "code": "mmol/L"},
        **more,
    }
