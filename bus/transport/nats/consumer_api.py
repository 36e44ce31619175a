"""Durable consumers as JetStream's API speaks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bus.transport.nats.api import NS, JetStream, Json
from bus.transport.nats.headers import Headers
from bus.transport.protocol import ConsumerSpec, Delivery, NotFound
from schemas.subjects import matches


async def ensure_consumer(jetstream: JetStream, spec: ConsumerSpec, *, start: int = 0) -> Json:
    """The consumer's CONSUMER.INFO, after creating it (from stream sequence `start`) or bringing it to `spec`."""
    wanted = _config(spec)
    start = start or spec.start_seq
    try:
        found = await jetstream.ask(f"CONSUMER.INFO.{spec.stream}.{spec.name}")
    except NotFound:
        if spec.deliver_new and not start:
            info = await jetstream.ask(f"STREAM.INFO.{spec.stream}")
            start = info["state"]["last_seq"] + 1
        # by sequence even for "new": the server refuses to reset a consumer that began with "new"
        where: Json = {"deliver_policy": "all"}
        if start > 1:
            where = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
        return await _create(jetstream, spec, {**wanted, **where})
    config = found["config"]
    if all(config.get(key) == value for key, value in wanted.items()):
        return found
    kept = {k: v for k, v in config.items() if k not in ("filter_subject", "filter_subjects")}
    return await _create(jetstream, spec, {**kept, **wanted})


async def _create(jetstream: JetStream, spec: ConsumerSpec, config: Json) -> Json:
    verb = f"CONSUMER.CREATE.{spec.stream}.{spec.name}"
    if "filter_subject" in config:
        verb += f".{config['filter_subject']}"
    question = {"stream_name": spec.stream, "config": config, "action": ""}
    return await jetstream.ask(verb, question)


def _config(spec: ConsumerSpec) -> Json:
    given = dict.fromkeys(spec.patterns)  # the server refuses patterns that cover each other
    patterns = [p for p in given if not any(p != q and matches(q, p) for q in given)]
    filters: Json = {"filter_subjects": patterns}
    if len(patterns) == 1:
        filters = {"filter_subject": patterns[0]}
    return {
        "name": spec.name,
        "replay_policy": "instant",
        **(_passing(spec) if spec.passing_s else _durable(spec)),
        **(filters if patterns else {}),
    }


def _durable(spec: ConsumerSpec) -> Json:
    return {
        "durable_name": spec.name,
        "ack_policy": "explicit",
        "ack_wait": int(spec.ack_wait_s * NS),
        "max_ack_pending": spec.max_ack_pending,
        "max_deliver": -1,
    }


def _passing(spec: ConsumerSpec) -> Json:
    return {
        "ack_policy": "none",
        "inactive_threshold": int(spec.passing_s * NS),
        "mem_storage": True,
        "num_replicas": 1,
    }


@dataclass(frozen=True, slots=True)
class Origin:
    """What the acknowledgement subject of a delivery tells (ADR-15 of NATS)."""

    deliveries: int
    seq: int
    consumer_seq: int
    stored_ms: int
    pending: int


def read_origin(reply: str) -> Origin:
    """`$JS.ACK[.<domain>.<account>].<stream>.<consumer>.<deliveries>.<seq>.<consumer seq>.<ns>.<pending>[.<token>]`."""
    tokens = reply.split(".")
    at = 4 if len(tokens) == 9 else 6
    if len(tokens) < at + 5 or tokens[:2] != ["$JS", "ACK"]:
        raise ValueError("not the acknowledgement subject of a delivery")
    deliveries, seq, consumer_seq, stored_ns, pending = map(int, tokens[at : at + 5])
    return Origin(deliveries, seq, consumer_seq, stored_ns // 1_000_000, pending)


_new: Final = object.__new__
# Delivery is frozen: its own __init__ takes three times as long
(
    _set_subject,
    _set_payload,
    _set_seq,
    _set_deliveries,
    _set_stored_ms,
    _set_pending,
    _set_reply,
    _set_headers,
) = (
    Delivery.__dict__[name].__set__
    for name in (
        "subject",
        "payload",
        "seq",
        "deliveries",
        "stored_ms",
        "pending",
        "reply",
        "headers",
    )
)


def read_delivery(
    mark: str, subject: bytes, reply: bytes, headers: bytes | None, payload: bytes
) -> tuple[int, Delivery]:
    """The consumer sequence of a delivery, and the delivery; `mark` stands before the subject that acknowledges it.

    Raises `ValueError` where `reply` is no acknowledgement subject.
    """
    words = reply.split(b".")
    at = 4 if len(words) == 9 else 6
    if len(words) < at + 5:
        raise ValueError("not the acknowledgement subject of a delivery")
    delivery = _new(Delivery)
    _set_subject(delivery, subject.decode())
    _set_payload(delivery, payload)
    _set_deliveries(delivery, int(words[at]))
    _set_seq(delivery, int(words[at + 1]))
    _set_stored_ms(delivery, int(words[at + 3]) // 1_000_000)
    _set_pending(delivery, int(words[at + 4]))
    _set_reply(delivery, mark + reply.decode())
    _set_headers(delivery, None if headers is None else Headers(headers))
    return int(words[at + 2]), delivery


__all__ = ["Origin", "ensure_consumer", "read_delivery", "read_origin"]
