"""`medmesh up`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import (
    Exit,
    config_option,
    emit,
    errors_in_words,
    json_option,
    run,
    set_option,
)

if TYPE_CHECKING:
    from medmesh.config import Configuration
    from medmesh.runtime import RuntimeEvent

_SECOND_SIGNAL = 130


@click.command("up")
@config_option
@set_option
@json_option
@click.option(
    "--stats", "stats_s", type=click.FloatRange(0), default=None,
    help="Seconds between two lines of numbers; 0 for none. Default 5 with --json, otherwise 0.",
)  # fmt: skip
def command(
    config_file: Path | None, flags: tuple[str, ...], stats_s: float | None, *, as_json: bool
) -> None:
    """Run the adapters of a site.

    SIGTERM or Ctrl-C drains: listeners close, what was accepted is finished and answered. A second one ends at once.
    With --json each event is a line; the first is {"event": "ready", …} once every listener accepts.
    """
    # Until the event loop listens to signals nothing runs that would have to be drained: end at once, as asked.
    signal.signal(signal.SIGTERM, _end_before_start)
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        configuration = load(config_file, flags=flags)
    _configure_log(configuration)
    every_s = stats_s if stats_s is not None else 5.0 if as_json else 0.0
    run(lambda: _serve(configuration, every_s, as_json=as_json), as_json=as_json)


def _configure_log(configuration: Configuration) -> None:
    from bus.telemetry.log import configure_logging

    log = configuration.settings.log
    as_json = log.format == "json" or (log.format == "auto" and not sys.stderr.isatty())
    configure_logging(json=as_json, level=log.level)


async def _serve(configuration: Configuration, stats_s: float, *, as_json: bool) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, asked)
    from medmesh.runtime import MeshRuntime  # takes a while; a signal meanwhile is kept

    printer = _Printer(as_json=as_json)
    runtime = MeshRuntime(configuration, report=printer.print, stats_s=stats_s)
    try:
        starting = asyncio.ensure_future(runtime.start())
        waiting = asyncio.ensure_future(asked.wait())
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
        else:
            waiting.cancel()
            starting.result()
            await asked.wait()
            await runtime.drain(timeout_s=configuration.settings.limits.drain_s)
    finally:
        await runtime.stop()


def _end_before_start(number: int, frame: object) -> None:
    raise SystemExit(Exit.OK)


def _signalled(asked: asyncio.Event) -> None:
    if asked.is_set():
        # The operator has no time left: the embedded server ends with its parent, and what was stored is on the disk.
        click.echo("medmesh: second signal, ending at once", err=True)
        sys.stdout.flush()
        import os

        os._exit(_SECOND_SIGNAL)
    asked.set()


class _Printer:
    """Events as JSON lines, or as sentences."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def print(self, event: RuntimeEvent) -> None:
        """Print one event."""
        if self._as_json:
            emit({"event": event.name, **event.fields})
        else:
            for line in sentences(event.name, event.fields):
                click.echo(line)


def sentences(name: str, fields: Mapping[str, object]) -> list[str]:
    """An event in words."""
    adapters = fields.get("adapters")
    rows = [row for row in adapters if isinstance(row, dict)] if isinstance(adapters, list) else []
    if name == "ready":
        head = f"ready: {fields['mesh']}/{fields['site']} on {fields['server']}, every write {fields['durability']}"
        return [head, *(_adapter_line(row) for row in rows), *_gateway_lines(fields.get("gateway"))]
    if name == "stats":
        return [_stats_line(row) for row in rows]
    words = " ".join(f"{key}={value}" for key, value in fields.items() if value not in ("", None))
    return [f"{name}: {words}" if words else name]


def _adapter_line(row: Mapping[str, object]) -> str:
    listens = row.get("listen")
    where = (
        f" listens on {', '.join(map(str, listens))}"
        if isinstance(listens, list | tuple) and listens
        else ""
    )
    return f"  {row['name']:16} {row['kind']}{where}"


def _gateway_lines(listens: object) -> list[str]:
    """One line where there is a gateway."""
    if not isinstance(listens, list | tuple) or not listens:
        return []
    return [f"  {'gateway':16} listens on {', '.join(map(str, listens))}"]


def _stats_line(row: Mapping[str, object]) -> str:
    left = row["drained_in_s"]
    backlog = f"{row['waiting']} waiting" + (f", gone in {left} s" if left else "")
    return (
        f"  {row['name']:16} in {row['accepted_per_s']}/s, out {row['delivered_per_s']}/s, "
        f"{backlog if row['waiting'] else 'nothing waits'}; {row['condition']} {row['detail']}"
    ).rstrip()
