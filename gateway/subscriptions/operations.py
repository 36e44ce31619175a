"""`$status`, `$events` and `$get-ws-binding-token` (FHIR R5 §subscription-operations, Subscriptions R5 Backport IG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from adapters.fhir.store.refusals import Refusal, invalid, not_found
from adapters.fhir.store.times import instant
from gateway.subscriptions.binding import Tokens, socket_address
from gateway.subscriptions.bundles import Purpose, status_of
from gateway.subscriptions.delivering import Desk
from gateway.subscriptions.model import CONTENTS, WEBSOCKET, Record
from gateway.subscriptions.permits import WITHDRAWN
from schemas.errors import Unavailable
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

OFFERED: Final = (
    "Subscription/$status.rs", "Subscription/$events.rs", "Subscription/$get-ws-binding-token.rs",
)  # fmt: skip
_VALUES: Final = (
    "valueId",
    "valueCode",
    "valueString",
    "valueInteger64",
    "valueInteger",
    "valueUri",
)


class Operations:
    """Answers operations."""

    def __init__(self, desk: Desk, tokens: Tokens) -> None:
        self._desk = desk
        self._tokens = tokens

    async def answer(self, asked: pb.Interaction, records: Sequence[Record]) -> pb.Outcome:
        """The outcome of one. `records`: what it is about, as far as the client may see it. Raises `Refusal`."""
        pairs = _pairs(asked)
        if not asked.id and (ids := _listed(pairs, "id")):
            records = [one for one in records if one.id in ids]
        match asked.operation:
            case "$status":
                body = self._status(asked, records, pairs)
            case "$events" if asked.id:
                body = await self._events(asked, records[0], pairs)
            case "$get-ws-binding-token":
                body = self._token(asked, records)
            case _:
                raise Refusal(404, "not-supported", "there is no such operation here")
        return pb.Outcome(status=200, body=body)

    def _status(
        self, asked: pb.Interaction, records: Sequence[Record], pairs: Sequence[tuple[str, str]]
    ) -> bytes:
        wanted = _listed(pairs, "status")
        entries = [
            {
                "fullUrl": f"{one.base}/Subscription/{one.id}/$status",
                "resource": status_of(
                    one, Purpose.STATUS, total=self._desk.book.head(one.id).number
                ),
                "search": {"mode": "match"},
            }
            for one in records
            if not wanted or one.status in wanted
        ]
        bundle: dict[str, Any] = {
            "resourceType": "Bundle",
            "type": "searchset",
            "timestamp": instant(self._desk.runtime.clock.now_ms()),
            "total": len(entries),
            "link": [{"relation": "self", "url": f"{asked.base}/Subscription/$status"}],
        }
        return orjson.dumps(bundle | ({"entry": entries} if entries else {}))

    async def _events(
        self, asked: pb.Interaction, record: Record, pairs: Sequence[tuple[str, str]]
    ) -> bytes:
        """Events again, at most `max_events` of them: whoever wants more asks from the next number on."""
        desk = self._desk
        topic, asker = desk.topics.get(record.wish.topic), asked.requester
        may = topic is not None and desk.permits.may(asker.client, asker.scopes, topic.types)
        if not may or not desk.may(record):
            raise Refusal(403, "forbidden", WITHDRAWN)
        newest = desk.book.head(record.id).number
        first, last = (
            _number(pairs, "eventsSinceNumber", 1),
            _number(pairs, "eventsUpToNumber", newest),
        )
        content = next((value for name, value in pairs if name == "content"), record.wish.content)
        if content not in CONTENTS:
            raise invalid(f"content is one of {', '.join(CONTENTS)}", code="value")
        most = desk.section.max_events
        events = await desk.book.events(record.id, first, min(last, max(first, 1) + most - 1))
        try:
            body, count = await desk.contents.bundle(
                record, Purpose.EVENTS, events, total=newest, content=content
            )
        except Unavailable as error:
            raise Refusal(503, "transient", str(error)) from error
        if count:
            await desk.note(record, events[:count], "$events", client=asker.client)
        return body

    def _token(self, asked: pb.Interaction, records: Sequence[Record]) -> bytes:
        mine = [
            one
            for one in records
            if one.client == asked.requester.client and one.wish.channel == WEBSOCKET
        ]
        if not mine:
            raise not_found("the client has no such subscription with the channel websocket")
        token, until_ms = self._tokens.issue(asked.requester.client, [one.id for one in mine])
        parts: list[dict[str, Any]] = [
            {"name": "token", "valueString": token},
            {"name": "expiration", "valueDateTime": instant(until_ms)},
            *({"name": "subscription", "valueString": one.id} for one in mine),
            {"name": "websocket-url", "valueUrl": socket_address(asked.base)},
        ]
        return orjson.dumps({"resourceType": "Parameters", "parameter": parts})


def _pairs(asked: pb.Interaction) -> list[tuple[str, str]]:
    """Parameters of the address and of a posted Parameters resource. Raises `Refusal`."""
    found = [(one.name, one.value) for one in asked.parameters]
    if not asked.body:
        return found
    try:
        resource = orjson.loads(asked.body)
        return found + [_pair(one) for one in resource.get("parameter", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise invalid("the body of an operation is a Parameters resource") from None


def _pair(one: Mapping[str, Any]) -> tuple[str, str]:
    return str(one["name"]), next((str(one[name]) for name in _VALUES if name in one), "")


def _listed(pairs: Sequence[tuple[str, str]], name: str) -> set[str]:
    return {value for known, text in pairs if known == name for value in text.split(",") if value}


def _number(pairs: Sequence[tuple[str, str]], name: str, otherwise: int) -> int:
    found = next((value for known, value in pairs if known == name), "")
    if not found:
        return otherwise
    if not (found.isascii() and found.isdigit() and len(found) < 19):
        raise invalid(f"{name} is a whole number", code="value")
    return int(found)


__all__ = ["OFFERED", "Operations"]
