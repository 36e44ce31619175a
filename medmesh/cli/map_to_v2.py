"""`medmesh map --to hl7v2`: HL7 v2 messages from FHIR JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import Exit, emit, errors_in_words, finish

if TYPE_CHECKING:
    from adapters.hl7v2.mapping import Issue
    from adapters.hl7v2.reverse import Written
    from medmesh.mapping_to_v2 import TakenResource

_SHOWN = 20


def run_to_v2(
    paths: tuple[Path, ...], layers: tuple[str, ...], settings: dict[str, str], *, as_json: bool
) -> None:
    """Write a message for each bundle or resource; exit codes as those of the other direction."""
    from bus.clock import SystemClock
    from medmesh.mapping import files_of
    from medmesh.mapping_to_v2 import context_of, resources_of, writer_of

    failed = written_count = 0
    with errors_in_words(as_json=as_json):
        writer = writer_of(layers)
        now = datetime.fromtimestamp(SystemClock().now_ms() // 1000, tz=UTC)
        for file in files_of(paths):
            try:
                every = list(resources_of(file))
            except OSError as error:
                raise click.FileError(str(file), error.strerror or "cannot be read") from None
            for taken in every:
                written = (
                    None
                    if taken.error
                    else writer.write(taken.value, context_of(taken, settings, now))
                )
                is_there = written is not None and not written.failed
                written_count += is_there
                failed += not is_there
                _print(taken, written, as_json=as_json)
    if failed:
        click.echo(f"{failed} of {failed + written_count} could not be written", err=True)
        finish(Exit.PARTIAL if written_count else Exit.FAILURE)


def _print(taken: TakenResource, written: Written | None, *, as_json: bool) -> None:
    if written is None:
        if as_json:
            emit({"file": taken.name, "error": taken.error})
        click.echo(f"{taken.name}: {taken.error}", err=True)
        return
    if as_json:
        raw = written.message
        emit(
            {
                "file": taken.name,
                "type": written.message_type,
                "tables": written.tables,
                "issues": [_plain(one) for one in written.issues],
                "result": raw.decode("utf-8", "backslashreplace") if raw else None,
            }
        )
        return
    if written.message:
        end = b"\n" if not sys.stdout.isatty() else b""
        shown = written.message if end else written.message.replace(b"\r", b"\n")
        click.echo(shown + end, nl=False)
    _tell(taken, written)


def _tell(taken: TakenResource, written: Written) -> None:
    loud = [one for one in written.issues if one.severity.value != "information"]
    for one in loud[:_SHOWN]:
        words = f"{one.severity.value}: {one.code.value} {one.where} {one.detail}".rstrip()
        click.echo(f"{taken.name}: {words}", err=True)
    quiet = len(written.issues) - len(loud)
    words_left = [f"{quiet} elements are in no field"] if quiet else []
    if len(loud) > _SHOWN:
        words_left.append(f"{len(loud) - _SHOWN} more issues")
    if words_left:
        click.echo(f"{taken.name}: {'; '.join(words_left)} (--json lists them)", err=True)


def _plain(issue: Issue) -> dict[str, object]:
    return {**asdict(issue), "severity": issue.severity.value, "code": issue.code.value}


__all__ = ["run_to_v2"]
