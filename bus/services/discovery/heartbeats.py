"""Heartbeats: what an instance says of its load every second, and how it is read."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from bus.services.discovery.entries import Key
from bus.services.discovery.table import Changes, Table
from bus.services.protocol import Load
from bus.telemetry.counters import Counters
from bus.transport.protocol import Incoming
from schemas.generated.medmesh.control.v1 import control_pb2 as pb

_MOST_BYTES = 1024
_PARTS = 5  # ctl.<site>.heartbeats.<service>.<instance>
_MS = 1000
_MOST_MS = 0xFFFF_FFFF


def heartbeat_of(key: Key, load: Load, *, at_ms: int, is_draining: bool) -> bytes:
    """A heartbeat as it travels."""
    return pb.Heartbeat(
        service=key[0],
        instance=key[1],
        at_ms=at_ms,
        in_flight=load.in_flight,
        limit=load.limit,
        oldest_ms=min(_MOST_MS, round(load.oldest_s * _MS)),
        answered=load.answered,
        draining=is_draining,
    ).SerializeToString()


class HeartbeatReader:
    """Brings heartbeats to the table. They are not signed: of an instance that nobody announced they say nothing."""

    def __init__(self, table: Table, counters: Counters) -> None:
        self._table = table
        self._counters = counters

    def read(self, message: Incoming, now_s: float) -> Changes:
        """Take in one heartbeat; return what changed."""
        parts = message.subject.split(".")
        if len(parts) != _PARTS:
            return ()
        key = (parts[3], parts[4])
        if not self._table.knows(key):
            return ()
        if len(message.payload) > _MOST_BYTES:
            return self._refuse("too_large")
        try:
            beat = pb.Heartbeat.FromString(message.payload)
        except DecodeError:
            return self._refuse("malformed")
        if (beat.service, beat.instance) != key:
            return self._refuse("wrong_subject")
        load = Load(
            in_flight=beat.in_flight,
            limit=beat.limit,
            oldest_s=beat.oldest_ms / _MS,
            answered=beat.answered,
        )
        return self._table.beat(key, load, now_s, is_draining=beat.draining)

    def _refuse(self, reason: str) -> Changes:
        self._counters.add("heartbeat_refused", who="discovery", reason=reason)
        return ()


__all__ = ["HeartbeatReader", "heartbeat_of"]
