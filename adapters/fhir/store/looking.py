"""Answers that hold several resources: searches and histories, page by page."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.fhir.store.bundles import Shown, history, link, searchset
from adapters.fhir.store.changing import check_inside, gone
from adapters.fhir.store.conditions import Conditions
from adapters.fhir.store.cursors import Place
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.holdings import Store
from adapters.fhir.store.includes import find_includes
from adapters.fhir.store.past import Past, find_past, read_past
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.questions import Question, read_question
from adapters.fhir.store.refusals import Issue, Refusal, not_found
from adapters.fhir.store.repository import Version
from adapters.fhir.store.search import Page, find_page, planned, where_of
from adapters.fhir.store.steps import Step
from adapters.fhir.store.subsets import subset
from adapters.fhir.store.transacting import Read
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb


class Looking:
    """Searches and histories of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def search(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        """A page of a search. Raises `Refusal`."""
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
            store.parameters,
            asked.base,
            store.clock.now_ms(),
            lambda name: permit.may(name, "s"),
            permit.shown,
        )
        inside = permit.inside(question.resource_type) if question.resource_type else None
        found = where_of(question, conditions, inside, is_strict=asked.is_strict)
        plan = await planned(unit, found)
        page = await find_page(unit, question, plan, after)
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
        every_one = [(one, "match") for one in page.matches] + [
            (one, "include") for one in included
        ]
        shown = [
            Shown(
                one, mode, subset(one.body, question.summary, question.elements, store.parameters)
            )
            for one, mode in every_one
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

    async def history(self, asked: pb.Interaction, permit: Permit) -> pb.Outcome:
        """A page of a history. Raises `Refusal`."""
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
                await readable(unit, newest, permit)
            versions, total, more = await find_past(unit, past, after)
            return [one for one in versions if store.may_show(permit, one)], total, more

        versions, total, more = await store.engine.read(work)
        cursor = store.cursors.write(more, asks) if more is not None else ""
        path = "/".join(part for part in (asked.resource_type, asked.id, "_history") if part)
        links = [("self", link(asked.base, path, pairs))]
        if cursor:
            links.append(("next", link(asked.base, path, [*pairs, ("_cursor", cursor)])))
        body = history(versions, base=asked.base, total=total, links=links)
        return pb.Outcome(status=200, body=body, next_cursor=cursor)

    async def look(self, unit: Unit, step: Step, asked: pb.Interaction, permit: Permit) -> Read:
        """A GET inside of a transaction: it sees what the transaction has changed."""
        if step.id:
            permit.check(step.resource_type, "r")
            found = await self._store.repository.current(unit, step.resource_type, step.id)
            version = await readable(unit, found, permit)
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


async def readable(unit: Unit, version: Version | None, permit: Permit) -> Version:
    """A version that was found, and that the requester may see. Raises `Refusal` (404)."""
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


__all__ = ["Looking", "readable"]
