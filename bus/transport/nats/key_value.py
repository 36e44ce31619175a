"""Buckets of versioned keys on JetStream, in the format of ADR-8: other clients' KV tools can read them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from bus.transport.nats.api import NS, JetStream, Json
from bus.transport.nats.storing import Batch
from bus.transport.nats.streams import Streams
from bus.transport.nats.watch import Watch, is_marker
from bus.transport.protocol import (
    Delivery,
    Entry,
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


async def open_bucket(
    jetstream: JetStream, bucket: str, *, history: int, max_age_s: float
) -> NatsKeyValue:
    """Open a bucket, creating it when it is missing; an existing one is taken as it is."""
    try:
        await jetstream.ask(f"STREAM.INFO.KV_{bucket}")
    except NotFound:
        config = _config(bucket, history, max_age_s)
        await jetstream.ask(f"STREAM.CREATE.KV_{bucket}", config)
    return NatsKeyValue(jetstream, bucket)


def _config(bucket: str, history: int, max_age_s: float) -> Json:
    config: Json = {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": history,
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

    def __init__(self, jetstream: JetStream, bucket: str) -> None:
        self._jetstream = jetstream
        self._streams = Streams(jetstream, None)
        self._bucket = bucket
        self._prefix = f"$KV.{bucket}."

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

    async def keys(self) -> list[str]:
        """All live keys, sorted."""
        live: set[str] = set()

        def changed(entry: Entry) -> None:
            if entry.value is not None:
                live.add(entry.key)

        watch = Watch(self._jetstream, self._bucket, ">", changed, headers_only=True)
        await watch.start()
        try:
            await watch.caught_up(self._jetstream.connection.options.api_timeout_s)
        finally:
            await watch.close()
        return sorted(live)

    async def watch(self, pattern: str, changed: Callable[[Entry], None]) -> Subscription:
        """Report the current value of each key that matches, then each change. Survives reconnects."""
        watch = Watch(self._jetstream, self._bucket, pattern, changed)
        await watch.start()
        return watch


async def _no_reason(subject: str, cause: MeshError) -> None:
    """Buckets exist before they are written to: silence has no explanation worth asking for."""


__all__ = ["NatsKeyValue", "open_bucket"]
