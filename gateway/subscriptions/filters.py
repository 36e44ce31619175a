"""Whether a resource fits search parameters: the store's own conditions, on an index that holds one resource."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from adapters.fhir.store.conditions import Conditions
from adapters.fhir.store.extraction import extract
from adapters.fhir.store.matching import every
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.times import span_of
from schemas.fhir.release import Release
from schemas.fhir.searching import Parameters, parameters_of

Pairs = Sequence[tuple[str, str]]
MAX_FILTERS: Final = 20
_TABLES: Final = (
    "create table fhir_resource (rid, type, id, updated_ms, deleted)",
    "create table fhir_token (param, system, code, rid)",
    "create table fhir_string (param, folded, exact, rid)",
    "create table fhir_range (param, low, high, system, code, rid)",
)
_RESULTS: Final = frozenset({"_sort", "_count", "_include", "_revinclude", "_summary", "_elements"})


class Judge:
    """Looks at one resource of one release at a time. Belongs to one thread."""

    def __init__(self, release: str) -> None:
        self._parameters: Parameters = parameters_of(Release(release))
        self._index = sqlite3.connect(":memory:", isolation_level=None)
        for table in _TABLES:
            self._index.execute(table)
        self._held: tuple[dict[str, Any], str] | None = None

    def close(self) -> None:
        """Free the index."""
        self._index.close()

    def check(self, type_: str, pairs: Pairs, *, base: str) -> None:
        """Raises `adapters.fhir.store.refusals.Refusal` for what is no filter."""
        self._where(type_, pairs, base, 0)

    def look(self, resource: dict[str, Any], *, base: str) -> Looked:
        """The resource, ready for questions until the next `look`."""
        if self._held is not None and self._held[0] is resource and self._held[1] == base:
            return Looked(self, str(resource["resourceType"]), base)
        self._held = None
        index = self._index
        for table in ("fhir_resource", "fhir_token", "fhir_string", "fhir_range"):
            index.execute(f"delete from {table}")  # noqa: S608 - our own words
        rows = extract(resource, self._parameters, base=base)
        updated = span_of(str(resource.get("meta", {}).get("lastUpdated", "")))
        row = (1, resource["resourceType"], resource.get("id"), updated.low if updated else 0, 0)
        index.execute("insert into fhir_resource values (?, ?, ?, ?, ?)", row)
        index.executemany("insert into fhir_token values (?, ?, ?, 1)", rows.tokens)
        index.executemany("insert into fhir_string values (?, ?, ?, 1)", rows.texts)
        index.executemany("insert into fhir_range values (?, ?, ?, ?, ?, 1)", rows.ranges)
        self._held = resource, base
        return Looked(self, str(resource["resourceType"]), base)

    def fits(self, type_: str, pairs: Pairs, *, base: str, now_ms: int) -> bool:
        """Whether what was looked at fits all of them. Raises `Refusal`."""
        if not pairs:
            return True
        sql, arguments = self._where(type_, pairs, base, now_ms)
        found = self._index.execute(
            f"select 1 from fhir_resource r where {sql}",  # noqa: S608 - values travel as arguments
            arguments,
        )
        return found.fetchone() is not None

    def _where(
        self, type_: str, pairs: Pairs, base: str, now_ms: int
    ) -> tuple[str, tuple[Any, ...]]:
        if len(pairs) > MAX_FILTERS:
            raise Refusal(422, "too-costly", f"at most {MAX_FILTERS} parameters filter")
        conditions = Conditions(
            self._parameters, base, now_ms, lambda _type: False, lambda _type, _alias: None
        )
        found = []
        for name, value in pairs:
            if name.startswith("_has") or "." in name:
                raise invalid("a filter looks at the resource alone: no chains, no _has")
            if name in _RESULTS:
                raise invalid("a filter holds search parameters alone")
            found.append(conditions.condition(type_, name, value))
        whole = every(found)
        return whole.sql, whole.arguments


class Looked:
    """One resource in a judge's index."""

    __slots__ = ("_base", "_judge", "_type")

    def __init__(self, judge: Judge, type_: str, base: str) -> None:
        self._judge = judge
        self._type = type_
        self._base = base

    def fits(self, pairs: Pairs, *, now_ms: int) -> bool:
        """Whether it fits all of them."""
        return self._judge.fits(self._type, pairs, base=self._base, now_ms=now_ms)


def query_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Names and values of `a=b&c=d`. Raises `Refusal`."""
    try:
        return tuple(parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict"))
    except (ValueError, UnicodeError):
        raise invalid("a filter is written name=value&name=value") from None


__all__ = ["MAX_FILTERS", "Judge", "Looked", "Pairs", "query_pairs"]
