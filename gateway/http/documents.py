"""`/openapi.json`, `/asyncapi.json` and `/metrics`: what can be asked, what is carried, and how it goes."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from adapters.contract import Condition
from bus.catalogue import DescriptorStore
from bus.catalogue.buckets import SCHEMAS
from bus.services.protocol import Health, Seen
from gateway.access.protocol import Access
from gateway.contract import GatewayRuntime, MethodWords, Receive, Scope, Send
from gateway.http import metrics, openapi
from gateway.http.exchange import answer
from gateway.http.metrics import Gauge
from gateway.http.openapi import problems
from gateway.http.request import JSON, Request
from gateway.part import Mount
from schemas.errors import MeshError
from schemas.registry import asyncapi
from schemas.registry.closures import Closure

_KEPT_S: Final = 5.0
"""How long a document is good for."""
_MAX_SERVICES: Final = 256
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


class Documents:
    """The three routes."""

    def __init__(
        self,
        runtime: GatewayRuntime,
        access: Access,
        *,
        url: str,
        is_anonymous: bool,
        in_hand: Callable[[], int],
    ) -> None:
        self._runtime = runtime
        self._access = access
        self._url = url
        self._is_anonymous = is_anonymous
        self._in_hand = in_hand
        self._mounts: Sequence[Mount] = ()
        self._components: Sequence[Mapping[str, Any]] = ()
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._making = asyncio.Lock()
        self._store: DescriptorStore | None = None

    def mounts(self) -> Sequence[Mount]:
        """Their routes."""
        return (
            Mount(
                prefix="/openapi.json",
                app=self._openapi,
                openapi=_described(
                    "/openapi.json", "openapi", "This document.", "application/json"
                ),
            ),
            Mount(
                prefix="/asyncapi.json",
                app=self._asyncapi,
                openapi=_described(
                    "/asyncapi.json", "asyncapi", "Events and what they carry.", "application/json"
                ),
            ),
            Mount(
                prefix="/metrics",
                app=self._metrics,
                openapi=_described("/metrics", "metrics", "For Prometheus.", "text/plain"),
            ),
        )

    def describe(self, mounts: Sequence[Mount], components: Sequence[Mapping[str, Any]]) -> None:
        """Tell what the document is made of; asked for as soon as the gateway listens."""
        self._mounts = mounts
        self._components = components

    # OpenAPI, AsyncAPI

    async def _openapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._known(Request(scope, receive))
        await answer(send, 200, await self._made("openapi", self._make_openapi), [JSON])

    async def _asyncapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._known(Request(scope, receive))
        await answer(send, 200, await self._made("asyncapi", self._make_asyncapi), [JSON])

    async def _known(self, request: Request) -> None:
        """Only clients may read what there is."""
        request.require("GET", "HEAD")
        request.accepts("application/json")
        self._access.admit(await self._access.identify(request.credentials()))

    async def _made(self, name: str, make: Callable[[], Any]) -> bytes:
        """The document as it is now, or was a moment ago: it is not made for each who asks."""
        async with self._making:
            now_s = self._runtime.clock.monotonic_s()
            made_s, body = self._kept.get(name, (0.0, b""))
            if not body or now_s - made_s > _KEPT_S:
                body = orjson.dumps(await make())
                self._kept[name] = (now_s, body)
            return body

    async def _make_openapi(self) -> Mapping[str, Any]:
        return openapi.document(
            title=f"medmesh, site {self._runtime.site}",
            url=self._url,
            mounts=self._mounts,
            components=self._components,
            services=await self._services(),
            is_anonymous=self._is_anonymous,
        )

    async def _services(self) -> list[openapi.Service]:
        asked: dict[tuple[str, int], Seen] = {}
        for name, instances in sorted(self._runtime.services().items())[:_MAX_SERVICES]:
            for seen in instances:
                if seen.health is not Health.GONE:
                    asked.setdefault((name, seen.instance.major), seen)
        told = await asyncio.gather(
            *(self._runtime.describe(name, seen.instance.id) for (name, _), seen in asked.items())
        )
        return [
            openapi.Service(name=name, major=major, methods=_methods(seen, words))
            for ((name, major), seen), words in zip(asked.items(), told, strict=True)
        ]

    async def _make_asyncapi(self) -> Mapping[str, Any]:
        catalogue = self._runtime.catalogue
        bindings = [one.revision.binding for one in catalogue.bindings()] if catalogue else []
        wanted = sorted({one.schema for one in bindings if one.schema})
        origin = asyncapi.Origin(title=f"medmesh, site {self._runtime.site}", host="localhost")
        return asyncapi.document(bindings, await self._closures(wanted), origin)

    async def _closures(self, wanted: Iterable[str]) -> Mapping[str, Closure]:
        """Those that the registry can give now; without one a message is described by its name."""
        found: dict[str, Closure] = {}
        for schema in wanted:
            with suppress(MeshError):
                if self._store is None:
                    self._store = DescriptorStore(await self._runtime.records(SCHEMAS))
                found[schema] = await self._store.get(schema)
        return found

    # metrics

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        request.require("GET", "HEAD")
        if not _is_own(request):
            client = await self._access.identify(request.credentials())
            self._access.admit(client)
            self._access.may_operate(client, "view")
        counts = self._runtime.counters.snapshot()
        body = await asyncio.to_thread(metrics.render, counts, self._gauges())
        await answer(send, 200, body, [(b"content-type", metrics.CONTENT_TYPE)])

    def _gauges(self) -> list[Gauge]:
        runtime = self._runtime
        found = [
            Gauge(
                name="connected",
                help="Whether the mesh can be reached.",
                value=float(runtime.is_connected()),
            ),
            Gauge(
                name="http_in_hand",
                help="Requests in work at this gateway.",
                value=float(self._in_hand()),
            ),
        ]
        for name, health in runtime.health().items():
            found.append(
                Gauge(
                    name="adapter_healthy",
                    help="Whether an adapter of this process is healthy.",
                    value=float(health.condition is Condition.HEALTHY),
                    labels={"adapter": name},
                )
            )
        for service, instances in sorted(runtime.services().items())[:_MAX_SERVICES]:
            healthy = sum(seen.health is Health.HEALTHY for seen in instances)
            found.append(
                Gauge(
                    name="service_instances",
                    help="Healthy instances of a service.",
                    value=float(healthy),
                    labels={"service": service},
                )
            )
        return found


def _methods(seen: Seen, words: Sequence[MethodWords]) -> tuple[MethodWords, ...]:
    """What it said when it announced itself, which is signed, with the words that it has for each."""
    said = {one.name: one for one in words}
    return tuple(said.get(name, MethodWords(name=name)) for name in seen.instance.methods)


def _is_own(request: Request) -> bool:
    """Whether it comes from this machine itself, and through no proxy."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.remote).is_loopback
    except ValueError:
        return False


def _described(path: str, name: str, words: str, media_type: str) -> dict[str, Any]:
    return {
        path: {
            "get": {
                "operationId": name,
                "tags": ["gateway"],
                "summary": words,
                "responses": {
                    "200": {"description": words, "content": {media_type: {"schema": True}}},
                    **problems(401, 406, 429),
                },
            }
        }
    }


__all__ = ["Documents"]
