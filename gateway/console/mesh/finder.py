"""Finds messages among the newest stored events that the console may open, and follows one through the site.

It needs no index of its own: what it has opened once it remembers as keyed hashes, in memory and bounded, so that a
second search is quick and no identifier is kept in clear.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bus.events.content import service_name
from bus.events.places import PlaceView, places
from bus.events.replays import DeadLetterSummary
from bus.events.streams import event_stream
from bus.transport.protocol import NotFound, Transport
from gateway.console.mesh.contents import MeshContents
from gateway.console.sources import ContentClosed, Found, Journey, Kind, Letters, Step
from gateway.console.words import reason
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.keyed import keyed_hash
from schemas.subjects import SiteId, matches

SCANNED: Final = 20_000
"""Stored events that are looked at, the newest first."""
_REMEMBERED: Final = 50_000
_READ_AHEAD: Final = 32
_PATIENCE_S: Final = 15.0
_HASH_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is remembered of one event; None of it is an identifier in clear."""

    seq: int
    message_id: bytes
    subject: str
    stored_ms: int
    received_ms: int
    source: str
    type: str
    keys: frozenset[bytes]
    """Keyed hashes of its identifiers, each with its kind."""
    control: bytes
    """The one of its control id; empty without one."""


class StreamFinder:
    """`gateway.console.sources.Finder` on the event stream."""

    def __init__(
        self,
        transport: Transport,
        site: SiteId,
        contents: MeshContents,
        letters: Letters,
        *,
        site_key: bytes,
    ) -> None:
        self._transport = transport
        self._site = site
        self._stream = event_stream(site)
        self._contents = contents
        self._letters = letters
        self._hash = keyed_hash(site_key)
        self._cards: OrderedDict[tuple[int, int], Card | None] = OrderedDict()
        """By the stream's age and the sequence; None: nothing to see there."""

    # search

    async def find(self, kind: Kind, text: str, *, limit: int) -> Sequence[Found]:
        """See `Finder.find`."""
        wanted = self._wanted(kind, text)
        letters = await self._dead()
        states = await places(self._transport, self._site)
        found: list[Found] = []
        async for card in self._newest():
            if wanted & card.keys:
                found.append(_found(card, _state(card, states, letters)))
                if len(found) >= limit:
                    break
        return found

    def _wanted(self, kind: Kind, text: str) -> frozenset[bytes]:
        kinds = [one for one in Kind if one is not Kind.ANY] if kind is Kind.ANY else [kind]
        exact = {text, text.lower()} if kind in (Kind.ANY, Kind.MESSAGE) else {text}
        return frozenset(self._key(one, value) for one in kinds for value in exact)

    def _key(self, kind: Kind, value: str) -> bytes:
        digest = self._hash.digest(b"console\0", kind.value.encode(), b"\0", value.encode())
        return digest[:_HASH_BYTES]

    # one message

    async def journey(self, message_id: bytes) -> Journey:
        """See `Finder.journey`."""
        wanted = self._key(Kind.MESSAGE, message_id.hex())
        found: Card | None = None
        related: list[Card] = []
        async for card in self._newest():
            if wanted in card.keys:
                found = card
                break
        letters = await self._dead()
        if found is None:
            return self._of_letters(message_id, letters)
        if found.control:
            same = found.control, found.seq
            related = [
                one async for one in self._newest() if one.control == same[0] and one.seq != same[1]
            ]
        states = await places(self._transport, self._site)
        return Journey(
            message_id=message_id,
            subject=found.subject,
            source=found.source,
            type=found.type,
            stored_ms=found.stored_ms,
            seq=found.seq,
            steps=tuple(_steps(found, related, states, letters)),
            related=tuple(_found(one, _state(one, states, letters)) for one in related),
        )

    def _of_letters(
        self, message_id: bytes, letters: dict[bytes, list[DeadLetterSummary]]
    ) -> Journey:
        """What is known of a message that cannot be opened here: that it became a dead letter."""
        own = letters.get(message_id, [])
        if not own:
            raise NotFound("no message with that id can be seen from here")
        return Journey(
            message_id=message_id,
            subject=own[0].subject,
            source="",
            type="",
            stored_ms=0,
            seq=own[0].stream_seq,
            steps=tuple(_given_up(one) for one in own),
            note="This gateway may not open it ([gateway.console] contents), or it is not kept any more: only what "
            "became of it is known.",
        )

    async def _dead(self) -> dict[bytes, list[DeadLetterSummary]]:
        found: dict[bytes, list[DeadLetterSummary]] = {}
        async for letter in self._letters.list():
            if isinstance(letter, DeadLetterSummary):
                found.setdefault(letter.message_id, []).append(letter)
        return found

    # reading

    async def _newest(self) -> AsyncIterator[Card]:
        state = await self._transport.store.stream_state(self._stream)
        lowest = max(state.first_seq, state.last_seq - SCANNED + 1)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + _PATIENCE_S
        top = state.last_seq
        while top >= lowest and loop.time() < ends_s:
            part = range(top, max(lowest, top - _READ_AHEAD + 1) - 1, -1)
            for card in await asyncio.gather(*(self._card(state.created_ms, s) for s in part)):
                if card is not None:
                    yield card
            top = part[-1] - 1

    async def _card(self, created_ms: int, seq: int) -> Card | None:
        place = (created_ms, seq)
        if place in self._cards:
            return self._cards[place]
        try:
            card = await self._read(seq)
        except NotFound:
            return None
        self._cards[place] = card
        if len(self._cards) > _REMEMBERED:
            self._cards.popitem(last=False)
        return card

    async def _read(self, seq: int) -> Card | None:
        delivery = await self._transport.store.read(self._stream, seq)
        if not self._contents.may_open(delivery.subject):
            return None
        try:
            opened = await self._contents.open(delivery)
        except ContentClosed:
            return None
        content = opened.content
        keys = frozenset(self._key(kind, value) for kind, value in identifiers(content))
        index = content.index
        return Card(
            seq=seq,
            message_id=content.id,
            subject=delivery.subject,
            stored_ms=delivery.stored_ms,
            received_ms=content.received_ms,
            source=service_name(opened.sender.service),
            type=content.type,
            keys=keys,
            control=self._key(Kind.CONTROL, index.control_id) if index.control_id else b"",
        )


def identifiers(content: content_pb.Content) -> Iterable[tuple[Kind, str]]:
    """By what a message may be looked for: each identifier alone, and with its system as `system|value`."""
    index = content.index
    yield Kind.MESSAGE, content.id.hex()
    if index.control_id:
        yield Kind.CONTROL, index.control_id
    for kind, group in (
        (Kind.PATIENT, index.patient),
        (Kind.ORDER, index.order),
        (Kind.VISIT, index.visit),
    ):
        for one in group:
            yield kind, one.value
            if one.system:
                yield kind, f"{one.system}|{one.value}"


def _found(card: Card, state: str) -> Found:
    return Found(
        message_id=card.message_id,
        subject=card.subject,
        stored_ms=card.stored_ms,
        source=card.source,
        state=state,
    )


def _state(
    card: Card, states: Iterable[PlaceView], letters: dict[bytes, list[DeadLetterSummary]]
) -> str:
    if card.message_id in letters:
        return "dead"
    readers = list(_readers(card, states))
    if not readers:
        return ""
    return "delivered" if all(is_past(card, one) for one in readers) else "waiting"


def _readers(card: Card, states: Iterable[PlaceView]) -> Iterable[PlaceView]:
    for place in states:
        if any(matches(one, card.subject) for one in place.patterns):
            yield place


def is_past(card: Card, place: PlaceView) -> bool:
    """Whether a destination has finished an event: of a shared one only when nothing waits at all."""
    if place.is_shared:
        return not place.waiting
    return place.ack_floor >= card.seq or not place.waiting


def _steps(
    card: Card,
    related: Sequence[Card],
    states: Iterable[PlaceView],
    letters: dict[bytes, list[DeadLetterSummary]],
) -> list[Step]:
    dead = letters.get(card.message_id, [])
    gave_up = {one.consumer for one in dead}
    steps = [
        Step(at_ms=card.received_ms, what="received", who=card.source),
        Step(at_ms=card.stored_ms, what="stored", subject=card.subject, words=f"as number {card.seq}"),
        *(
            Step(
                at_ms=one.stored_ms, what=_relation(card, one), who=one.source, subject=one.subject,
                message_id=one.message_id, words="with the same control id",
            )
            for one in related
        ),
        *(_given_up(one) for one in dead),
    ]  # fmt: skip
    for place in _readers(card, states):
        if place.name in gave_up:
            continue
        if is_past(card, place):
            steps.append(Step(at_ms=0, what="finished", who=place.name))
        else:
            ahead = f"{place.waiting} events wait there"
            steps.append(
                Step(at_ms=0, what="waiting", who=place.name, words=ahead, is_pending=True)
            )
    return sorted(steps, key=lambda one: one.at_ms or 1 << 62)


def _relation(card: Card, other: Card) -> str:
    """What another message with the same control id is to this one."""
    if card.type == other.type:
        return "sent_again" if other.stored_ms >= card.stored_ms else "sent_before"
    return "converted" if other.stored_ms >= card.stored_ms else "converted_from"


def _given_up(letter: DeadLetterSummary) -> Step:
    return Step(
        at_ms=letter.last_attempt_ms,
        what="given_up",
        who=letter.consumer,
        words=f"after {letter.attempts} attempt{'s' * (letter.attempts != 1)}: {reason(letter.reason)}",
        is_bad=True,
        dead_letter=letter.seq,
    )


__all__ = ["SCANNED", "Card", "StreamFinder", "identifiers"]
