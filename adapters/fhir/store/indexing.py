"""Writes and removes the rows by which a resource is found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from adapters.fhir.store.engine import Unit
from adapters.fhir.store.extraction import Rows
from bus.transactions.database import Value

TABLES: Final = ("fhir_token", "fhir_string", "fhir_range")
_AT_ONCE: Final = 64
_COLUMNS: Final = {
    "fhir_token": ("param", "system", "code", "rid"),
    "fhir_string": ("param", "folded", "exact", "rid"),
    "fhir_range": ("param", "low", "high", "system", "code", "rid"),
}


async def write_rows(unit: Unit, rid: int, rows: Rows) -> None:
    """Add the rows of a resource that has none."""
    found: dict[str, Sequence[tuple[Value, ...]]] = {
        "fhir_token": list(rows.tokens),
        "fhir_string": list(rows.texts),
        "fhir_range": list(rows.ranges),
    }
    for table, all_rows in found.items():
        for start in range(0, len(all_rows), _AT_ONCE):
            part = all_rows[start : start + _AT_ONCE]
            values = [value for row in part for value in (*row, rid)]
            await unit.execute(_insert(table, len(part)), values)


async def forget_rows(unit: Unit, rid: int) -> None:
    """Remove every row of a resource."""
    for table in TABLES:
        await unit.execute(f"delete from {table} where rid = ?", (rid,))  # noqa: S608 - our own names


@lru_cache(maxsize=256)
def _insert(table: str, count: int) -> str:
    columns = _COLUMNS[table]
    row = f"({', '.join('?' * len(columns))})"
    return f"insert into {table} ({', '.join(columns)}) values {', '.join([row] * count)}"  # noqa: S608


__all__ = ["TABLES", "forget_rows", "write_rows"]
