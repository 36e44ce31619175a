"""What a notification carries: versions of resources, read from their owners as its client may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from bus.services.protocol import Seen
from gateway.contract import GatewayRuntime
from gateway.fhir.asking import ask
from gateway.fhir.exchange import Refusal
from gateway.fhir.owners import RELEASES, owner_of, owners
from gateway.subscriptions.bundles import Purpose, notification
from gateway.subscriptions.model import FULL, Happening, Record
from schemas.errors import Unavailable
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_TIMEOUT_S: Final = 10.0
_AT_A_TIME: Final = 8
MOST_BYTES: Final = 700 * 1024
"""Of the resources of one notification: what is over it comes in the next one."""
_AWAY: Final = frozenset(
    {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT, HTTPStatus.BAD_GATEWAY}
)


class Contents:
    """Reads from owners."""

    def __init__(self, runtime: GatewayRuntime, trusted: Sequence[str]) -> None:
        self._runtime = runtime
        self._trusted = frozenset(trusted)
        self._releases: dict[str, str] = {}

    def is_owner(self, service: str) -> bool:
        """Whether changes that a service tells of are believed."""
        return service in self._trusted

    def release_of(self, service: str) -> str:
        """The release that an owner holds, as it said last. Raises `Unavailable` while it never did."""
        services: Callable[[], Mapping[str, Sequence[Seen]]] = self._runtime.services
        for seen in services().get(service, ()):
            if found := seen.instance.metadata.get(RELEASES, ""):
                self._releases[service] = found.partition(",")[0].strip()
        if service not in self._releases:
            raise Unavailable("the owner of the resource has not said yet which release it holds")
        return self._releases[service]

    async def version(self, release: str, type_: str, id_: str, version: str) -> bytes | None:
        """One version for a decision of the gateway's own. Raises `Unavailable`."""
        return await self._read(pb.Requester(client="gateway"), release, type_, id_, version)

    async def resources(self, record: Record, events: Sequence[Happening]) -> dict[int, bytes]:
        """Bodies by number, as far as its client may still read them. Raises `Unavailable`."""
        requester = pb.Requester(
            client=record.client,
            user=record.user,
            purpose=record.purpose,
            scopes=record.scopes,
        )
        gate = asyncio.Semaphore(_AT_A_TIME)

        async def one(event: Happening) -> bytes | None:
            if event.change == "deleted" or not event.version:
                return None
            async with gate:
                return await self._read(
                    requester, record.release, event.type, event.id, event.version
                )

        found = await asyncio.gather(*(one(event) for event in events))
        return {
            event.number: body
            for event, body in zip(events, found, strict=True)
            if body is not None
        }

    async def bundle(
        self,
        record: Record,
        purpose: Purpose,
        events: Sequence[Happening],
        *,
        total: int | None = None,
        content: str = "",
    ) -> tuple[bytes, int]:
        """A notification of the first of these events, and how many of them fit. Raises `Unavailable`."""
        content = content or record.wish.content
        bodies = await self.resources(record, events) if content == FULL else {}
        count, size = 0, 0
        for event in events:
            size += len(bodies.get(event.number, b""))
            if count and size > MOST_BYTES:
                break
            count += 1
        carried = events[:count]
        newest = carried[-1].number if carried else 0
        body = notification(
            record,
            purpose,
            now_ms=self._runtime.clock.now_ms(),
            total=newest if total is None else total,
            events=carried,
            content=content,
            resources=bodies,
        )
        return body, count

    async def _read(
        self, requester: pb.Requester, release: str, type_: str, id_: str, version: str
    ) -> bytes | None:
        known = owners(self._runtime.services(), release, trusted=self._trusted)
        wanted = pb.Interaction(
            kind=pb.KIND_VREAD,
            release=release,
            resource_type=type_,
            id=id_,
            version=version,
            requester=requester,
        )
        try:
            owner = owner_of(known, release, type_)
            outcome = await ask(self._runtime.call, owner, wanted, timeout_s=_TIMEOUT_S)
        except Refusal as refusal:
            raise Unavailable(f"the owner of the resource is away: {refusal.status}") from refusal
        if outcome.status in _AWAY:
            raise Unavailable("the owner of the resource cannot answer now")
        return outcome.body if outcome.status == HTTPStatus.OK else None


__all__ = ["MOST_BYTES", "Contents"]
