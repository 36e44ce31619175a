"""The adapter: serves interactions, applies events, relays its own."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from adapters.contract import AdapterRuntime, Condition, Health, Offered
from adapters.fhir.store.config import StoreConfig
from adapters.fhir.store.cursors import Cursors
from adapters.fhir.store.engine import Engine
from adapters.fhir.store.holdings import Store
from adapters.fhir.store.incoming import Incoming
from adapters.fhir.store.interactions import Interactions
from adapters.fhir.store.repository import Repository
from adapters.fhir.store.sqlite import SqliteEngine
from adapters.fhir.store.unread import PublishesWhatIsRead
from adapters.fhir.validation import Validator
from bus.events.protocol import ConsumeSpec, Consumption
from bus.services.codecs import PROTOBUF
from bus.services.protocol import CallContext, InvalidRequest, Method, Offer
from bus.transactions.inbox import Inbox
from bus.transactions.relay import Relay, RelayCondition
from schemas.fhir.release import Release
from schemas.fhir.searching import parameters_of
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

VERSION: Final = "1.0.0"
METHOD: Final = "interaction"
_FILE: Final = "store.db"
_POOR: Final = {
    RelayCondition.LANES_WAIT: "changes wait for the mesh",
    RelayCondition.DATABASE_AWAY: "the database is away",
}


def offer_of(config: StoreConfig, method: Method | None = None) -> Offer:
    """The service as it is announced; without a method it only tells its rights."""
    return Offer(
        name=config.name,
        version=VERSION,
        methods=(method,) if method is not None else (),
        description="Owns FHIR resources",
        metadata={
            "fhir.releases": config.release.value,
            "fhir.types": ",".join(config.types) or "*",
        },
    )


class FhirStore:
    """`fhir.store`. What it has answered with 201 or 200 is on the disk, with its event."""

    def __init__(self, config: StoreConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._validator = Validator(
            config.validation.model_copy(update={"release": config.release}),
            name=config.name,
            count=self._count,
            chance=runtime.random,
        )
        self._engine: Engine | None = None
        self._interactions: Interactions | None = None
        self._relay: Relay | None = None
        self._offered: Offered | None = None
        self._consumption: Consumption | None = None

    # the four verbs

    async def start(self) -> None:
        """Open the database, offer the service, take up events. Raises `MeshError`."""
        config, runtime = self._config, self._runtime
        engine = self._make_engine()
        await engine.start()
        self._engine = engine
        store = self._make_store(engine)
        self._interactions = Interactions(store)
        self._relay = Relay(
            engine.outbox,
            PublishesWhatIsRead(runtime.events, self._count),
            clock=runtime.clock,
            chance=runtime.random,
            counters=runtime.counters,
        )
        await self._relay.start()
        method = Method(
            name=METHOD,
            handler=self._answer,
            request_type=PROTOBUF,
            response_type=PROTOBUF,
            request_schema=pb.Interaction.DESCRIPTOR.full_name,
            response_schema=pb.Outcome.DESCRIPTOR.full_name,
        )
        self._offered = await runtime.serve(offer_of(config, method))
        if config.subscribe:
            inbox = Inbox(engine.outbox, clock=runtime.clock, counters=runtime.counters)
            incoming = Incoming(store, name=config.name, inbox=inbox)
            spec = ConsumeSpec(
                name=config.name,
                patterns=config.subscribe,
                lanes=config.lanes,
                retry=config.retry.policy(),
                deliver_new=config.deliver_new,
                shared=config.shared,
                accept=lambda event: event.source != config.name,
            )
            self._consumption = await runtime.events.consume(spec, incoming.handle)

    def _make_engine(self) -> Engine:
        config, runtime = self._config, self._runtime
        release = Release(config.release.value)
        if config.postgres is not None:
            from adapters.fhir.store.postgres import postgres_engine  # noqa: PLC0415 (psycopg is an extra)

            return postgres_engine(config.postgres, release=release, clock=runtime.clock)
        return SqliteEngine(
            config.file or runtime.folder / _FILE,
            release=release,
            clock=runtime.clock,
            readers=config.readers,
            query_timeout_s=config.limits.query_timeout_s,
        )

    def _make_store(self, engine: Engine) -> Store:
        config, runtime = self._config, self._runtime
        return Store(
            engine=engine,
            repository=Repository(
                site=runtime.site, site_key=runtime.site_key, clock=runtime.clock
            ),
            parameters=parameters_of(Release(config.release.value)),
            cursors=Cursors(runtime.site_key),
            clock=runtime.clock,
            limits=config.limits.bounds(),
            types=config.owned,
            count=self._count,
            validator=self._validator,
        )

    def health(self) -> Health:
        """Say whether it answers, and whether its changes reach the mesh."""
        if self._relay is None:
            return Health(condition=Condition.STOPPED, detail="not started")
        relay = self._relay.health()
        poor = _POOR.get(relay.condition)
        if poor is not None:
            return Health(condition=Condition.DEGRADED, detail=f"{poor}: {relay.error_code}")
        waiting = self._consumption.stats().pending if self._consumption is not None else 0
        tail = f"; {waiting} events wait" if waiting else ""
        return Health(
            condition=Condition.HEALTHY, detail=f"holds FHIR {self._config.release.value}{tail}"
        )

    async def drain(self, *, timeout_s: float) -> None:
        """Answer what was asked, apply what is in hand, and bring its changes into the mesh."""
        if self._offered is not None:
            offered, self._offered = self._offered, None
            await offered.drain(timeout_s=timeout_s)
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s)
        if self._relay is not None:
            await self._relay.drain(timeout_s=timeout_s)

    async def stop(self) -> None:
        """Close everything; changes that did not reach the mesh do so after the next start."""
        if self._offered is not None:
            offered, self._offered = self._offered, None
            await offered.drain(timeout_s=0.0)
        if self._consumption is not None:
            await self._consumption.stop()
            self._consumption = None
        if self._relay is not None:
            await self._relay.stop()
            self._relay = None
        await self._validator.stop()
        if self._engine is not None:
            await self._engine.stop()
            self._engine = None

    # calls

    async def _answer(self, body: bytes, _context: CallContext) -> bytes:
        if self._interactions is None:
            raise RuntimeError("the store was not started")
        try:
            asked = pb.Interaction.FromString(body)
        except DecodeError:
            raise InvalidRequest("fhir_interaction", "the request is no Interaction") from None
        outcome = await self._interactions.answer(asked)
        return outcome.SerializeToString()

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


__all__ = ["METHOD", "VERSION", "FhirStore", "offer_of"]
