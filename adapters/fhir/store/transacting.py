"""Transactions: every entry of a Bundle in one unit of work, in FHIR's order, or none (FHIR R4 §3.1.0.11.2)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec

from adapters.fhir.codec.partial import is_id, is_resource_type
from adapters.fhir.store.bundles import response_entry, responses
from adapters.fhir.store.changing import Changed, Changer, Order, Pairs
from adapters.fhir.store.checking import parse_object
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.references import (
    identifier_member,
    reference_member,
    references_in,
    replaced,
)
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.values import split, unescaped

T = TypeVar("T")
_NONE: Final = msgspec.Raw()
_PHASES: Final = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_CHANGES: Final = frozenset({"POST", "PUT", "PATCH"})
_TOKEN_PARTS: Final = 2


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    method: str = ""
    url: str = ""
    if_none_match: str = ""
    if_match: str = ""
    if_none_exist: str = ""


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    full_url: str = ""
    resource: msgspec.Raw = _NONE
    request: _Request | None = None


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    entry: list[_Entry] = []


class _Binary(msgspec.Struct, frozen=True, rename="camel"):
    content_type: str = ""
    data: str = ""


_BUNDLE: Final = msgspec.json.Decoder(_Bundle)
_BINARY: Final = msgspec.json.Decoder(_Binary)


@dataclass(slots=True)
class Step:
    """One entry as it is worked."""

    place: int
    method: str
    resource_type: str
    id: str
    pairs: Pairs
    if_none_exist: Pairs
    if_match: str
    if_none_match: str
    full_url: str
    body: bytes = field(repr=False)
    found: Changed | None = None
    """What a conditional create has found."""


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a GET inside of a transaction."""

    status: int
    body: bytes = field(repr=False)


Look = Callable[[Unit, Step], Awaitable[Read]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transaction that was read, and in whose name it runs."""

    steps: list[Step]
    permit: Permit
    base: str
    is_view: bool = False
    """Made from a message: its ids are proposals, and what it refers to need not be here."""
    shows_resources: bool = False


def read_transaction(
    body: bytes,
    *,
    permit: Permit,
    base: str,
    max_entries: int,
    is_view: bool = False,
    shows_resources: bool = False,
) -> Transaction:
    """Read a Bundle of type transaction. Raises `Refusal`."""
    parse_object(body)
    try:
        bundle = _BUNDLE.decode(body)
    except msgspec.ValidationError:
        raise invalid(
            "an element of the bundle has another type", expression="Bundle", code="structure"
        ) from None
    if bundle.type != "transaction":
        raise invalid("the bundle is no transaction", expression="Bundle.type", code="value")
    if len(bundle.entry) > max_entries:
        raise Refusal(413, "too-costly", f"a transaction has at most {max_entries} entries")
    steps = []
    for place, entry in enumerate(bundle.entry):
        try:
            steps.append(_step(place, entry, base))
        except Refusal as refusal:
            raise refusal.at(f"Bundle.entry[{place}]") from None
    _check_once(steps)
    return Transaction(
        steps=steps, permit=permit, base=base, is_view=is_view, shows_resources=shows_resources
    )


def _step(place: int, entry: _Entry, base: str) -> Step:
    request = entry.request
    if request is None or request.method not in _PHASES:
        raise invalid(
            "the entry has no request with a known method", expression="request", code="required"
        )
    path, _, query = request.url.removeprefix(f"{base}/" if base else "").partition("?")
    parts = path.strip("/").split("/")
    identity = parts[1] if len(parts) > 1 else ""
    fits = is_resource_type(parts[0]) and (not identity or is_id(identity))
    if not fits or len(parts) > _TOKEN_PARTS:
        raise invalid(
            "the address is Type, Type/id or Type?condition", expression="request.url", code="value"
        )
    raw = bytes(entry.resource)
    if request.method in _CHANGES and raw in (b"", b"null"):
        raise invalid("the entry has no resource", expression="resource", code="required")
    pairs = _pairs(query)
    if request.method in ("PUT", "PATCH", "DELETE") and bool(identity) == bool(pairs):
        raise invalid("an id or a condition is needed", expression="request.url", code="required")
    return Step(
        place=place,
        method=request.method,
        resource_type=parts[0],
        id=identity,
        pairs=pairs,
        if_none_exist=_pairs(request.if_none_exist.partition("?")[2] or request.if_none_exist),
        if_match=_etag(request.if_match),
        if_none_match=_etag(request.if_none_match),
        full_url=entry.full_url,
        body=raw,
    )


def _pairs(query: str) -> Pairs:
    try:
        return tuple(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=64))
    except ValueError:
        raise invalid(
            "the condition is not percent-encoded UTF-8", expression="request", code="value"
        ) from None


def _etag(text: str) -> str:
    return text.removeprefix("W/").strip('"')


def _check_once(steps: list[Step]) -> None:
    """No resource is changed by two entries, and no fullUrl stands twice."""
    named = [
        (one.resource_type, one.id)
        for one in steps
        if one.id and _PHASES[one.method] < _PHASES["GET"]
    ]
    urls = [one.full_url for one in steps if one.full_url and one.method in _CHANGES]
    if len(set(named)) != len(named) or len(set(urls)) != len(urls):
        raise invalid(
            "two entries are about the same resource", expression="Bundle.entry", code="duplicate"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactor:
    """Works transactions."""

    changer: Changer
    look: Look

    async def run(self, unit: Unit, transaction: Transaction) -> bytes:
        """The transaction-response. Raises `Refusal` that names the entry: nothing of it is kept then."""
        results: dict[int, bytes] = {}
        ordered = sorted(transaction.steps, key=lambda one: _PHASES[one.method])
        known: dict[str, str] = {}
        for step in ordered:
            if step.method == "DELETE":
                results[step.place] = await self._told(unit, transaction, step)
        for step in ordered:
            if step.method in _CHANGES:
                await _named(step, self._settle(unit, transaction, step, known))
        for step in ordered:
            if step.method in _CHANGES:
                step.body = await _named(step, self._rewritten(unit, transaction, step, known))
        for step in ordered:
            if step.method != "DELETE":
                results[step.place] = await self._told(unit, transaction, step)
        return responses(results[place] for place in sorted(results))

    async def _told(self, unit: Unit, transaction: Transaction, step: Step) -> bytes:
        if _PHASES[step.method] == _PHASES["GET"]:
            read = await _named(step, self.look(unit, step))
            return response_entry(str(read.status), None, base=transaction.base, body=read.body)
        changed = await _named(step, self._changed(unit, transaction, step))
        body = changed.version.body if transaction.shows_resources and changed.status < 204 else b""
        return response_entry(
            str(changed.status), changed.version, base=transaction.base, body=body
        )

    async def _settle(
        self, unit: Unit, transaction: Transaction, step: Step, known: dict[str, str]
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
                known[name] = f"{step.resource_type}/{step.id}"

    async def _created_id(self, unit: Unit, order: Order, step: Step) -> str:
        if not step.if_none_exist:
            return self.changer.repository.new_id()
        found = await self.changer.find(unit, order, step.if_none_exist)
        if len(found) > 1:
            raise Refusal(412, "multiple-matches", "the condition finds more than one resource")
        if found:
            step.found = Changed(200, found[0])
            return found[0].id
        return self.changer.repository.new_id()

    async def _rewritten(
        self, unit: Unit, transaction: Transaction, step: Step, known: dict[str, str]
    ) -> bytes:
        """The resource with its references resolved: to entries of the bundle, and by conditions."""
        members: dict[str, bytes] = {}
        for text in references_in(step.body):
            if text in known:
                members[text] = reference_member(known[text])
            elif "?" in text and is_resource_type(text.partition("?")[0]):
                members[text] = await self._resolved(unit, transaction, text)
        return replaced(step.body, members.get) if members else step.body

    async def _resolved(self, unit: Unit, transaction: Transaction, text: str) -> bytes:
        kind, _, query = text.partition("?")
        pairs = _pairs(query)
        order = Order(resource_type=kind, permit=transaction.permit, base=transaction.base)
        found = await self.changer.find(unit, order, pairs)
        if len(found) == 1:
            return reference_member(f"{kind}/{found[0].id}")
        if transaction.is_view and len(pairs) == 1 and pairs[0][0] == "identifier":
            parts = [unescaped(part) for part in split(pairs[0][1], "|")]
            return identifier_member(*(parts if len(parts) == _TOKEN_PARTS else ("", parts[-1])))
        raise Refusal(
            412,
            "multiple-matches" if found else "not-found",
            "a conditional reference does not find one resource",
        )

    async def _changed(self, unit: Unit, transaction: Transaction, step: Step) -> Changed:
        order = self._order(transaction, step)
        if step.method == "DELETE":
            return await self.changer.delete(unit, order)
        if step.found is not None:
            transaction.permit.check(step.resource_type, "c")
            return step.found
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
            return Changed(201, written.version)
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


__all__ = ["Read", "Step", "Transaction", "Transactor", "read_transaction"]
