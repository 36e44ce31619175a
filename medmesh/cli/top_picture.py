"""How `medmesh top` shows a site: tables for a terminal, a document for machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from medmesh.overview import Overview

_TABLES = 4
_FRAME_LINES = 4
"""Of each table: title, head and two rules."""
_HEADING_LINES = 2
_LEAST_ROWS = 2


def fields(overview: Overview) -> dict[str, object]:
    """The document of `--json`."""
    return {
        "site": overview.site,
        "at": _time(overview.at_ms),
        "events_per_s": round(overview.per_s, 2),
        "events_stored": overview.stored,
        "subjects": [asdict(one) for one in overview.subjects],
        "services": [asdict(one) for one in overview.services],
        "consumers": [asdict(one) for one in overview.consumers],
        "dead_letters": dict(overview.dead_letters),
    }


def rows_within(lines: int) -> int:
    """Rows of each table that fit on a terminal of so many lines."""
    return max(_LEAST_ROWS, (lines - _HEADING_LINES) // _TABLES - _FRAME_LINES)


def picture(overview: Overview | None, *, rows: int, trouble: str = "") -> Group:
    """The tables, each with its first `rows`; `trouble` is the code of why they are not new."""
    warning = [Text(f"no answer from the site: {trouble}", style="bold red")] if trouble else []
    if overview is None:
        return Group(*warning)
    heading = Text(
        f"{overview.site}  {_time(overview.at_ms)}  {overview.per_s:.1f} events/s  "
        f"{overview.stored} stored  {sum(overview.dead_letters.values())} dead letters   q leaves",
        style="bold",
    )
    tables = (_subjects(overview), _services(overview), _consumers(overview), _dead(overview))
    return Group(*warning, heading, *(_table(title, *one, rows=rows) for title, one in tables))


_Cells = tuple[str, ...]
_Drawn = tuple[str, tuple[_Cells, Sequence[tuple[_Cells, bool]]]]
"""A title, the columns, and each row with whether it is odd."""


def _subjects(overview: Overview) -> _Drawn:
    rows = [
        ((one.subject, f"{one.per_s:.1f}", str(one.stored)), False) for one in overview.subjects
    ]
    return "Subjects", (("subject", "events/s", "stored"), rows)


def _services(overview: Overview) -> _Drawn:
    rows = [
        (
            (
                one.service, one.instance, " ".join(filter(None, (one.health, one.reason))),
                f"{one.in_flight}/{one.limit or '?'}", f"{one.per_s:.1f}",
                "-" if one.p99_ms is None else f"{one.p99_ms:.2f}",
            ),
            one.health != "healthy",
        )
        for one in overview.services
    ]  # fmt: skip
    return "Services", (("service", "instance", "health", "in work", "calls/s", "p99 ms"), rows)


def _consumers(overview: Overview) -> _Drawn:
    rows = [
        ((one.name, one.kind, str(one.waiting), str(one.in_hand), _age(one.oldest_s)), False)
        for one in overview.consumers
    ]
    return "Consumers", (("consumer", "kind", "waiting", "in hand", "oldest"), rows)


def _dead(overview: Overview) -> _Drawn:
    rows = [((name, str(count)), True) for name, count in overview.dead_letters.items()]
    return "Dead letters", (("consumer", "dead letters"), rows)


def _table(
    title: str, columns: _Cells, found: Sequence[tuple[_Cells, bool]], *, rows: int
) -> Table:
    more = f" (the first {rows} of {len(found)})" if len(found) > rows else ""
    table = Table(title=f"{title}{more}", title_justify="left", expand=True)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for cells, is_odd in found[:rows]:
        # names come from other programs: Text, so that rich reads no markup in them
        table.add_row(*_texts(cells), style="red" if is_odd else "")
    return table


def _texts(cells: Iterable[str]) -> list[Text]:
    return [Text("".join(char if char.isprintable() else "?" for char in cell)) for cell in cells]


def _age(seconds: float) -> str:
    if not seconds:
        return "-"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


__all__ = ["fields", "picture", "rows_within"]
