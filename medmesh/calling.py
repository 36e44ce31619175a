"""What `Mesh` offers of services: serve, call, a typed client, who runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

from adapters.contract import Rights
from bus.services.caller import Caller
from bus.services.callers.settings import Hedge
from bus.services.codecs import codec_for
from bus.services.declare import offer_of
from bus.services.protocol import Offer, Priority, Request, Seen
from bus.services.rights import caller_rights, service_rights
from bus.telemetry.counters import Counters
from medmesh.client import ServiceClient, encoded
from medmesh.config import Configuration
from medmesh.config.checks import RESERVED_NAMES
from medmesh.runtime.calls import Calls, Served
from medmesh.runtime.services import Service, Services
from schemas.errors import ConfigurationError

ReplyT = TypeVar("ReplyT")


class Calling(ABC):
    """The part of `Mesh` that serves and calls, in the name of one service and of those that it offers."""

    def __init__(
        self,
        *,
        name: str,
        configuration: Configuration,
        services: Services,
        calls: Calls,
        counters: Counters,
    ) -> None:
        self._name = name
        self._configuration = configuration
        self._services = services
        self._calls = calls
        self._counters = counters
        self._callers: dict[tuple[str, int], Caller] = {}

    @property
    @abstractmethod
    def _opened(self) -> Service:
        """The program's own service. Raises `Closed`."""

    @abstractmethod
    async def _grow(self, wanted: Rights) -> None:
        """Have more rights certified, once each."""

    async def serve(self, service: object) -> Served:
        """Run one instance of a service: an object of a class declared with `@service`, or an `Offer`.

        Returns when it is announced and takes calls; leaving the mesh drains it, as `drain` of what is returned does.
        Raises `DeclarationError`, `ConfigurationError`, `PermissionRefused`, `Unavailable`.
        """
        offer = service if isinstance(service, Offer) else offer_of(service)
        configuration = self._configuration
        rights = service_rights(configuration.site, offer)
        wanted = Rights(publish=rights.publish, subscribe=rights.subscribe)
        if offer.name == self._name:
            await self._grow(wanted)
            return await self._calls.serve(self._opened, offer)
        _ = self._opened
        check_name(offer.name, configuration)
        return await self._calls.serve(await self._services.open(offer.name, wanted), offer)

    async def call(
        self,
        service: str,
        method: str,
        request: object = b"",
        *,
        reply: type[ReplyT],
        version: int = 1,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        key: bytes = b"",
        call_id: bytes = b"",
        hedge: Hedge | float = Hedge.NEVER,
        priority: Priority = Priority.ROUTINE,
    ) -> ReplyT:
        """Call a service: `request` and the answer are bytes, text, pydantic models or protobuf messages.

        `timeout_s` is for everything, retries included, and travels with the call. Calls marked `idempotent` are tried
        again elsewhere after a failure, and may be hedged. `key` keeps calls with the same key at one instance.
        `call_id` (16 bytes; `CallContext.id` there) is the same for each repeat of what must happen once; empty: fresh.
        `version` is the major version. Raises `NoInstance`, `Overloaded`, `DeadlineExceeded`, `CallFailed` and its
        kin, `Unavailable`, `BadAnswer`.
        """
        kind, body = encoded(request)
        answer = await self._ask(
            service, method, kind, body, version=version, timeout_s=timeout_s,
            idempotent=idempotent, key=key, call_id=call_id, hedge=hedge, priority=priority,
        )  # fmt: skip
        return codec_for(reply).decode(answer)

    def client(self, service: type) -> ServiceClient:
        """A declared class as its callers see it: `await mesh.client(BedManager).free(ward)`.

        What is returned has the endpoints of the class, without the parameter `call`; see `ServiceClient` for the
        options of each call. Raises `DeclarationError`.
        """
        return ServiceClient(service, self._ask)

    async def _ask(
        self,
        service: str,
        method: str,
        kind: str,
        body: bytes,
        *,
        version: int = 1,
        timeout_s: float = 5.0,
        idempotent: bool = False,
        key: bytes = b"",
        call_id: bytes = b"",
        hedge: Hedge | float = Hedge.NEVER,
        priority: Priority = Priority.ROUTINE,
    ) -> bytes:
        caller = self._callers.get((service, version))
        if caller is None:
            caller = self._callers[service, version] = await self._caller(service, version)
        wanted = Request(
            service=service,
            major=version,
            method=method,
            type=kind,
            body=body,
            id=call_id,
            priority=priority,
        )
        answer = await caller.call(
            wanted, timeout_s=timeout_s, idempotent=idempotent, key=key, hedge_after_s=hedge
        )
        return answer.body

    async def _caller(self, service: str, version: int) -> Caller:
        rights = caller_rights(self._configuration.site, service, version, caller=self._name)
        await self._grow(Rights(publish=rights.publish, subscribe=rights.subscribe))
        return await self._calls.caller(self._opened)

    async def services(self) -> Mapping[str, Sequence[Seen]]:
        """Every running service of the site with its instances: version, place, health and why, load."""
        return (await self._calls.registry(self._opened)).services()

    def counts(self) -> dict[str, int]:
        """What this program counted so far by `name who reason`: sheds, retries, hedges, ejections, refusals, moves."""
        return {
            " ".join(filter(None, key)): count for key, count in self._counters.snapshot().items()
        }


def check_name(service: str, configuration: Configuration) -> None:
    """Refuse the name of an adapter, or of medmesh itself. Raises `ConfigurationError`."""
    taken = RESERVED_NAMES | {adapter.config.name for adapter in configuration.adapters}
    if service in taken:
        raise ConfigurationError(
            f'"{service}" is the name of an adapter of {configuration.file}, or reserved: '
            "give the program one of its own"
        )


__all__ = ["Calling", "check_name"]
