"""The list of official rows and what became of each: `maps/std/coverage.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from maps_drafts import Draft, Left
from maps_official import MessageRow, Row, message_rows, rows

from adapters.hl7v2.mapping.layers import Layer
from adapters.hl7v2.mapping.loading import load_tables
from adapters.hl7v2.mapping.model import Tables

HEADER = ("document", "row", "part", "source", "target", "state", "reason", "digest")
DONE = "implemented"
LEFT_OUT = "left out"


def official_rows(official: Path) -> Iterator[Row]:
    """All rows of segments and data types that have a target."""
    yield from rows(official / "segments", is_datatype=False)
    yield from rows(official / "datatypes", is_datatype=True)


def named_rows(tables: Tables) -> set[str]:
    """What the rules of the tables name."""
    return {
        one
        for documents in (tables.segments, tables.datatypes)
        for document in documents.values()
        for rule in document.rules.values()
        for one in rule.ig
    }


def used_documents(tables: Tables) -> dict[str, set[str]]:
    """By message structure: the documents that fill its resources, without their variants' names."""
    found: dict[str, set[str]] = {}
    for message in tables.messages.values():
        names = {_base(name) for name in message.bundle}
        names |= {_base(use.document) for one in message.resources.values() for use in one.uses}
        for structure in (message.name, *message.structures):
            found.setdefault(structure, set()).update(names)
    return found


def _base(name: str) -> str:
    return name.partition("-")[0].rstrip("]")


def read_page(std: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The list as it is, by document, row and part."""
    path = std / "coverage.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as lines:
        return {(one["document"], one["row"], one["part"]): one for one in csv.DictReader(lines)}


def coverage_page(official: Path, std: Path, drafts: Sequence[Draft]) -> str:
    """The list anew: a row that a rule names is implemented, unless the list says that it is left out on purpose."""
    tables, old = load_tables([Layer.directory(std)]), read_page(std)
    named, used = named_rows(tables), used_documents(tables)
    left = {(one.name, *key): why for one in drafts for key, why in one.left.items()}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for row in official_rows(official):
        kept = _left_out(old, row.document, row.order, row.part)
        state, reason = kept or _state(row, named, left)
        writer.writerow(
            [row.document, row.order, row.part, row.source, row.target, state, reason, row.digest]
        )
    for one in message_rows(official / "messages"):
        kept = _left_out(old, one.document, one.order, one.part)
        state, reason = kept or _message_state(one, used)
        writer.writerow(
            [one.document, one.order, one.part, one.path, one.target, state, reason, ""]
        )
    return out.getvalue()


def _left_out(
    old: dict[tuple[str, str, str], dict[str, str]], document: str, order: str, part: int
) -> tuple[str, str] | None:
    known = old.get((document, order, str(part)))
    if known is None or known["state"] != LEFT_OUT:
        return None
    return known["state"], known["reason"]


def _state(row: Row, named: set[str], left: dict[tuple[str, str, int], Left]) -> tuple[str, str]:
    why = left.get((row.document, row.order, row.part))
    if row.key in named and not row.proposed:
        return DONE, ""
    if why is not None:
        return why.state, str(why)
    return "unsupported", "no rule carries it out"


def _message_state(row: MessageRow, used: dict[str, set[str]]) -> tuple[str, str]:
    if _base(row.map) in used.get(row.document, set()):
        return DONE, ""
    if row.narrative and not row.condition:
        return "narrative", row.narrative
    return "unsupported", "no resource of the message document is filled by it"


def compare(official: Path, std: Path) -> list[str]:
    """Official rows that the list does not have, or has otherwise; rows of the list that are gone."""
    old = read_page(std)
    found: list[str] = []
    seen = set()
    for row in official_rows(official):
        key = (row.document, row.order, str(row.part))
        seen.add(key)
        if key not in old:
            found.append(f"new: {row.key} ({row.part}): {row.source} -> {row.target}")
        elif old[key]["digest"] != row.digest:
            found.append(f"changed: {row.key} ({row.part}): {row.source} -> {row.target}")
    found += [
        f"gone: {document}/{row} ({part})"
        for (document, row, part), one in old.items()
        if one["digest"] and (document, row, part) not in seen
    ]
    return found


__all__ = ["HEADER", "compare", "coverage_page", "official_rows", "read_page"]
