"""Transactions: every entry of a Bundle in one unit of work, in FHIR's order, or none (FHIR R4 §3.1.0.11.2)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from adapters.fhir.codec.partial import is_id, is_resource_type
from adapters.fhir.store.bundles import response_entry, responses
from adapters.fhir.store.changing import Changed, Changer, Order
from adapters.fhir.store.checking import parse_object
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.references import (
    identifier_member,
    reference_member,
    references_in,
    replaced,
)
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.steps import CHANGES, PHASES, Step, Transaction, pairs_of
from adapters.fhir.store.values import split, unescaped

T = TypeVar("T")
_TOKEN_PARTS: Final = 2


class _Binary(msgspec.Struct, frozen=True, rename="camel"):
    content_type: str = ""
    data: str = ""


_BINARY: Final = msgspec.json.Decoder(_Binary)


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a GET inside of a transaction."""

    status: int
    body: bytes = field(repr=False)


Look = Callable[[Unit, Step], Awaitable[Read]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactor:
    """Works transactions."""

    changer: Changer
    look: Look

    async def run(self, unit: Unit, transaction: Transaction) -> bytes:
        """The transaction-response. Raises `Refusal` that names the entry: nothing of it is kept then."""
        results: dict[int, bytes] = {}
        ordered = sorted(transaction.steps, key=lambda one: PHASES[one.method])
        known = _elsewhere(transaction.foreign)
        for step in ordered:
            if step.method == "DELETE":
                results[step.place] = await self._told(unit, transaction, step)
        for step in ordered:
            if step.method in CHANGES:
                await _named(step, self._settle(unit, transaction, step, known))
        for step in ordered:
            if step.method in CHANGES:
                step.body = await _named(step, self._rewritten(unit, transaction, step, known))
        for step in ordered:
            if step.method != "DELETE":
                results[step.place] = await self._told(unit, transaction, step)
        return responses(results[place] for place in sorted(results))

    async def _told(self, unit: Unit, transaction: Transaction, step: Step) -> bytes:
        if PHASES[step.method] == PHASES["GET"]:
            read = await _named(step, self.look(unit, step))
            return response_entry(str(read.status), None, base=transaction.base, body=read.body)
        changed = await _named(step, self._changed(unit, transaction, step))
        body = changed.version.body if transaction.shows_resources and changed.status < 204 else b""
        return response_entry(
            str(changed.status), changed.version, base=transaction.base, body=body
        )

    async def _settle(
        self, unit: Unit, transaction: Transaction, step: Step, known: dict[str, bytes]
    ) -> None:
        """Decide under which id a resource is kept, before anything refers to it."""
        order = self._order(transaction, step)
        if step.method == "POST":
            step.id = await self._created_id(unit, order, step)
        elif step.pairs:
            found = await self.changer.find(unit, order, step.pairs)
            if len(found) > 1:
                raise Refusal(412, "multiple-matches", "the condition finds more than one resource")
            if found:
                step.id = found[0].id
            elif step.method == "PUT":
                step.id = _own_id(step.body) or self.changer.repository.new_id()
        if step.id:
            for name in _names(step.full_url):
                known[name] = reference_member(f"{step.resource_type}/{step.id}")

    async def _created_id(self, unit: Unit, order: Order, step: Step) -> str:
        if not step.if_none_exist:
            return self.changer.repository.new_id()
        found = await self.changer.find(unit, order, step.if_none_exist)
        if len(found) > 1:
            raise Refusal(412, "multiple-matches", "the condition finds more than one resource")
        if found:
            step.found = Changed(200, found[0])
            return found[0].id
        return step.twin.id if step.twin is not None else self.changer.repository.new_id()

    async def _rewritten(
        self, unit: Unit, transaction: Transaction, step: Step, known: dict[str, bytes]
    ) -> bytes:
        """The resource with its references resolved: to entries of the bundle, and by conditions."""
        members: dict[str, bytes] = {}
        for text in references_in(step.body):
            if text in known:
                members[text] = known[text]
            elif "?" in text and is_resource_type(text.partition("?")[0]):
                members[text] = await self._resolved(unit, transaction, text)
        return replaced(step.body, members.get) if members else step.body

    async def _resolved(self, unit: Unit, transaction: Transaction, text: str) -> bytes:
        kind, _, query = text.partition("?")
        pairs = pairs_of(query)
        order = Order(resource_type=kind, permit=transaction.permit, base=transaction.base)
        found = await self.changer.find(unit, order, pairs)
        if len(found) == 1:
            return reference_member(f"{kind}/{found[0].id}")
        if transaction.is_view and len(pairs) == 1 and pairs[0][0] == "identifier":
            return _logical(pairs[0][1])
        raise Refusal(
            412,
            "multiple-matches" if found else "not-found",
            "a conditional reference does not find one resource",
        )

    async def _changed(self, unit: Unit, transaction: Transaction, step: Step) -> Changed:
        order = self._order(transaction, step)
        if step.method == "DELETE":
            return await self.changer.delete(unit, order)
        found = step.found or (step.twin.found if step.twin is not None else None)
        if found is not None:
            transaction.permit.check(step.resource_type, "c")
            return Changed(200, found.version)
        if step.method == "PATCH":
            return await self.changer.patch(unit, order)
        return await self._stored(unit, transaction, order, step)

    async def _stored(
        self, unit: Unit, transaction: Transaction, order: Order, step: Step
    ) -> Changed:
        prepared = self.changer.prepare(step.body, step.resource_type, transaction.base)
        if step.method == "POST":
            transaction.permit.check(step.resource_type, "c")
            transaction.permit.check_content(prepared, "")
            written = await self.changer.repository.create(unit, prepared, id=step.id)
            step.found = Changed(201, written.version)
            return step.found
        own = prepared.checked.id
        if step.pairs and own and own != step.id and not transaction.is_view:
            raise invalid("the condition finds a resource with another id than the content has")
        is_free = bool(step.pairs) or transaction.is_view
        return await self.changer.settled(unit, order, prepared, is_free=is_free)

    def _order(self, transaction: Transaction, step: Step) -> Order:
        kind, patch = _patch_of(step.body) if step.method == "PATCH" else ("", b"")
        is_settled = bool(step.id)
        return Order(
            resource_type=step.resource_type,
            id=step.id,
            condition=() if is_settled else step.pairs,
            if_match=step.if_match,
            if_none_match=step.if_none_match,
            patch=patch,
            patch_type=kind,
            permit=transaction.permit,
            base=transaction.base,
        )


def _elsewhere(foreign: Sequence[Step]) -> dict[str, bytes]:
    """How to refer to entries that are not held here: by their id, or by the identifier that they are found by."""
    known: dict[str, bytes] = {}
    for step in foreign:
        condition = dict(step.pairs or step.if_none_exist)
        for name in _names(step.full_url):
            if step.id:
                known[name] = reference_member(f"{step.resource_type}/{step.id}")
            elif "identifier" in condition:
                known[name] = _logical(condition["identifier"])
    return known


def _logical(token: str) -> bytes:
    """A reference by an identifier, from how a search names it."""
    parts = [unescaped(part) for part in split(token, "|")]
    return identifier_member(*(parts if len(parts) == _TOKEN_PARTS else ("", parts[-1])))


async def _named(step: Step, work: Awaitable[T]) -> T:
    try:
        return await work
    except Refusal as refusal:
        raise refusal.at(f"Bundle.entry[{step.place}]") from None


def _names(full_url: str) -> list[str]:
    """How other entries may refer to an entry: by its address, and by the end of one like `…/Patient/1`."""
    if not full_url:
        return []
    tail = full_url.rpartition("://")[2].split("/")[-_TOKEN_PARTS:]
    if len(tail) == _TOKEN_PARTS and is_resource_type(tail[0]) and is_id(tail[1]):
        return [full_url, "/".join(tail)]
    return [full_url]


def _own_id(body: bytes) -> str:
    found = parse_object(body).get("id", "")
    return found if isinstance(found, str) and is_id(found) else ""


def _patch_of(body: bytes) -> tuple[str, bytes]:
    """A patch travels as a Binary (FHIR R4 §3.1.0.11)."""
    try:
        binary = _BINARY.decode(body)
        return binary.content_type, b64decode(binary.data, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise invalid(
            "a patch is a Binary with JSON Patch or merge patch", expression="resource"
        ) from None


__all__ = ["Read", "Transactor"]
