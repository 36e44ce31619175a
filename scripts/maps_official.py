"""The official v2-to-FHIR tables as rows: CSV sheets made for people, read with their irregularities."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(?:R4|Map)_ (?P<name>.+?) - [^-]+\.csv\Z")
_HEAD_ROWS = 2
_COLUMNS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row that has a target: a mapping that the guide asks for."""

    document: str
    """`PID[Patient]`."""
    is_datatype: bool
    order: str
    """Its sort order, as written."""
    part: int
    """Its number among the rows of the same order, from 1."""
    source: str
    """`PID-5`, `CX.1`; empty for rows about the whole segment."""
    v2_type: str
    repeats: bool
    target: str
    """The FHIR path, as written; empty when the guide only says that an extension is missing."""
    proposed: str
    """An extension that the guide wishes for and nobody defined."""
    fhir_type: str
    map: str
    table: str
    assigned: str
    condition: str
    fhirpath: str
    narrative: str

    @property
    def key(self) -> str:
        """What `ig` names: table and sort order."""
        return f"{self.document}/{self.order}"

    @property
    def digest(self) -> str:
        """Changes with whatever the mapping depends on."""
        texts = (self.source, self.target, self.proposed, self.fhir_type, self.map, self.table)
        more = (self.assigned, self.condition, self.fhirpath, self.narrative)
        return hashlib.sha256("\0".join((*texts, *more)).encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """One row of a message sheet that names a target."""

    document: str
    order: str
    part: int
    path: str
    target: str
    map: str
    condition: str
    narrative: str
    references: str


def documents(folder: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Name and rows (heads left out) of every sheet of a folder."""
    for file in sorted(folder.glob("*.csv")):
        found = _NAME.search(file.name)
        if found is None:
            continue
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [[" ".join(cell.split()) for cell in row] for row in csv.reader(lines)]
        yield (
            found["name"],
            [row + [""] * (_COLUMNS + 2 - len(row)) for row in rows[_HEAD_ROWS:]],
        )


def rows(folder: Path, *, is_datatype: bool) -> Iterator[Row]:
    """The rows with a target of all sheets of segments or data types."""
    for name, sheet in documents(folder):
        counts: dict[str, int] = {}
        before = ""
        for cells in sheet:
            if not (cells[9] or cells[10]):
                continue
            order = before = cells[0].removesuffix(".00.00").lstrip("0") or (
                "0" if cells[0] or not cells[1] else before
            )
            counts[order] = counts.get(order, 0) + 1
            yield Row(
                document=name,
                is_datatype=is_datatype,
                order=order,
                part=counts[order],
                source=cells[1],
                v2_type=cells[3],
                repeats=cells[5] not in ("1", ""),
                target=cells[9],
                proposed=cells[10],
                fhir_type=cells[11],
                map=cells[14],
                table=cells[15],
                assigned=cells[16],
                condition=cells[6],
                fhirpath=cells[7],
                narrative=cells[8],
            )


def message_rows(folder: Path) -> Iterator[MessageRow]:
    """The rows with a target of all message sheets."""
    for name, sheet in documents(folder):
        counts: dict[str, int] = {}
        for cells in sheet:
            if not cells[9]:
                continue
            order = cells[0]
            counts[order] = counts.get(order, 0) + 1
            yield MessageRow(
                document=name,
                order=order,
                part=counts[order],
                path=cells[1],
                target=cells[9],
                map=cells[10],
                condition=cells[6],
                narrative=cells[8],
                references=cells[11],
            )


def code_tables(folder: Path) -> Iterator[tuple[str, list[tuple[str, str, str, str, str]]]]:
    """Name and rows of every concept map: code, its table, target system, target code, display."""
    for file in sorted(folder.glob("*.csv")):
        found = _NAME.search(file.name)
        if found is None:
            continue
        with file.open(encoding="utf-8-sig", newline="") as lines:
            sheet = [[cell.strip() for cell in row] for row in csv.reader(lines)]
        head = sheet[1]
        code, shown, system = (
            head.index("Code", 1),
            head.index("Display"),
            head.index("Code System", 3),
        )
        yield (
            found["name"],
            [
                (row[0], row[2], row[system].strip(), row[code], row[shown] or row[1])
                for row in (one + [""] * (len(head) - len(one)) for one in sheet[_HEAD_ROWS:])
                if row[0]
            ],
        )


__all__ = ["MessageRow", "Row", "code_tables", "documents", "message_rows", "rows"]
