"""Subscriptions that a receiver keeps at its source, and fetching what changed when a notification says only that."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import orjson

from adapters.contract import AdapterRuntime
from adapters.fhir.config import ReceiverConfig
from adapters.fhir.errors import Gone, NotFound, UnreadableAnswer
from adapters.fhir.peers import Server
from adapters.fhir.rest import FhirClient
from adapters.fhir.secrets import read_secrets
from bus.flow.backoff import backoff_s
from bus.telemetry.log import logger
from schemas.errors import MeshError, Unavailable
from schemas.fhir.projection import project
from schemas.keyed import keyed_hash

_log = logger(__name__)
_OVERLAP: Final = timedelta(seconds=60)
"""Fetched again each time: what a server committed late. What is stored already is stored once."""
_MAX_PAGES: Final = 200
_ID_BYTES: Final = 12

Store = Callable[[list[bytes]], Awaitable[int]]
"""Store resources as events. Raises `MeshError` when one is not."""


class _Channel(msgspec.Struct):
    endpoint: str = ""
    payload: str = ""
    header: list[str] = []


class _Subscription(msgspec.Struct):
    status: str = ""
    criteria: str = ""
    channel: _Channel = msgspec.field(default_factory=_Channel)

    def is_like(self, wanted: _Subscription) -> bool:
        """Whether it asks for the same; headers count where the source shows them, since some hide them."""
        seen, own = self.channel, wanted.channel
        shown = not seen.header or seen.header == own.header
        same = (seen.endpoint, seen.payload) == (own.endpoint, own.payload)
        return self.criteria == wanted.criteria and same and shown


def _read_subscription(body: bytes) -> _Subscription:
    """Raises `UnreadableAnswer`."""
    try:
        return msgspec.json.decode(body, type=_Subscription)
    except (msgspec.DecodeError, RecursionError):
        raise UnreadableAnswer("the source's answer is no Subscription") from None


class Source:
    """The server that notifies one receiver."""

    def __init__(
        self, config: ReceiverConfig, server: Server, runtime: AdapterRuntime, store: Store
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._store = store
        self._fhir = FhirClient(
            server,
            clock=runtime.clock,
            counters=runtime.counters,
            name=config.name,
            concurrency=2,
        )
        self._fetching = asyncio.Lock()
        self._written: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""
        """Why subscriptions are not in place, for operators; empty when they are."""

    def start(self) -> None:
        """Begin to keep the subscriptions. The source may be away. Raises `ConfigurationError`."""
        self._fhir.open()
        if self._config.subscribe_to:
            self.trouble = "subscriptions are not in place yet"
            self._task = asyncio.get_running_loop().create_task(self._keep_for_ever())

    async def stop(self) -> None:
        """Leave the subscriptions in place, so that the source goes on to notify, and close."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._fhir.close()

    # subscriptions

    async def _keep_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(self._config.renew_s):
                    for criteria in self._config.subscribe_to:
                        await self._keep(criteria)
                failures, self.trouble = 0, ""
                await asyncio.sleep(self._config.renew_s)
            except (MeshError, TimeoutError) as error:
                failures += 1
                code = error.code if isinstance(error, MeshError) else "timeout"
                self.trouble = f"subscriptions are not in place: {error if str(error) else code}"
                self._count("subscription_not_kept", code)
                _log.warning("subscription_not_kept", adapter=self._config.name, reason=code)
                await asyncio.sleep(backoff_s(_Delays(), failures, self._runtime.random))

    async def _keep(self, criteria: str) -> None:
        """Write a subscription under an id of its own where it is missing or another; one that works is left alone.

        Writing it again could make the source start it again, and miss what happens meanwhile. Raises `Unavailable`
        when the source has put it in error: it is asked for anew, and looked at again soon.
        """
        id_ = self._id(criteria)
        wanted = self._resource(id_, criteria)
        found = await self._find(id_)
        failed = found is not None and found.status in ("error", "off")
        known = self._written.get(criteria, wanted) == wanted
        if found is None or failed or not known or not found.is_like(_read_subscription(wanted)):
            await self._fhir.update(wanted)
            self._count("subscription_written", found.status if found is not None else "missing")
        self._written[criteria] = wanted
        if failed:
            raise Unavailable("the source had put a subscription in error: can it reach endpoint?")
        self._count("subscription_kept", "")

    async def _find(self, id_: str) -> _Subscription | None:
        try:
            return _read_subscription((await self._fhir.read("Subscription", id_)).body)
        except (NotFound, Gone):
            return None

    def _id(self, criteria: str) -> str:
        key = keyed_hash(self._runtime.site_key)
        name = f"{self._config.name}\0{criteria}".encode()
        return f"medmesh-{key.digest(b'subscription', name)[:_ID_BYTES].hex()}"

    def _resource(self, id_: str, criteria: str) -> bytes:
        """An R4 Subscription (FHIR R4 §subscription.html) with the resource as its payload."""
        config = self._config
        channel: dict[str, object] = {
            "type": "rest-hook",
            "endpoint": config.endpoint,
            "payload": "application/fhir+json",
        }
        if config.token is not None:
            secret = read_secrets(config.token, name=f"adapter {config.name}")[0]
            is_bearer = config.token.header.lower() == "authorization"
            channel["header"] = [f"{config.token.header}: {'Bearer ' if is_bearer else ''}{secret}"]
        return orjson.dumps(
            {
                "resourceType": "Subscription",
                "id": id_,
                "status": "requested",
                "reason": f"medmesh {config.name}",
                "criteria": criteria,
                "channel": channel,
            }
        )

    # fetching

    async def fetch(self) -> int:
        """Store what the source changed since the last time; how many resources, some of them stored before.

        Raises `MeshError` when not all of it is stored: the next call begins at the same place.
        """
        async with self._fetching:
            stored = 0
            for criteria in self._config.subscribe_to:
                stored += await self._fetch(criteria)
            return stored

    async def _fetch(self, criteria: str) -> int:
        mark = self._mark(criteria)
        since = await asyncio.to_thread(_read, mark)
        started = self._now()
        kind, _, query = criteria.partition("?")
        wanted = [tuple(pair.split("=", 1)) for pair in query.split("&") if "=" in pair]
        parameters = [*((name, value) for name, value in wanted), ("_lastUpdated", f"ge{since}")]
        latest, stored = "", 0
        async for page in self._fhir.search(kind, parameters, max_pages=_MAX_PAGES):
            bodies = [one for one in page.resources if project(one).resource_type == kind]
            stored += await self._store(bodies)
            latest = max([latest, *(project(one).last_updated for one in bodies)])
        # by the source's own time where it tells it: two clocks need not agree
        reached = _instant(latest) or started - 5 * _OVERLAP
        await asyncio.to_thread(_write, mark, _text(reached - _OVERLAP))
        return stored

    def _mark(self, criteria: str) -> Path:
        """Where it is kept how far a criterion is fetched."""
        name = hashlib.sha256(criteria.encode()).hexdigest()[:16]
        return self._runtime.folder / f"fetched-{name}"

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.clock.now_ms() / 1000, UTC)

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


class _Delays:
    """How a source that is away is tried again."""

    first_delay_s = 1.0
    longest_delay_s = 60.0
    multiplier = 2.0
    jitter = 0.2


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _read(path: Path) -> str:
    """The mark; the beginning of time where there is none. Raises `Unavailable`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return "1970-01-01T00:00:00Z"
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"cannot read {path}: {type(error).__name__}") from error
    return text if _instant(text) else "1970-01-01T00:00:00Z"


def _write(path: Path, text: str) -> None:
    """Replace the mark, whole or not at all. Raises `Unavailable`."""
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


__all__ = ["Source", "Store"]
