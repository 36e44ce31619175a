"""One change of one resource within a unit of work: by id or by a condition, under preconditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, NamedTuple

from adapters.fhir.codec.partial import is_id
from adapters.fhir.store.conditions import Conditions
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.matching import every
from adapters.fhir.store.patching import patched
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.questions import read_question
from adapters.fhir.store.refusals import Refusal, invalid, not_found
from adapters.fhir.store.repository import Prepared, Repository, Version, Written
from adapters.fhir.store.search import by_rows, find_rids, where_of
from bus.transactions.database import Dialect
from schemas.fhir.searching import Parameters

Pairs = Sequence[tuple[str, str]]
_TWO: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A change that is asked for."""

    resource_type: str
    id: str = ""
    condition: Pairs = ()
    """Search parameters that say which resource is meant, instead of an id."""
    if_none_exist: Pairs = ()
    if_match: str = ""
    if_none_match: str = ""
    prepared: Prepared | None = None
    patch: bytes = field(default=b"", repr=False)
    patch_type: str = ""
    permit: Permit
    base: str = ""


class Changed(NamedTuple):
    """What became of an order."""

    status: int
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Changer:
    """Carries out orders. `prepare` judges a body, and reads what it is found by."""

    repository: Repository
    parameters: Parameters
    prepare: Callable[[bytes, str, str], Prepared]
    """Body, expected type, own address."""

    async def create(self, unit: Unit, order: Order) -> Changed:
        """201, or 200 for what If-None-Exist finds. Raises `Refusal`."""
        order.permit.check(order.resource_type, "c")
        prepared = _content(order)
        if order.if_none_exist:
            found = await self.find(unit, order, order.if_none_exist)
            if len(found) > 1:
                raise _several()
            if found:
                return Changed(200, found[0])
        order.permit.check_content(prepared, "")
        return Changed(201, (await self.repository.create(unit, prepared)).version)

    async def update(self, unit: Unit, order: Order) -> Changed:
        """200, or 201 for a resource that did not exist. Raises `Refusal`."""
        order.permit.check(order.resource_type, "u")
        prepared = _content(order)
        if order.condition:
            order, current = await self._met(unit, order, prepared)
            if current is None and not order.id:
                self._check_preconditions(order, None)
                order.permit.check_content(prepared, "")
                return Changed(201, (await self.repository.create(unit, prepared)).version)
        else:
            _check_id(order.id, prepared)
            current = await self._current(unit, order)
        return await self._put(unit, order, prepared, current)

    async def _put(
        self, unit: Unit, order: Order, prepared: Prepared, current: Version | None
    ) -> Changed:
        self._check_preconditions(order, current)
        order.permit.check_content(prepared, order.id)
        if current is None:
            try:
                written = await self.repository.create(unit, prepared, id=order.id, method="PUT")
            except Refusal:
                # someone else has created it meanwhile, and committed
                current = await self._existing(unit, replace(order, condition=()))
                self._check_preconditions(order, current)
                written = await self.repository.update(unit, prepared, current)
        else:
            written = await self.repository.update(unit, prepared, current)
        return Changed(201 if written.is_new else 200, written.version)

    async def settled(
        self, unit: Unit, order: Order, prepared: Prepared, *, is_free: bool
    ) -> Changed:
        """An update whose id was decided; `is_free`: the content may propose another one. Raises `Refusal`."""
        order.permit.check(order.resource_type, "u")
        if not is_free:
            _check_id(order.id, prepared)
        current = await self._current(unit, order)
        return await self._put(unit, order, prepared, current)

    async def patch(self, unit: Unit, order: Order) -> Changed:
        """200. Raises `Refusal`."""
        order.permit.check(order.resource_type, "u")
        current = await self._existing(unit, order)
        self._check_preconditions(order, current)
        body = patched(current.body, order.patch, order.patch_type)
        prepared = self.prepare(body, order.resource_type, order.base)
        if prepared.checked.id != current.id:
            raise Refusal(422, "business-rule", "a patch must not change the id")
        order.permit.check_content(prepared, current.id)
        written: Written = await self.repository.update(unit, prepared, current, method="PATCH")
        return Changed(200, written.version)

    async def delete(self, unit: Unit, order: Order) -> Changed:
        """204; of what is deleted already, too. Raises `Refusal`: 404 for what never was."""
        order.permit.check(order.resource_type, "d")
        if order.condition:
            current = await self._one(unit, order)
        else:
            found = await self._current(unit, order)
            if found is None:
                raise not_found()
            current = found
        self._check_preconditions(order, current)
        return Changed(204, (await self.repository.delete(unit, current)).version)

    # ── which resource

    async def _met(
        self, unit: Unit, order: Order, prepared: Prepared
    ) -> tuple[Order, Version | None]:
        """What a conditional update means (FHIR R4 §3.1.0.4.3), with the id it goes to."""
        found = await self.find(unit, order, order.condition)
        own = prepared.checked.id
        if len(found) > 1:
            raise _several()
        if found:
            if own and own != found[0].id:
                raise invalid("the condition finds a resource with another id than the content has")
            return _with_id(order, found[0].id), found[0]
        if not own:
            return order, None
        order = _with_id(order, own)
        current = await self._current(unit, order)
        if current is not None and not current.is_deleted:
            raise Refusal(
                409,
                "conflict",
                "the id of the content belongs to a resource that the condition does not find",
            )
        return order, current

    async def _existing(self, unit: Unit, order: Order) -> Version:
        if order.condition:
            return await self._one(unit, order)
        current = await self._current(unit, order)
        if current is None:
            raise not_found()
        if current.is_deleted:
            raise gone()
        return current

    async def _one(self, unit: Unit, order: Order) -> Version:
        found = await self.find(unit, order, order.condition)
        if len(found) > 1:
            raise _several()
        if not found:
            raise not_found("the condition finds nothing")
        return found[0]

    async def _current(self, unit: Unit, order: Order) -> Version | None:
        if not is_id(order.id):
            raise invalid("an id is 1 to 64 of letters, digits, '-' and '.'", code="value")
        current = await self.repository.current(unit, order.resource_type, order.id, lock=True)
        if current is not None and order.permit.patient and not current.is_deleted:
            await check_inside(unit, order.permit, current)
        return current

    async def find(self, unit: Unit, order: Order, pairs: Pairs) -> list[Version]:
        """At most two resources that a condition finds; the condition is then nobody else's until the commit."""
        if unit.dialect is Dialect.POSTGRES:
            await unit.fetch(
                "select pg_advisory_xact_lock(?)", (_lock(order.resource_type, pairs),)
            )
        question = read_question(
            order.resource_type,
            pairs,
            self.parameters,
            is_strict=True,
            usual_count=_TWO,
            max_count=_TWO,
        )
        if not question.conditions or len(question.conditions) != len(pairs):
            raise invalid("a condition is made of search parameters alone", code="value")
        conditions = Conditions(
            self.parameters,
            order.base,
            self.repository.clock.now_ms(),
            lambda name: order.permit.may(name, "s"),
            order.permit.shown,
        )
        inside = order.permit.inside(order.resource_type)
        where = every(where_of(question, conditions, inside, is_strict=True))
        return await by_rows(unit, await find_rids(unit, where, _TWO))

    def _check_preconditions(self, order: Order, current: Version | None) -> None:
        lives = current is not None and not current.is_deleted
        if order.if_none_match == "*" and lives:
            raise Refusal(412, "conflict", "If-None-Match: there is such a resource")
        if not order.if_match:
            return
        if current is None or not lives:
            raise Refusal(412, "conflict", "If-Match: there is no such resource")
        if order.if_match not in ("*", str(current.version)):
            raise Refusal(412, "conflict", "If-Match: the newest version is another one")


async def check_inside(unit: Unit, permit: Permit, version: Version) -> None:
    """A resource lies in the requester's compartment, or is not there for it. Raises `Refusal` (404)."""
    inside = permit.inside(version.resource_type)
    if inside is None:
        return
    sql = f"select 1 from fhir_resource r where r.rid = ? and {inside.sql}"  # noqa: S608 - our own words
    if not await unit.fetch(sql, (version.rid, *inside.arguments)):
        raise not_found()


def gone() -> Refusal:
    """410."""
    return Refusal(410, "deleted", "the resource was deleted; its versions can still be read")


def _content(order: Order) -> Prepared:
    if order.prepared is None:
        raise invalid("the resource is missing", code="required")
    return order.prepared


def _check_id(id: str, prepared: Prepared) -> None:
    if prepared.checked.id != id:
        place = f"{prepared.resource_type}.id"
        raise invalid("the resource's id is not that of its address", expression=place)


def _with_id(order: Order, id: str) -> Order:
    return replace(order, id=id)


def _lock(resource_type: str, pairs: Pairs) -> int:
    text = repr((resource_type, sorted(pairs))).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True)


def _several() -> Refusal:
    return Refusal(412, "multiple-matches", "the condition finds more than one resource")


__all__ = ["Changed", "Changer", "Order", "Pairs", "check_inside", "gone"]
