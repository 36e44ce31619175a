"""Buckets of versioned keys on JetStream, in the format of ADR-8: other clients' KV tools can read them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bus.transport.nats.api import NS, JetStream, Json, read_answer
from bus.transport.nats.storing import Batch
from bus.transport.nats.streams import Streams
from bus.transport.nats.watch import Watch, is_marker
from bus.transport.protocol import (
    Delivery,
    Entry,
    NoResponders,
    NotFound,
    Outgoing,
    Stored,
    Subscription,
    WrongRevision,
)
from schemas.errors import MeshError

_WINDOW_S: Final = 120.0
_MARKER_S: Final = 60.0
_OPERATION: Final = "KV-Operation"


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A bucket as `Transport.key_value` was asked for it."""

    name: str
    history: int = 1
    max_age_s: float = 0.0
    in_memory: bool = False


async def open_bucket(jetstream: JetStream, spec: BucketSpec) -> NatsKeyValue:
    """Open a bucket, creating it when it is missing; an existing one is taken as it is."""
    await _since(jetstream, spec)
    return NatsKeyValue(jetstream, spec)


async def _since(jetstream: JetStream, spec: BucketSpec) -> str:
    """When the bucket was created; now, if it is missing."""
    try:
        found = await jetstream.ask(f"STREAM.INFO.KV_{spec.name}")
    except NotFound:
        found = await jetstream.ask(f"STREAM.CREATE.KV_{spec.name}", _config(spec))
    return str(found.get("created", ""))


def _config(spec: BucketSpec) -> Json:
    max_age_s = spec.max_age_s
    config: Json = {
        "name": f"KV_{spec.name}",
        "subjects": [f"$KV.{spec.name}.>"],
        "storage": "memory" if spec.in_memory else "file",
        "discard": "new",
        "max_msgs_per_subject": spec.history,
        "max_age": int(max_age_s * NS),
        "duplicate_window": int((min(_WINDOW_S, max_age_s) if max_age_s > 0 else _WINDOW_S) * NS),
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
    }
    if max_age_s > 0:  # the server leaves a marker where a key expired, so that watchers see it go
        config |= {"allow_msg_ttl": True, "subject_delete_marker_ttl": int(_MARKER_S * NS)}
    return config


class NatsKeyValue:
    """`KeyValue` on JetStream."""

    def __init__(self, jetstream: JetStream, spec: BucketSpec) -> None:
        self._jetstream = jetstream
        self._streams = Streams(jetstream, None)
        self._spec = spec
        self._bucket = spec.name
        self._prefix = f"$KV.{spec.name}."

    async def get(self, key: str) -> Entry:
        """Read the newest value, from the stream's leader. Raises `NotFound`."""
        last = await self._last(key)
        if is_marker(last.headers):
            raise NotFound(f"bucket {self._bucket} has no key {key}")
        return Entry(key=key, value=last.payload, revision=last.seq)

    async def _last(self, key: str) -> Delivery:
        return await self._streams.last(f"KV_{self._bucket}", self._prefix + key)

    async def put(self, key: str, value: bytes) -> int:
        """Write and return the new revision."""
        return await self._write(key, value, {})

    async def swap(self, key: str, value: bytes, *, revision: int) -> int:
        """Write only if the key stands at `revision` (0: does not exist). Raises `WrongRevision`."""
        try:
            return await self._swap(key, value, revision)
        except WrongRevision:
            if revision != 0:
                raise
        last = await self._last(
            key
        )  # a deleted key does not exist, but stands at its marker's revision
        if not is_marker(last.headers):
            raise WrongRevision(
                f"key {key} of bucket {self._bucket} exists, at revision {last.seq}"
            )
        return await self._swap(key, value, last.seq)

    async def _swap(self, key: str, value: bytes, revision: int) -> int:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        message_id = secrets.token_hex(12)
        try:
            return await self._write(key, value, headers, message_id)
        except WrongRevision:
            # sent again on doubt, it loses against its own first copy
            last = await self._last(key)
            if last.headers and last.headers.get("Nats-Msg-Id") == message_id:
                return last.seq
            raise

    async def delete(self, key: str) -> None:
        """Mark the key as deleted."""
        await self._write(key, b"", {_OPERATION: "DEL"})

    async def _write(
        self, key: str, value: bytes, headers: dict[str, str], message_id: str = ""
    ) -> int:
        if self._spec.in_memory:
            return await self._write_in_memory(key, value, headers)
        connection = self._jetstream.connection
        message = Outgoing(
            subject=self._prefix + key,
            payload=value,
            message_id=message_id or secrets.token_hex(12),
            headers=headers,
        )
        end = asyncio.get_running_loop().time() + connection.options.publish_wait_s
        batch = Batch(connection, self._jetstream.requests, [message], end, _no_reason)
        batch.refuse_oversized()
        await batch.one_by_one(batch.open())
        match batch.results()[0]:
            case Stored(seq=seq):
                return seq
            case MeshError() as error:
                raise error

    async def _write_in_memory(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        """Once, without the store's care: what is in memory is renewed. Creates a bucket that went with its server."""
        timeout_s = self._jetstream.connection.options.api_timeout_s
        subject = self._prefix + key
        await self._jetstream.connection.ready(timeout_s)
        try:
            answer = await self._jetstream.requests.ask(
                subject, value, timeout_s=timeout_s, headers=headers
            )
        except NoResponders:
            await self._since()
            answer = await self._jetstream.requests.ask(
                subject, value, timeout_s=timeout_s, headers=headers
            )
        return int(read_answer(answer.payload, what=f"bucket {self._bucket}")["seq"])

    async def _since(self) -> str:
        return await _since(self._jetstream, self._spec)

    @property
    def _renew(self) -> Callable[[], Awaitable[str]] | None:
        return self._since if self._spec.in_memory else None

    async def keys(self) -> list[str]:
        """All live keys, sorted."""
        live: set[str] = set()

        def changed(entry: Entry) -> None:
            if entry.value is not None:
                live.add(entry.key)

        watch = Watch(self._jetstream, self._bucket, ">", changed, self._renew, headers_only=True)
        await watch.start()
        try:
            await watch.caught_up(self._jetstream.connection.options.api_timeout_s)
        finally:
            await watch.close()
        return sorted(live)

    async def watch(self, pattern: str, changed: Callable[[Entry], None]) -> Subscription:
        """Report the current value of each key that matches, then each change. Survives reconnects."""
        watch = Watch(self._jetstream, self._bucket, pattern, changed, self._renew)
        await watch.start()
        return watch


async def _no_reason(subject: str, cause: MeshError) -> None:
    """Buckets exist before they are written to: silence has no explanation worth asking for."""


__all__ = ["BucketSpec", "NatsKeyValue", "open_bucket"]
