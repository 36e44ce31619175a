"""`medmesh watch`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import (
    config_option,
    emit,
    errors_in_words,
    json_option,
    run,
    set_option,
)

if TYPE_CHECKING:
    from rich.table import Table

    from medmesh.config import Configuration
    from medmesh.watching import Sighting, Totals

_REFRESH_S = 0.5
_SUBJECTS_SHOWN = 30


@click.command("watch")
@click.argument("pattern", default="evt.>")
@config_option
@set_option
@json_option
@click.option("--once", "count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long.")
def command(
    pattern: str,
    config_file: Path | None,
    flags: tuple[str, ...],
    count: int | None,
    seconds: float | None,
    *,
    as_json: bool,
) -> None:
    """Show live what passes on subjects that match PATTERN (default evt.>): rates, senders, sizes, types.

    Reads the outside of envelopes only: nothing is opened. What is odd is marked: no envelope, an unknown sender, a
    sender that may not publish the subject, an envelope sealed for another subject. Receivers refuse all of these.
    """
    from medmesh.config import load
    from schemas import subjects

    with errors_in_words(as_json=as_json):
        subjects.pattern(pattern)
        configuration = load(config_file, flags=flags)
    run(lambda: _watch(configuration, pattern, count, seconds, as_json=as_json), as_json=as_json)


async def _watch(
    configuration: Configuration,
    pattern: str,
    count: int | None,
    seconds: float | None,
    *,
    as_json: bool,
) -> None:
    from bus.clock import SystemClock
    from bus.transport.protocol import Incoming
    from medmesh.cli.guest import visiting
    from medmesh.watching import Totals, look

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    totals = Totals(SystemClock())
    show: Callable[[Sighting], None] = _as_json if as_json else _as_line
    drawn = not as_json and sys.stdout.isatty()
    async with visiting(configuration, "watch") as connection:

        def seen(message: Incoming) -> None:
            if ended.is_set():
                return
            sighting = look(message, connection.trust.directory)
            totals.add(sighting)
            if not drawn:
                show(sighting)
            if count is not None and totals.messages >= count:
                ended.set()

        subscription = await connection.transport.messenger.subscribe(pattern, seen)
        if as_json:
            emit({"event": "watching", "pattern": pattern, "server": connection.server})
        elif not drawn:
            click.echo(f"watching {pattern} on {connection.server}", err=True)
        try:
            async with asyncio.timeout(seconds):
                await (_draw(totals, ended) if drawn else ended.wait())
        except TimeoutError:
            pass
        finally:
            await subscription.close()
    summary = {
        "event": "summary",
        "messages": totals.messages,
        "bytes": totals.bytes,
        "odd": dict(totals.marks),
    }
    if as_json:
        emit(summary)
    else:
        click.echo(
            f"{totals.messages} messages, {totals.bytes} bytes, odd: {totals.marks.total()}",
            err=True,
        )


def _as_json(sighting: Sighting) -> None:
    emit(
        {
            "event": "message",
            "subject": sighting.subject,
            "type": sighting.type,
            "size": sighting.size,
            "sender": sighting.sender,
            "mark": sighting.mark.value,
            "suite": sighting.suite,
            "batch": sighting.batch,
        }
    )


def _as_line(sighting: Sighting) -> None:
    mark = f"  !! {sighting.mark.value}" if sighting.mark.value else ""
    click.echo(
        f"{sighting.subject:40} {sighting.type:20} {sighting.size:>9} bytes  {sighting.sender}{mark}"
    )


async def _draw(totals: Totals, ended: asyncio.Event) -> None:
    from rich.live import Live

    with Live(_table(totals), refresh_per_second=4) as live:
        while not ended.is_set():
            try:
                async with asyncio.timeout(_REFRESH_S):
                    await ended.wait()
            except TimeoutError:
                live.update(_table(totals))
        live.update(_table(totals))


def _table(totals: Totals) -> Table:
    from rich.table import Table

    table = Table("subject", "messages/s", "messages", "mean bytes", "sender", "odd", expand=True)
    busiest = sorted(totals.subjects.items(), key=lambda item: -item[1].messages)
    for name, one in busiest[:_SUBJECTS_SHOWN]:
        table.add_row(
            name,
            f"{totals.rate(name):.1f}",
            str(one.messages),
            str(one.bytes // max(1, one.messages)),
            one.last_sender,
            str(one.marked or ""),
        )
    return table
