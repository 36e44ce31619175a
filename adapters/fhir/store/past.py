"""History: versions of a resource, a type or everything, newest first, by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adapters.fhir.store.conditions import UnknownParameter
from adapters.fhir.store.cursors import Place
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.matching import Condition, every
from adapters.fhir.store.refusals import invalid
from adapters.fhir.store.repository import Version, version_of
from adapters.fhir.store.times import span_of
from bus.transactions.database import number

_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Past:
    """What of the history is asked for."""

    resource_type: str
    id: str
    count: int
    since_ms: int


def read_past(
    resource_type: str,
    id: str,
    pairs: Sequence[tuple[str, str]],
    *,
    is_strict: bool,
    usual_count: int,
    max_count: int,
) -> Past:
    """`_count` and `_since`. Raises `Refusal`."""
    count, since_ms = usual_count, 0
    for name, value in pairs:
        if name == "_count":
            if not value.isascii() or not value.isdigit() or len(value) > _DIGITS:
                raise invalid("_count is a whole number", expression="http._count", code="value")
            count = min(int(value), max_count)
        elif name == "_since":
            span = span_of(value)
            if span is None:
                raise invalid("_since is an instant", expression="http._since", code="value")
            since_ms = span.low
        elif is_strict:
            raise UnknownParameter(name)
    return Past(resource_type, id, count, since_ms)


async def find_past(
    unit: Unit, past: Past, after: Place | None
) -> tuple[list[Version], int, Place | None]:
    """A page, how many there are, and where the next page begins."""
    where = every(_conditions(past))
    source = "from fhir_version v join fhir_resource r on r.rid = v.rid"
    if after is None:
        counted = await unit.fetch(f"select count(*) {source} where {where.sql}", where.arguments)
        total = number(counted[0][0])
    else:
        total = after.total
    if not past.count:
        return [], total, None
    beyond = Condition("v.seq < ?", (after.row,)) if after is not None else Condition("1 = 1")
    sql = (
        f"select v.seq, r.rid, r.type, r.id, v.version, v.updated_ms, v.method, v.body {source}"
        f" where {where.sql} and {beyond.sql} order by v.seq desc limit {past.count + 1}"
    )
    rows = await unit.fetch(sql, (*where.arguments, *beyond.arguments))
    shown = rows[: past.count]
    more = Place(row=number(shown[-1][0]), total=total) if len(rows) > len(shown) else None
    return [version_of(row[1:]) for row in shown], total, more


def _conditions(past: Past) -> list[Condition]:
    found = []
    if past.resource_type:
        found.append(Condition("r.type = ?", (past.resource_type,)))
    if past.id:
        found.append(Condition("r.id = ?", (past.id,)))
    if past.since_ms:
        found.append(Condition("v.updated_ms >= ?", (past.since_ms,)))
    return found


__all__ = ["Past", "find_past", "read_past"]
