"""Code tables: CSV of `source,system,code,display,status`, layer over layer."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import Coded, CodeTable, Place, Unmapped
from adapters.hl7v2.mapping.reading import MAX_FILE_BYTES

HEADER: Final = ("source", "system", "code", "display", "status")
MAX_ROWS: Final = 100_000
_OTHERS: Final = "*"
_OMIT: Final = Coded(system="", code="", display="", omit=True)


class CodeTableBuilder:
    """One table, filled by layer."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rows: dict[str, Coded] = {}
        self._unmapped = Unmapped.KEEP
        self._fallback: Coded | None = None

    def add(self, raw: bytes, place: Place) -> None:
        """Lay a layer's file over what is there. Raises `TablesError`."""
        seen: set[str] = set()
        for number, row in _rows(raw, place):
            where = f"{place}: line {number}"
            source = row[0]
            if source in seen:
                raise TablesError(f"{where}: the source {source!r} stands twice")
            seen.add(source)
            if source == _OTHERS:
                self._others(row, where)
            else:
                self._row(row, where)

    def build(self) -> CodeTable:
        """The table of all layers so far."""
        return CodeTable(
            name=self._name, rows=self._rows, unmapped=self._unmapped, fallback=self._fallback
        )

    def _others(self, row: list[str], where: str) -> None:
        _, system, code, display, status = row
        try:
            self._unmapped = Unmapped(status)
        except ValueError:
            allowed = ", ".join(one.value for one in Unmapped)
            raise TablesError(f"{where}: status: {status!r}; one of {allowed}") from None
        self._fallback = None
        if self._unmapped is Unmapped.USE:
            if not code:
                raise TablesError(f"{where}: code: empty; 'use' needs the code to use")
            self._fallback = Coded(system=system, code=code, display=display)

    def _row(self, row: list[str], where: str) -> None:
        source, system, code, display, status = row
        if status == "disabled":
            if source not in self._rows:
                hint = nearest(source, self._rows)
                raise TablesError(f"{where}: no earlier layer has the source {source!r}{hint}")
            del self._rows[source]
        elif status == "omit":
            self._rows[source] = _OMIT
        elif status:
            raise TablesError(f"{where}: status: {status!r}; empty, disabled or omit is expected")
        elif not code:
            raise TablesError(f"{where}: code: empty; give one, or the status omit")
        else:
            self._rows[source] = Coded(system=system, code=code, display=display)


def _rows(raw: bytes, place: Place) -> Iterable[tuple[int, list[str]]]:
    if len(raw) > MAX_FILE_BYTES:
        raise TablesError(f"{place}: {len(raw)} bytes; {MAX_FILE_BYTES} are allowed")
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        header = tuple(cell.strip() for cell in next(reader, []))
        if header != HEADER:
            raise TablesError(f"{place}: line 1: {header!r:.120}; the header is {','.join(HEADER)}")
        for row in reader:
            if not row:
                continue
            if reader.line_num > MAX_ROWS:
                raise TablesError(f"{place}: more than {MAX_ROWS} lines")
            if len(row) != len(HEADER) or not row[0].strip():
                raise TablesError(
                    f"{place}: line {reader.line_num}: {len(row)} cells; "
                    f"{len(HEADER)} are expected, the first with a value"
                )
            yield reader.line_num, [cell.strip() for cell in row]
    except (csv.Error, UnicodeDecodeError) as err:
        raise TablesError(f"{place}: no CSV in UTF-8: {err}") from None


__all__ = ["HEADER", "CodeTableBuilder"]
