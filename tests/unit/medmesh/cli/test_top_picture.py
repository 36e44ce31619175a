"""`medmesh top` shows what there is on the lines there are, and is not led astray by names."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from medmesh.cli.top_picture import fields, picture, rows_within
from medmesh.overview import ConsumerRow, Overview, ServiceRow, SubjectRow


def overview(*, subjects: int = 1, service: str = "pharmacy") -> Overview:
    return Overview(
        site="north",
        at_ms=1_800_000_000_000,
        per_s=12.25,
        stored=40,
        subjects=tuple(
            SubjectRow(subject=f"evt.north.raw.kind{n}", stored=40, per_s=12.25)
            for n in range(subjects)
        ),
        services=(
            ServiceRow(
                service=service, instance="a1", health="suspect", reason="heartbeat_late",
                in_flight=3, limit=0, per_s=2.0, p99_ms=1.234,
            ),
        ),
        consumers=(ConsumerRow(name="his-out", kind="adapter", waiting=7, in_hand=1, oldest_s=300),),
        dead_letters={"his-out": 2},
    )  # fmt: skip


def drawn(found: Overview | None, *, rows: int = 5, trouble: str = "", **options: object) -> str:
    console = Console(file=io.StringIO(), width=120, height=40, **options)  # type: ignore[arg-type]
    console.print(picture(found, rows=rows, trouble=trouble))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_rates_health_queues_and_dead_letters_are_shown() -> None:
    text = drawn(overview())

    for word in (
        "12.2 events/s", "2 dead letters", "suspect heartbeat_late", "3/?", "1.23", "his-out",
        "7", "5 min",
    ):  # fmt: skip
        assert word in text


def test_what_does_not_fit_is_counted() -> None:
    text = drawn(overview(subjects=9), rows=4)

    assert "(the first 4 of 9)" in text
    assert "kind3" in text
    assert "kind4" not in text


def test_everything_fits_on_the_terminal() -> None:
    for lines in (30, 50, 100):
        rows = rows_within(lines)
        text = drawn(overview(subjects=500), rows=rows)
        assert len(text.splitlines()) <= lines


def test_a_site_that_does_not_answer_is_said_and_the_last_figures_stay() -> None:
    assert "no answer from the site: unavailable" in drawn(None, trouble="unavailable")
    assert "his-out" in drawn(overview(), trouble="unavailable")


def test_names_of_others_are_neither_markup_nor_control_sequences() -> None:
    text = drawn(overview(service="[red]x\x1b[2J"))

    assert "[red]x?[2J" in text
    assert "\x1b" not in text


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31m" in drawn(overview(), force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in drawn(overview(), force_terminal=True, color_system="standard")


def test_the_document_is_json() -> None:
    told = json.loads(json.dumps(fields(overview())))

    assert told["events_per_s"] == 12.25
    assert told["services"][0]["p99_ms"] == 1.234
    assert told["dead_letters"] == {"his-out": 2}
