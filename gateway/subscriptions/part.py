"""FHIR Subscriptions as a part of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.contract import Offered, Rights
from bus.events.protocol import ConsumeSpec, Consumption, ReceivedEvent, RetryPolicy
from bus.services.codecs import PROTOBUF
from bus.services.protocol import Method, Offer
from bus.services.rights import service_rights
from gateway.access.protocol import Access
from gateway.access.rights import FHIR_METHOD, GATEWAY
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.fhir.owners import OPERATIONS, RELEASES, TYPES
from gateway.part import Mount, PartKind
from gateway.subscriptions.binding import PATH, Tokens
from gateway.subscriptions.book import Book
from gateway.subscriptions.catalogue import Topics, patterns
from gateway.subscriptions.contents import Contents
from gateway.subscriptions.delivering import Deliverer, Desk
from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.hook import Hook
from gateway.subscriptions.lease import Lease
from gateway.subscriptions.matching import Matcher
from gateway.subscriptions.operations import OFFERED, Operations
from gateway.subscriptions.owner import SUBSCRIPTION, TOPIC, Owner
from gateway.subscriptions.permits import Permits
from gateway.subscriptions.sockets import Sockets
from gateway.subscriptions.topics import read_topics
from schemas.errors import ConfigurationError
from schemas.gateway import GatewaySection
from schemas.gateway.fhir import GatewayFhirSection
from schemas.gateway.subscriptions import SubscriptionsSection
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from schemas.subjects import SiteId

CONSUMER: Final = "fhir-subscriptions"
_LANES: Final = 16
_VERSION: Final = "1.0.0"


class SubscriptionsPart:
    """Owns subscriptions, matches changes with them, delivers."""

    def __init__(self, section: GatewaySection, runtime: GatewayRuntime, access: Access) -> None:
        own = section.subscriptions or SubscriptionsSection()
        fhir = section.fhir or GatewayFhirSection()
        self._is_fhir = section.fhir is not None
        self._own = own
        self._releases = fhir.releases
        self._owners = fhir.owners
        self._runtime = runtime
        self._access = access
        self._permits = Permits(section, runtime.site)
        self._book = Book(runtime, keep_events=own.keep_events)
        self._contents = Contents(runtime, fhir.owners)
        self._endpoints = Endpoints(own.endpoints, allow_local=own.allow_local)
        self._hook = Hook(self._endpoints, authority=own.authority, most_timeout_s=own.timeout_s)
        self._tokens = Tokens(runtime, lifetime_s=own.token_lifetime_s)
        self._topics: Topics | None = None
        self._sockets: Sockets | None = None
        self._consumption: Consumption | None = None
        self._offered: Offered | None = None
        self._delivering: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow the site's subscriptions, take up changes, offer the service. Raises `MeshError`."""
        if not self._is_fhir:
            raise ConfigurationError("[gateway.subscriptions] needs [gateway.fhir]")
        own = self._own
        self._topics = topics = Topics(own, self._releases)
        desk = Desk(
            runtime=self._runtime,
            access=self._access,
            section=own,
            book=self._book,
            topics=topics,
            permits=self._permits,
            contents=self._contents,
        )
        self._sockets = Sockets(desk, self._tokens)
        self._hook.start()
        await self._book.start()
        matcher = Matcher(
            self._runtime,
            book=self._book,
            topics=topics,
            permits=self._permits,
            fetch=self._contents.version,
            release=self._contents.release_of,
        )
        self._consumption = await self._runtime.events.consume(
            ConsumeSpec(
                name=CONSUMER,
                patterns=patterns(self._runtime.site, topics.types),
                lanes=_LANES,
                shared=True,
                deliver_new=True,
                retry=RetryPolicy(max_attempts=8),
                accept=self._accept,
            ),
            matcher.handle,
        )
        owner = Owner(desk, self._endpoints, Operations(desk, self._tokens))
        self._offered = await self._runtime.serve(_offer(self._releases, owner))
        lease = Lease(self._runtime, lease_s=own.lease_s)
        self._delivering = asyncio.create_task(
            lease.run(Deliverer(desk, self._hook).run), name="fhir-subscriptions"
        )

    def _accept(self, event: ReceivedEvent) -> bool:
        """Changes are believed of owners alone."""
        return self._contents.is_owner(event.source)

    def mounts(self) -> Sequence[Mount]:
        """See `Part.mounts`."""
        return (Mount(prefix=PATH, app=self._app, is_stream=True),)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._sockets is not None:
            await self._sockets(scope, receive, send)

    def components(self) -> Mapping[str, Any]:
        """See `Part.components`."""
        return {}

    async def drain(self, *, timeout_s: float) -> None:
        """Leave the work to other gateways; what is queued stays queued."""
        if self._sockets is not None:
            self._sockets.drain()
        offered, self._offered = self._offered, None
        if offered is not None:
            await offered.drain(timeout_s=timeout_s)
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s)
        await self._end_delivering()

    async def _end_delivering(self) -> None:
        task, self._delivering = self._delivering, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def stop(self) -> None:
        """Stop at once."""
        if self._sockets is not None:
            self._sockets.drain()
        offered, self._offered = self._offered, None
        if offered is not None:
            await offered.drain(timeout_s=0.0)
        consumption, self._consumption = self._consumption, None
        if consumption is not None:
            await consumption.stop()
        await self._end_delivering()
        await self._hook.stop()
        await self._book.stop()
        topics, self._topics = self._topics, None
        if topics is not None:
            topics.close()


def _offer(releases: Sequence[str], owner: Owner | None = None) -> Offer:
    methods: tuple[Method, ...] = ()
    if owner is not None:
        method = Method(
            name=FHIR_METHOD,
            handler=owner.answer,
            request_type=PROTOBUF,
            response_type=PROTOBUF,
            request_schema=pb.Interaction.DESCRIPTOR.full_name,
            response_schema=pb.Outcome.DESCRIPTOR.full_name,
        )
        methods = (method,)
    return Offer(
        name=GATEWAY,
        version=_VERSION,
        methods=methods,
        description="Owns FHIR subscriptions",
        metadata={
            RELEASES: ",".join(releases),
            TYPES: f"{SUBSCRIPTION},{TOPIC}",
            OPERATIONS: ",".join(OFFERED),
        },
    )


def rights(section: GatewaySection, site: SiteId) -> Rights:
    """To read changes of the topics' types, and to answer the façades of the site. Raises `ConfigurationError`."""
    own = section.subscriptions or SubscriptionsSection()
    types = set(own.types)
    if own.topics is not None:
        types.update(type_ for topic in read_topics(own.topics) for type_ in topic.types)
    service = service_rights(site, _offer(("R4",)))
    return Rights(publish=service.publish, subscribe=(*patterns(site, types), *service.subscribe))


SUBSCRIPTIONS: Final = PartKind(
    name="subscriptions",
    is_wanted=lambda section: section.subscriptions is not None,
    rights=rights,
    build=SubscriptionsPart,
)

__all__ = ["CONSUMER", "SUBSCRIPTIONS", "SubscriptionsPart", "rights"]
