"""Carries out a search: one page of matches by key (never by offset), their includes, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.fhir.store.conditions import Conditions, UnknownParameter
from adapters.fhir.store.cursors import Key, Place
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.matching import Condition, every
from adapters.fhir.store.questions import Question, Sort, Summary, ignored
from adapters.fhir.store.repository import Version, version_of
from bus.transactions.database import Dialect, Row, Value, number, places
from schemas.fhir.searching import Kind

_FEW: Final = 2000
"""Rows up to which an index is asked for all that fit."""
AT_ONCE: Final = 300
"""Rows that one statement names."""
_BY_ROWS: Final = (
    "select r.rid, r.type, r.id, v.version, v.updated_ms, v.method, v.body from fhir_resource r"
    " join fhir_version v on v.rid = r.rid and v.version = r.version where r.deleted = 0 and r.rid in"
)
_LAST_TEXT: Final = "\U0010ffff"
_FAR: Final = 1e308
_SORTED_BY: Final = {
    Kind.STRING: ("fhir_string", "folded", "folded"),
    Kind.TOKEN: ("fhir_token", "code", "code"),
    Kind.REFERENCE: ("fhir_token", "code", "code"),
    Kind.URI: ("fhir_token", "code", "code"),
    Kind.DATE: ("fhir_range", "low", "high"),
    Kind.NUMBER: ("fhir_range", "low", "high"),
    Kind.QUANTITY: ("fhir_range", "low", "high"),
}
_RANGES: Final = frozenset({Kind.DATE, Kind.NUMBER, Kind.QUANTITY})


@dataclass(slots=True)
class Page:
    """One page of a search."""

    matches: list[Version] = field(default_factory=list)
    total: int = -1
    after: Place | None = None
    """Where the next page begins; None where there is none."""


def where_of(
    question: Question, conditions: Conditions, inside: Condition | None, *, is_strict: bool
) -> list[Condition]:
    """All conditions of a question on `r`. `inside`: what the requester is confined to. Raises `Refusal`."""
    found = [_types(question)]
    if inside is not None:
        found.append(inside)
    for name, value in question.conditions:
        try:
            found.append(conditions.condition(question.resource_type or "Resource", name, value))
        except UnknownParameter as unknown:
            if is_strict:
                raise
            question.warnings.append(ignored(unknown))
            question.used.remove((name, value))
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A search's conditions as one, in the two forms that suit what is done with it."""

    whole: Condition
    """For what looks at every match: to count them, or to sort."""
    first: Condition
    """For what stops after the first matches."""


async def planned(unit: Unit, conditions: Sequence[Condition]) -> Plan:
    """Ask an index for all of its rows that fit, or row by row: SQLite keeps no statistics of values to decide by."""
    if unit.dialect is not Dialect.SQLITE:
        joined = every(conditions)
        return Plan(joined, joined)
    are_few = [await _has_few(unit, one) for one in conditions]
    by_row = [
        one if few or not one.for_each else one._replace(sql=one.for_each)
        for one, few in zip(conditions, are_few, strict=True)
    ]
    is_narrow = any(few for one, few in zip(conditions, are_few, strict=True) if one.rows)
    return Plan(every(by_row if is_narrow else conditions), every(by_row))


async def _has_few(unit: Unit, condition: Condition) -> bool:
    if not condition.rows or condition.is_negative:
        return False
    sql = f"select count(*) from (select 1 from {condition.rows} limit {_FEW})"  # noqa: S608 - our own words
    return number((await unit.fetch(sql, condition.arguments))[0][0]) < _FEW


def _types(question: Question) -> Condition:
    if question.resource_type:
        return Condition("r.type = ? and r.deleted = 0", (question.resource_type,))
    if question.types:
        return Condition(
            f"r.type in ({places(len(question.types))}) and r.deleted = 0", question.types
        )
    return Condition("r.deleted = 0")


async def find_page(unit: Unit, question: Question, plan: Plan, after: Place | None) -> Page:
    """The page behind `after`, with the total of the first one."""
    total = after.total if after is not None else -1
    if after is None and (question.has_total or question.summary is Summary.COUNT):
        total = await count(unit, plan.whole)
    if question.summary is Summary.COUNT:
        return Page(total=total)
    where = plan.whole if question.sorts else plan.first
    rows = await _page_rows(unit, question, where, after)
    shown = rows[: question.count]
    ordered = [number(row[0]) for row in shown]
    found = {one.rid: one for one in await by_rows(unit, ordered)}
    more = None
    if len(rows) > len(shown):
        keys: list[Key] = [_key(value) for value in shown[-1][1:]]
        more = Place(row=ordered[-1], keys=keys, total=total)
    return Page([found[rid] for rid in ordered if rid in found], total, more)


async def count(unit: Unit, where: Condition) -> int:
    """How many resources there are."""
    sql = f"select count(*) from fhir_resource r where {where.sql}"  # noqa: S608 - our own words
    return number((await unit.fetch(sql, where.arguments))[0][0])


async def find_rids(unit: Unit, where: Condition, limit: int) -> list[int]:
    """The first rows that fit."""
    sql = f"select r.rid from fhir_resource r where {where.sql} order by r.rid limit {limit}"  # noqa: S608
    return [number(row[0]) for row in await unit.fetch(sql, where.arguments)]


async def by_rows(unit: Unit, rids: Sequence[int]) -> list[Version]:
    """The newest versions of rows that are not deleted."""
    found: list[Version] = []
    for start in range(0, len(rids), AT_ONCE):
        part = rids[start : start + AT_ONCE]
        found += map(version_of, await unit.fetch(f"{_BY_ROWS} ({places(len(part))})", part))
    return found


async def _page_rows(
    unit: Unit, question: Question, where: Condition, after: Place | None
) -> list[Row]:
    limit = question.count + 1
    if not question.sorts:
        beyond = Condition(" and r.rid > ?", (after.row,)) if after is not None else Condition("")
        sql = f"select r.rid from fhir_resource r where {where.sql}{beyond.sql} order by r.rid limit {limit}"  # noqa: S608
        return await unit.fetch(sql, (*where.arguments, *beyond.arguments))
    keys = [_sort_key(sort) for sort in question.sorts]
    columns = ", ".join(f"{key.sql} as k{place}" for place, key in enumerate(keys))
    beyond = _beyond(question.sorts, after) if after is not None else Condition("1 = 1")
    order = ", ".join(
        f"k{place} {'desc' if sort.is_descending else 'asc'}"
        for place, sort in enumerate(question.sorts)
    )
    names = ", ".join(f"k{place}" for place in range(len(keys)))
    sql = (
        f"select rid, {names} from (select r.rid as rid, {columns} from fhir_resource r where {where.sql}) s"  # noqa: S608
        f" where {beyond.sql} order by {order}, rid limit {limit}"
    )
    arguments = [argument for key in keys for argument in key.arguments]
    return await unit.fetch(sql, (*arguments, *where.arguments, *beyond.arguments))


def _sort_key(sort: Sort) -> Condition:
    """What a row is sorted by; what lacks it comes last in either direction."""
    if sort.parameter is None:
        return Condition("r.id" if sort.code == "_id" else "r.updated_ms")
    kind = sort.parameter.kind
    table, low, high = _SORTED_BY[kind]
    pick = f"max({high})" if sort.is_descending else f"min({low})"
    if kind in _RANGES:
        last: str | float = -_FAR if sort.is_descending else _FAR
    else:
        last = "" if sort.is_descending else _LAST_TEXT
    return Condition(
        f"coalesce((select {pick} from {table} k where k.rid = r.rid and k.param = ?), ?)",  # noqa: S608
        (sort.parameter.key, last),
    )


def _beyond(sorts: Sequence[Sort], after: Place) -> Condition:
    """Behind a row in the order of several keys."""
    sql, arguments = "rid > ?", [after.row]
    result: list[Value] = list(arguments)
    for place in range(len(sorts) - 1, -1, -1):
        sign = "<" if sorts[place].is_descending else ">"
        sql = f"(k{place} {sign} ? or (k{place} = ? and {sql}))"
        key = after.keys[place] if place < len(after.keys) else ""
        result = [key, key, *result]
    return Condition(sql, tuple(result))


def _key(value: Value) -> Key:
    return value if isinstance(value, str | int | float) else ""


__all__ = [
    "AT_ONCE",
    "Page",
    "Plan",
    "by_rows",
    "count",
    "find_page",
    "find_rids",
    "planned",
    "where_of",
]
