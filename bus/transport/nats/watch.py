"""Watching a bucket: the newest value of each key, then each change, across reconnects."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from bus.transport.nats.api import NS, JetStream
from bus.transport.nats.connection import Registration
from bus.transport.nats.consumer_api import read_origin
from bus.transport.protocol import Entry, Incoming
from schemas.errors import DeadlineExceeded, MeshError, Unavailable

_HEARTBEAT_S: Final = 5.0
_FORGOTTEN_S: Final = 60.0
_AGAIN_S: Final = 0.2


def is_marker(headers: Mapping[str, str] | None) -> bool:
    """Whether a message says that its key is gone: deleted by a client, or expired (ADR-8, ADR-43)."""
    if not headers:
        return False
    return headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers


class Watch:
    """A short-lived consumer that begins with the last message of each key.

    It is made anew after each reconnect or gap; what was reported already is not reported again, and keys that went in
    between without leaving a marker are reported as gone. `since` tells when the bucket was created, and creates it
    where it is missing: given for buckets that may go and come again.
    """

    def __init__(
        self,
        jetstream: JetStream,
        bucket: str,
        pattern: str,
        changed: Callable[[Entry], None],
        since: Callable[[], Awaitable[str]] | None = None,
        *,
        headers_only: bool = False,
    ) -> None:
        self._jetstream = jetstream
        self._connection = jetstream.connection
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._pattern = pattern
        self._changed = changed
        self._since = since
        self._created = ""
        self._headers_only = headers_only
        self._loop = asyncio.get_running_loop()
        self._epoch = 0
        self._consumer = ""
        self._registration: Registration | None = None
        self._next = 1
        self._heard_at = 0.0
        self._revision = 0
        self._live: dict[str, int] = {}
        self._confirmed: set[str] | None = None
        self._initial = 0
        self._done = asyncio.Event()
        self._pulse: asyncio.TimerHandle | None = None
        self._restart: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin. Raises `NotFound`, `PermissionRefused`, `Unavailable`."""
        await self._begin()
        self._connection.on_lost(self._leave)
        self._connection.on_restored(self._again)

    async def caught_up(self, timeout_s: float) -> None:
        """Wait until every key that existed at the start was reported. Raises `DeadlineExceeded`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._done.wait()
        except TimeoutError:
            raise DeadlineExceeded(f"the watch on {self._stream} did not catch up") from None

    async def close(self) -> None:
        """Stop watching; the server forgets the consumer when nobody listens."""
        if self._closed:
            return
        self._closed = True
        self._leave()
        self._connection.forget(self._leave)
        self._connection.forget(self._again)
        if self._pulse is not None:
            self._pulse.cancel()
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
        await self._drop_inbox()
        await self._drop_consumer()

    async def _drop_inbox(self) -> None:
        registration, self._registration = self._registration, None
        if registration is not None:
            await self._connection.unsubscribe(registration)

    async def _drop_consumer(self) -> None:
        if not self._consumer:
            return
        try:  # politeness: without it the server forgets the consumer after a minute
            await self._connection.publish(
                f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}", b""
            )
        except MeshError:
            self._connection.counters.add("watch_left_behind", who=self._connection.name)

    async def _begin(self) -> None:
        self._leave()
        await self._drop_inbox()
        epoch = self._epoch
        name = secrets.token_hex(8)
        inbox = f"{self._connection.options.inbox_prefix}.{name}"
        await self._connection.ready(self._connection.options.api_timeout_s)
        await self._check_bucket()
        self._registration = await self._connection.subscribe(
            inbox, lambda message: self._arrived(epoch, message)
        )
        self._next, self._initial, self._confirmed = 1, -1, set()
        self._heard_at = self._loop.time()
        pattern = self._prefix + self._pattern
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "max_deliver": 1,
            "filter_subject": pattern,
            "idle_heartbeat": int(_HEARTBEAT_S * NS),
            "inactive_threshold": int(_FORGOTTEN_S * NS),
            "headers_only": self._headers_only,
            "mem_storage": True,
            "num_replicas": 1,
        }
        found = await self._jetstream.ask(
            f"CONSUMER.CREATE.{self._stream}.{name}.{pattern}",
            {"stream_name": self._stream, "config": config, "action": "create"},
        )
        self._consumer = name
        delivered = found["delivered"]["consumer_seq"]
        self._initial = int(found.get("num_pending", 0)) + int(delivered)
        self._check_initial()
        self._beat()

    async def _check_bucket(self) -> None:
        """In a new bucket of the same name revisions begin anew: nothing of it was reported yet."""
        if self._since is None:
            return
        created = await self._since()
        if created != self._created:
            self._created, self._revision = created, 0
            self._live = dict.fromkeys(self._live, 0)

    def _leave(self) -> None:
        self._epoch += 1

    def _again(self) -> None:
        """Make the consumer anew, in the background."""
        if self._closed or (self._restart is not None and not self._restart.done()):
            return
        self._leave()
        self._restart = self._loop.create_task(self._keep_trying())

    async def _keep_trying(self) -> None:
        while not self._closed:
            try:
                await self._begin()
            except MeshError as error:
                self._connection.counters.add(
                    "watch_interrupted", who=self._connection.name, reason=error.code
                )
                await asyncio.sleep(_AGAIN_S if isinstance(error, Unavailable) else 1.0)
                continue
            return

    def _arrived(self, epoch: int, message: Incoming) -> None:
        if epoch != self._epoch or self._closed:
            return
        self._heard_at = self._loop.time()
        headers = message.headers or {}
        if not message.reply.startswith("$JS.ACK."):
            if int(headers.get("Nats-Last-Consumer", "0")) >= self._next:
                self._again()
            return
        origin = read_origin(message.reply)
        if origin.consumer_seq != self._next:
            self._again()
            return
        self._next += 1
        self._report(message, origin.seq)
        self._check_initial()

    def _report(self, message: Incoming, revision: int) -> None:
        key = message.subject.removeprefix(self._prefix)
        gone = is_marker(message.headers)
        if self._confirmed is not None and not gone:
            self._confirmed.add(key)
        if revision <= self._revision and self._live.get(key, 0) >= revision:
            return
        self._revision = max(self._revision, revision)
        if not gone:
            self._live[key] = revision
            self._changed(Entry(key=key, value=message.payload, revision=revision))
        elif self._live.pop(key, None) is not None:
            self._changed(Entry(key=key, value=None, revision=revision))

    def _check_initial(self) -> None:
        """Once the state at the start is complete: what was live and is not in it is gone."""
        if self._confirmed is None or self._initial < 0 or self._next <= self._initial:
            return
        confirmed, self._confirmed = self._confirmed, None
        for key in [key for key in self._live if key not in confirmed]:
            revision = self._live.pop(key)
            self._changed(Entry(key=key, value=None, revision=revision))
        self._done.set()

    def _beat(self) -> None:
        if self._closed:
            return
        if self._loop.time() - self._heard_at > 2.5 * _HEARTBEAT_S:
            self._heard_at = self._loop.time()
            self._again()
        if self._pulse is not None:
            self._pulse.cancel()
        self._pulse = self._loop.call_later(_HEARTBEAT_S / 2, self._beat)


__all__ = ["Watch", "is_marker"]
