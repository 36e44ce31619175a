"""Checks of the streams of a running site: durability, how full they are, who lags and since when."""

from __future__ import annotations

from typing import Final

from bus.events.streams import dead_letter_stream, event_stream
from bus.transport.protocol import ConsumerState, NotFound, StreamState
from medmesh.config.checks import strings
from medmesh.doctor.finding import Finding, good, note, wrong
from medmesh.runtime.connection import SiteConnection
from schemas.clock import Clock

_FULL: Final = 0.8
_LATE_S: Final = 300.0
_MIB: Final = 1 << 20


async def check_streams(connection: SiteConnection, clock: Clock) -> list[Finding]:
    """Every check of streams and consumers. Raises `MeshError` when the server does not answer."""
    site = connection.configuration.site
    limits = connection.configuration.settings.limits
    streams = {state.name: state for state in await connection.transport.administration.streams()}
    events = streams.get(event_stream(site))
    if events is None:
        return [note("streams", event_stream(site), "is not there yet", "`medmesh up` makes it")]
    # Listings leave out what only the monitoring port tells.
    events = await connection.transport.store.stream_state(events.name)
    findings = [durability(events), fill(events, limits.event_bytes, "limits.event_bytes")]
    dead = streams.get(dead_letter_stream(site))
    if dead is not None:
        findings += [
            fill(dead, limits.dead_letter_bytes, "limits.dead_letter_bytes"),
            letters(dead),
        ]
    consumers = await connection.transport.administration.consumers(events.name)
    known = {
        adapter.config.name
        for adapter in connection.configuration.adapters
        if strings(adapter.config, "subscribe")
    }
    for name, consumer in sorted(consumers.items()):
        findings.append(
            await _lag(connection, clock, events, name, consumer, is_known=name in known)
        )
    return findings


def durability(state: StreamState) -> Finding:
    """Whether what a stream acknowledges is on the disk."""
    if state.sync_always is True:
        replicas = f" on {state.replicas} servers" if state.replicas > 1 else ""
        return good(
            "streams",
            "durability",
            f"each write is on the disk before it is acknowledged{replicas}",
        )
    if state.sync_always is False:
        return wrong(
            "streams",
            "durability",
            "the server acknowledges before it writes to the disk: a power cut loses what was acknowledged",
            'set `sync_interval: always` in its jetstream section; until then no "stored" is durable',
        )
    return note(
        "streams",
        "durability",
        "the server does not tell whether it syncs each write, so nothing here is called durable",
        "give its monitoring address as nats.monitor",
    )


def fill(state: StreamState, limit: int, key: str) -> Finding:
    """How much of its limit a stream has used."""
    share = state.bytes / limit if limit > 0 else 0.0
    saw = f"{state.messages} messages, {state.bytes / _MIB:.1f} MiB, {share:.0%} of {key}"
    if share >= _FULL:
        return wrong(
            "streams",
            state.name,
            saw,
            f"raise {key} or mend the consumer that lags: full means senders are refused",
        )
    return good("streams", state.name, saw)


def letters(state: StreamState) -> Finding:
    """Whether dead letters wait for an operator."""
    if not state.messages:
        return good("streams", "dead letters", "none")
    return note(
        "streams",
        "dead letters",
        f"{state.messages} messages could not be delivered",
        "`medmesh dlq ls` says which and why; `medmesh dlq replay` has them taken again",
    )


async def _lag(
    connection: SiteConnection,
    clock: Clock,
    events: StreamState,
    name: str,
    consumer: ConsumerState,
    *,
    is_known: bool,
) -> Finding:
    waiting = consumer.pending + consumer.unacknowledged
    if not waiting:
        return good("consumers", name, "has everything")
    age_s = await _oldest_s(connection, clock, events, consumer)
    saw = f"{waiting} events wait" + (
        f", the oldest for {age_s:.0f} s" if age_s is not None else ""
    )
    if not is_known:
        return note(
            "consumers",
            name,
            f"{saw}; no adapter of this configuration has this name",
            "if it is a program, start it; what it has not had is kept for it. If it is gone for good, run: "
            f"medmesh consumers rm {name}",
        )
    if age_s is not None and age_s > _LATE_S:
        return wrong(
            "consumers",
            name,
            saw,
            "is its destination up? The adapter's state in `medmesh up --json` says what it waits for",
        )
    return note("consumers", name, saw)


async def _oldest_s(
    connection: SiteConnection, clock: Clock, events: StreamState, consumer: ConsumerState
) -> float | None:
    seq = max(events.first_seq, consumer.ack_floor + 1)
    try:
        oldest = await connection.transport.store.read(events.name, seq)
    except NotFound:
        return None
    return max(0.0, (clock.now_ms() - oldest.stored_ms) / 1000)


__all__ = ["check_streams", "durability", "fill", "letters"]
