"""Streams: make, look at, read, purge."""

from __future__ import annotations

import base64
from typing import Final

from bus.transport.nats.api import NS, JetStream, Json, milliseconds
from bus.transport.nats.monitor import Monitor
from bus.transport.protocol import (
    ConsumerState,
    Delivery,
    NotFound,
    Retention,
    StreamSpec,
    StreamState,
)

_PAGES: Final = 1000


class Streams:
    """What `EventStore` and `StreamAdministration` ask about streams."""

    def __init__(self, jetstream: JetStream, monitor: Monitor | None) -> None:
        self._jetstream = jetstream
        self._monitor = monitor
        self._sync: tuple[int, bool | None] = (-1, None)

    async def ensure(self, spec: StreamSpec) -> StreamState:
        """Create the stream, or bring its limits to `spec`, leaving alone what `spec` does not speak of."""
        wanted = stream_config(spec)
        try:
            found = await self._jetstream.ask(f"STREAM.INFO.{spec.name}")
        except NotFound:
            return await self._state(
                await self._jetstream.ask(f"STREAM.CREATE.{spec.name}", wanted)
            )
        config = found["config"]
        if any(config.get(key, _absent(value)) != value for key, value in wanted.items()):
            found = await self._jetstream.ask(f"STREAM.UPDATE.{spec.name}", {**config, **wanted})
        return await self._state(found)

    async def state(self, stream: str) -> StreamState:
        """What the stream holds. Raises `NotFound`."""
        return await self._state(await self._jetstream.ask(f"STREAM.INFO.{stream}"))

    async def all(self) -> list[StreamState]:
        """All streams of the account."""
        return [await self._state(answer) for answer in await self._pages("STREAM.LIST", "streams")]

    async def consumers(self, stream: str) -> dict[str, ConsumerState]:
        """All durable consumers of a stream by name. Raises `NotFound`."""
        found = await self._pages(f"CONSUMER.LIST.{stream}", "consumers")
        return {
            answer["name"]: consumer_state(answer)
            for answer in found
            if answer["config"].get("durable_name")
        }

    async def delete_consumer(self, stream: str, name: str) -> None:
        """Forget a durable consumer and its place. Raises `NotFound`."""
        await self._jetstream.ask(f"CONSUMER.DELETE.{stream}.{name}")

    async def _pages(self, verb: str, key: str) -> list[Json]:
        items: list[Json] = []
        for _ in range(_PAGES):
            answer = await self._jetstream.ask(verb, {"offset": len(items)})
            page = answer.get(key) or []
            items += page
            if not page or len(items) >= int(answer.get("total", 0)):
                break
        return items

    async def read(self, stream: str, seq: int) -> Delivery:
        """One stored message. Raises `NotFound`."""
        return await self._message(stream, {"seq": seq})

    async def last(self, stream: str, subject: str) -> Delivery:
        """The newest stored message of a subject. Raises `NotFound`."""
        return await self._message(stream, {"last_by_subj": subject})

    async def next(self, stream: str, pattern: str, from_seq: int) -> Delivery:
        """The oldest stored message at or behind a sequence that a pattern covers. Raises `NotFound`."""
        return await self._message(stream, {"seq": max(1, from_seq), "next_by_subj": pattern})

    async def counts(self, stream: str, pattern: str) -> dict[str, int]:
        """Stored messages by subject. Raises `NotFound`."""
        found: dict[str, int] = {}
        for _ in range(_PAGES):
            question = {"subjects_filter": pattern, "offset": len(found)}
            answer = await self._jetstream.ask(f"STREAM.INFO.{stream}", question)
            page = answer["state"].get("subjects") or {}
            found.update(page)
            if not page or len(found) >= int(answer.get("total", 0)):
                break
        return found

    async def _message(self, stream: str, question: Json) -> Delivery:
        answer = await self._jetstream.ask(f"STREAM.MSG.GET.{stream}", question)
        message = answer["message"]
        return Delivery(
            subject=message["subject"],
            payload=base64.b64decode(message.get("data") or ""),
            seq=message["seq"],
            deliveries=1,
            stored_ms=milliseconds(message["time"]),
            pending=0,
            reply="",
            headers=_headers(base64.b64decode(message.get("hdrs") or "")),
        )

    async def delete(self, stream: str, seq: int) -> None:
        """Delete one message. Raises `NotFound`."""
        await self._jetstream.ask(f"STREAM.MSG.DELETE.{stream}", {"seq": seq})

    async def purge(self, stream: str, up_to_seq: int) -> int:
        """Drop everything below `up_to_seq` and return how many messages went."""
        if up_to_seq <= 1:  # the server takes 0 and 1 for "everything"
            await self._jetstream.ask(f"STREAM.INFO.{stream}")
            return 0
        answer = await self._jetstream.ask(f"STREAM.PURGE.{stream}", {"seq": up_to_seq})
        return int(answer.get("purged", 0))

    async def _state(self, answer: Json) -> StreamState:
        config, state = answer["config"], answer["state"]
        return StreamState(
            name=config["name"],
            messages=state["messages"],
            bytes=state["bytes"],
            first_seq=state["first_seq"] or 1,
            last_seq=state["last_seq"],
            replicas=config["num_replicas"],
            sync_always=await self._sync_always(),
            created_ms=milliseconds(answer["created"]),
        )

    async def _sync_always(self) -> bool | None:
        """Asked once per connection: it changes only when the server starts again."""
        if self._monitor is None:
            return None
        born = self._jetstream.connection.generation
        if self._sync[0] != born or self._sync[1] is None:
            self._sync = (born, await self._monitor.sync_always())
        return self._sync[1]


def stream_config(spec: StreamSpec) -> Json:
    """The stream as JetStream's API wants it. Full means refused: discard is always `new`."""
    window_s = spec.duplicate_window_s
    if spec.max_age_s > 0:
        window_s = min(window_s, spec.max_age_s)  # the server refuses a longer window
    per_subject = spec.max_messages_per_subject > 0 and not spec.discard_old_per_subject
    config: Json = {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "retention": "workqueue" if spec.retention is Retention.WORKQUEUE else "limits",
        "storage": "file",
        "discard": "new",
        "discard_new_per_subject": per_subject,
        "max_bytes": spec.max_bytes,
        "max_msgs": spec.max_messages,
        "max_msgs_per_subject": spec.max_messages_per_subject,
        "max_age": int(spec.max_age_s * NS),
        "duplicate_window": int(window_s * NS),
        "num_replicas": spec.replicas,
        "allow_atomic": spec.allow_atomic,
        "allow_direct": True,
    }
    if (
        spec.allow_schedules
    ):  # ADR-51; the server takes it only with these, and without limits nothing old goes
        config |= {"allow_msg_schedules": True, "allow_msg_ttl": True, "allow_rollup_hdrs": True}
        config |= {"discard": "old", "discard_new_per_subject": False}
    return config


def _absent(value: object) -> object:
    """What the server means by leaving a field out."""
    return False if isinstance(value, bool) else 0


def consumer_state(answer: Json) -> ConsumerState:
    """Where a consumer stands, from its CONSUMER.INFO."""
    return ConsumerState(
        ack_floor=answer["ack_floor"]["stream_seq"],
        delivered=answer["delivered"]["stream_seq"],
        pending=answer.get("num_pending", 0),
        unacknowledged=answer.get("num_ack_pending", 0),
        patterns=_patterns(answer.get("config") or {}),
    )


def _patterns(config: Json) -> tuple[str, ...]:
    one = config.get("filter_subject")
    return (one,) if one else tuple(config.get("filter_subjects") or ())


def _headers(raw: bytes) -> dict[str, str] | None:
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon:
            headers[key.decode(errors="replace").strip()] = value.decode(errors="replace").strip()
    return headers or None


__all__ = ["Streams", "consumer_state", "stream_config"]
