"""Answers interactions: a call in, an `Outcome` out; every refusal is one as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.fhir.store.bundles import Shown, history, link, searchset
from adapters.fhir.store.capabilities import capability_statement
from adapters.fhir.store.changing import Changed, Changer, Order, check_inside, gone
from adapters.fhir.store.checking import check
from adapters.fhir.store.conditions import Conditions
from adapters.fhir.store.cursors import Cursors, Place
from adapters.fhir.store.engine import Engine, Unit
from adapters.fhir.store.extraction import extract
from adapters.fhir.store.includes import find_includes
from adapters.fhir.store.limits import Limits
from adapters.fhir.store.past import Past, find_past, read_past
from adapters.fhir.store.permits import Permit, permit_of
from adapters.fhir.store.questions import Question, read_question
from adapters.fhir.store.refusals import Issue, Refusal, invalid, not_found, operation_outcome
from adapters.fhir.store.repository import Prepared, Repository, Version
from adapters.fhir.store.search import Page, find_page, where_of
from adapters.fhir.store.subsets import subset
from adapters.fhir.store.transacting import Read, Step, Transaction, Transactor, read_transaction
from adapters.fhir.validation import Validator
from schemas.clock import Clock
from schemas.fhir.release import Release
from schemas.fhir.searching import Parameters
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

LARGE_BYTES: Final = 64 * 1024
"""Bodies beyond that are judged beside the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What interactions are answered with."""

    engine: Engine
    repository: Repository
    parameters: Parameters
    cursors: Cursors
    clock: Clock
    limits: Limits
    types: frozenset[str]
    """Types of resource that it owns."""
    count: Callable[[str, str], None]
    """Counts an event of this adapter with a reason."""
    validator: Validator
    """Judges beyond the structure, as far as it is configured."""

    @property
    def release(self) -> Release:
        """The release of FHIR that it speaks."""
        return self.parameters.release

    def prepare(self, body: bytes, resource_type: str, base: str) -> Prepared:
        """Judge a body and read what it is found by. Raises `Refusal`."""
        checked = check(
            body, self.release, resource_type=resource_type, max_bytes=self.limits.body_bytes
        )
        self.check_type(checked.resource_type)
        rows = extract(checked.resource, self.parameters.of(checked.resource_type), base=base)
        if rows.is_cut:
            self.count("index_cut", checked.resource_type)
        return Prepared(checked, rows)

    def check_type(self, resource_type: str) -> None:
        """Raises `Refusal` (404) for a type that is not held here."""
        if resource_type not in self.types:
            raise Refusal(404, "not-supported", f"{resource_type} is not held here")

    @property
    def changer(self) -> Changer:
        """Carries out changes."""
        return Changer(repository=self.repository, parameters=self.parameters, prepare=self.prepare)


class Interactions:
    """Answers calls of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changer = store.changer
        self._answer = {
            pb.KIND_READ: self._read,
            pb.KIND_VREAD: self._vread,
            pb.KIND_CREATE: self._create,
            pb.KIND_UPDATE: self._update,
            pb.KIND_PATCH: self._patch,
            pb.KIND_DELETE: self._delete,
            pb.KIND_HISTORY: self._history,
            pb.KIND_SEARCH: self._search,
            pb.KIND_TRANSACTION: self._transaction,
            pb.KIND_CAPABILITIES: self._capabilities,
            pb.KIND_VALIDATE: self._validate,
        }

    async def answer(self, asked: pb.Interaction) -> pb.Outcome:
        """The outcome of an interaction. Raises `Unavailable` and other errors that a caller may try again after."""
        try:
            self._check(asked)
            permit = permit_of(asked.requester, self._store.parameters)
            outcome = await self._answer[asked.kind](asked, permit)
        except Refusal as refusal:
            self._store.count("interaction_refused", str(refusal.status))
            return pb.Outcome(status=refusal.status, body=refusal.body)
        if len(outcome.body) > self._store.limits.answer_bytes:
            too_large = Refusal(
                400, "too-costly", "the answer is too large: ask for fewer entries (_count)"
            )
            return pb.Outcome(status=too_large.status, body=too_large.body)
        return outcome

    def _check(self, asked: pb.Interaction) -> None:
        store = self._store
        if asked.kind not in self._answer:
            raise Refusal(501, "not-supported", "the interaction is not supported here")
        if asked.release != store.release.value:
            raise Refusal(
                404,
                "not-supported",
                f"FHIR {store.release.value} is held here, and no other release",
            )
        if len(asked.body) > store.limits.body_bytes:
            raise Refusal(413, "too-long", f"at most {store.limits.body_bytes} bytes are taken")
        if asked.resource_type:
            store.check_type(asked.resource_type)

    # ── one resource

    async def _read(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        permit.check(asked.resource_type, "r")

        async def work(unit: Unit) -> Version:
            found = await self._store.repository.current(unit, asked.resource_type, asked.id)
            return await _readable(unit, found, permit)

        version = await self._store.engine.read(work)
        return self._one(version, gone() if version.is_deleted else None, asked)

    async def _vread(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        permit.check(asked.resource_type, "r")
        if not (asked.version.isascii() and asked.version.isdigit() and len(asked.version) < 10):
            raise not_found("there is no such version")

        async def work(unit: Unit) -> Version:
            number = int(asked.version)
            found = await self._store.repository.version(
                unit, asked.resource_type, asked.id, number
            )
            return await _readable(unit, found, permit)

        version = await self._store.engine.read(work)
        return self._one(version, gone() if version.is_deleted else None, asked)

    def _one(self, version: Version, refusal: Refusal | None, asked: pb.Interaction) -> pb.Outcome:
        outcome = _about(200 if refusal is None else refusal.status, version)
        if refusal is not None:
            outcome.body = refusal.body
            return outcome
        pairs = [(one.name, one.value) for one in asked.parameters]
        question = read_question(
            asked.resource_type,
            pairs,
            self._store.parameters,
            is_strict=False,
            usual_count=1,
            max_count=1,
        )
        outcome.body = subset(
            version.body, question.summary, question.elements, self._store.parameters
        )
        return outcome

    async def _create(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = await self._order(asked, permit)
        changed = await self._store.engine.write(lambda unit: self._changer.create(unit, order))
        return _changed(changed, asked, has_location=True)

    async def _update(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = await self._order(asked, permit)
        changed = await self._store.engine.write(lambda unit: self._changer.update(unit, order))
        return _changed(changed, asked, has_location=changed.status == 201)

    async def _patch(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = _order_of(asked, permit, None)
        changed = await self._store.engine.write(lambda unit: self._changer.patch(unit, order))
        return _changed(changed, asked, has_location=False)

    async def _delete(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        order = _order_of(asked, permit, None)
        changed = await self._store.engine.write(lambda unit: self._changer.delete(unit, order))
        return _about(changed.status, changed.version)

    async def _validate(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        permit.check(asked.resource_type, "r")
        await self._prepared(asked)
        fine = Issue(code="informational", severity="information", text="the structure is valid")
        return pb.Outcome(status=200, body=operation_outcome([fine]))

    async def _order(self, asked: pb.Interaction, permit: Permit) -> Order:
        return _order_of(asked, permit, await self._prepared(asked))

    async def _prepared(self, asked: pb.Interaction) -> Prepared:
        prepare = self._store.prepare
        if len(asked.body) > LARGE_BYTES:
            return await asyncio.to_thread(prepare, asked.body, asked.resource_type, asked.base)
        return prepare(asked.body, asked.resource_type, asked.base)

    # ── many resources

    async def _search(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        store = self._store
        if asked.resource_type:
            permit.check(asked.resource_type, "s")
        pairs = [(one.name, one.value) for one in asked.parameters]
        question = self._question(asked)
        _confine(question, permit)
        asks = _asked_words(asked, pairs)
        after = store.cursors.read(asked.cursor, asks) if asked.cursor else None
        page, shown = await store.engine.read(
            lambda unit: self._found(unit, asked, question, permit, after)
        )
        return self._searchset(asked, question, page, shown, asks)

    def _question(self, asked: pb.Interaction) -> Question:
        limits = self._store.limits
        return read_question(
            asked.resource_type,
            [(one.name, one.value) for one in asked.parameters],
            self._store.parameters,
            is_strict=asked.is_strict,
            usual_count=limits.usual_count,
            max_count=limits.max_count,
        )

    async def _found(
        self,
        unit: Unit,
        asked: pb.Interaction,
        question: Question,
        permit: Permit,
        after: Place | None,
    ) -> tuple[Page, list[Shown]]:
        store = self._store
        conditions = Conditions(
            store.parameters, asked.base, store.clock.now_ms(), lambda name: permit.may(name, "s")
        )
        inside = permit.inside(question.resource_type) if question.resource_type else None
        where = where_of(question, conditions, inside, is_strict=asked.is_strict)
        page = await find_page(unit, question, where, after)
        included, is_cut = await find_includes(
            unit, question, page.matches, store.parameters, permit, store.limits.max_includes
        )
        if is_cut:
            question.warnings.append(
                Issue(
                    code="too-costly",
                    severity="warning",
                    text="not everything that was to be included fits",
                )
            )
        found = [(one, "match") for one in page.matches] + [(one, "include") for one in included]
        shown = [
            Shown(
                one, mode, subset(one.body, question.summary, question.elements, store.parameters)
            )
            for one, mode in found
        ]
        return page, shown

    def _searchset(
        self,
        asked: pb.Interaction,
        question: Question,
        page: Page,
        shown: list[Shown],
        asks: Sequence[str],
    ) -> pb.Outcome:
        cursor = self._store.cursors.write(page.after, asks) if page.after is not None else ""
        links = [("self", link(asked.base, asked.resource_type, question.used))]
        if cursor:
            pairs = [(one.name, one.value) for one in asked.parameters]
            links.append(
                ("next", link(asked.base, asked.resource_type, [*pairs, ("_cursor", cursor)]))
            )
        total = page.total if question.has_total or page.total >= 0 else -1
        body = searchset(
            shown, base=asked.base, total=total, links=links, warnings=question.warnings
        )
        return pb.Outcome(status=200, body=body, next_cursor=cursor)

    async def _history(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        store = self._store
        pairs = [(one.name, one.value) for one in asked.parameters]
        past = read_past(
            asked.resource_type,
            asked.id,
            pairs,
            is_strict=asked.is_strict,
            usual_count=store.limits.usual_count,
            max_count=store.limits.max_count,
        )
        _confine_past(past, permit)
        asks = _asked_words(asked, pairs)
        after = store.cursors.read(asked.cursor, asks) if asked.cursor else None

        async def work(unit: Unit) -> tuple[list[Version], int, Place | None]:
            if asked.id:
                newest = await store.repository.current(unit, asked.resource_type, asked.id)
                await _readable(unit, newest, permit)
            return await find_past(unit, past, after)

        versions, total, more = await store.engine.read(work)
        cursor = store.cursors.write(more, asks) if more is not None else ""
        path = "/".join(part for part in (asked.resource_type, asked.id, "_history") if part)
        links = [("self", link(asked.base, path, pairs))]
        if cursor:
            links.append(("next", link(asked.base, path, [*pairs, ("_cursor", cursor)])))
        body = history(versions, base=asked.base, total=total, links=links)
        return pb.Outcome(status=200, body=body, next_cursor=cursor)

    async def _transaction(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        store = self._store

        def read() -> Transaction:
            return read_transaction(
                asked.body,
                permit=permit,
                base=asked.base,
                max_entries=store.limits.max_entries,
                shows_resources=asked.prefer_return == pb.RETURN_REPRESENTATION,
            )

        transaction = await asyncio.to_thread(read) if len(asked.body) > LARGE_BYTES else read()
        for step in transaction.steps:
            store.check_type(step.resource_type)
        transactor = Transactor(
            changer=self._changer, look=lambda unit, step: self._look(unit, step, asked, permit)
        )
        body = await store.engine.write(lambda unit: transactor.run(unit, transaction))
        return pb.Outcome(status=200, body=body)

    async def _look(self, unit: Unit, step: Step, asked: pb.Interaction, permit: Permit) -> Read:
        """A GET inside of a transaction: it sees what the transaction has changed."""
        if step.id:
            permit.check(step.resource_type, "r")
            found = await self._store.repository.current(unit, step.resource_type, step.id)
            version = await _readable(unit, found, permit)
            if version.is_deleted:
                raise gone()
            return Read(200, version.body)
        permit.check(step.resource_type, "s")
        inner = pb.Interaction(
            kind=pb.KIND_SEARCH,
            resource_type=step.resource_type,
            base=asked.base,
            is_strict=asked.is_strict,
        )
        inner.parameters.extend(pb.Parameter(name=name, value=value) for name, value in step.pairs)
        question = self._question(inner)
        page, shown = await self._found(unit, inner, question, permit, None)
        return Read(200, self._searchset(inner, question, page, shown, []).body)

    async def _capabilities(self, asked: pb.Interaction, _permit: Permit) -> pb.Outcome:
        store = self._store
        body = capability_statement(
            store.parameters, store.types, base=asked.base, now_ms=store.clock.now_ms()
        )
        return pb.Outcome(status=200, body=body)


def _order_of(asked: pb.Interaction, permit: Permit, prepared: Prepared | None) -> Order:
    pairs = tuple((one.name, one.value) for one in asked.parameters)
    if asked.is_conditional and not pairs:
        raise invalid("the condition is empty", code="required")
    return Order(
        resource_type=asked.resource_type,
        id=asked.id,
        condition=pairs if asked.is_conditional else (),
        if_none_exist=tuple((one.name, one.value) for one in asked.if_none_exist),
        if_match=asked.if_match,
        if_none_match=asked.if_none_match,
        prepared=prepared,
        patch=asked.body if prepared is None else b"",
        patch_type=asked.body_type,
        permit=permit,
        base=asked.base,
    )


async def _readable(unit: Unit, version: Version | None, permit: Permit) -> Version:
    if version is None:
        raise not_found()
    if permit.patient:
        await check_inside(unit, permit, version)
    return version


def _confine(question: Question, permit: Permit) -> None:
    """A search over types needs the right to each, and none of it leaves a compartment."""
    if question.resource_type:
        return
    if permit.patient:
        raise Refusal(403, "forbidden", "a search over all types is not confined to a compartment")
    for name in question.types or ("*",):
        permit.check(name, "s")


def _confine_past(past: Past, permit: Permit) -> None:
    permit.check(past.resource_type or "*", "s" if not past.id else "r")
    if permit.patient and not past.id:
        raise Refusal(403, "forbidden", "the history of a type is not confined to a compartment")


def _asked_words(asked: pb.Interaction, pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [
        str(asked.kind),
        asked.resource_type,
        asked.id,
        asked.requester.compartment,
        *(f"{name}={value}" for name, value in pairs if name != "_count"),
    ]


def _about(status: int, version: Version) -> pb.Outcome:
    return pb.Outcome(
        status=status,
        resource_type=version.resource_type,
        id=version.id,
        version=str(version.version),
        last_modified_ms=version.updated_ms,
    )


def _changed(changed: Changed, asked: pb.Interaction, *, has_location: bool) -> pb.Outcome:
    outcome = _about(changed.status, changed.version)
    outcome.has_location = has_location
    if asked.prefer_return == pb.RETURN_OUTCOME:
        done = Issue(code="informational", severity="information", text="the change was made")
        outcome.body = operation_outcome([done])
    elif asked.prefer_return != pb.RETURN_MINIMAL:
        outcome.body = changed.version.body
    return outcome


__all__ = ["LARGE_BYTES", "Interactions", "Store"]
