"""`medmesh services`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import (
    Exit,
    config_option,
    emit,
    errors_in_words,
    finish,
    json_option,
    run,
    set_option,
)

if TYPE_CHECKING:
    from rich.table import Table

    from bus.services.protocol import Seen
    from bus.transport.protocol import Messenger
    from medmesh.config import Configuration

_REFRESH_S = 0.5
_COLUMNS = ("service", "version", "instance", "place", "health", "why", "in work", "answered")


@click.command("services")
@click.argument("name", required=False)
@config_option
@set_option
@json_option
@click.option("--watch", is_flag=True, help="Go on and show each change until Ctrl-C.")
@click.option("--stats", is_flag=True, help="Ask each instance what it has done, by method.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), help="End --watch after so long."
)
def command(
    name: str | None,
    config_file: Path | None,
    flags: tuple[str, ...],
    seconds: float | None,
    *,
    watch: bool,
    stats: bool,
    as_json: bool,
) -> None:
    """List the services that run at this site (or NAME alone): each instance, its health and why, its load.

    Services of other NATS programs that answer discovery (ADR-32) are listed, too; their instances cannot be chosen.
    """
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        configuration = load(config_file, flags=flags)
    if watch:
        run(lambda: _watch(configuration, name or "", seconds, as_json=as_json), as_json=as_json)
        return
    found = run(lambda: _list(configuration, name or "", stats=stats), as_json=as_json)
    if name and not found:
        click.echo(f"medmesh: no instance of {name} runs at site {configuration.site}", err=True)
        finish(Exit.NOT_FOUND)
    for row in found:
        emit(row) if as_json else click.echo(_line(row))
    if not found and not as_json:
        click.echo("no service runs", err=True)


def _line(row: dict[str, object]) -> str:
    text = (
        f"{row['service']:24} {row['version']:10} {row['instance']:18} {_place(row):16} {row['health']:9}"
        f" {row['reason'] or '-':16} {row['in_flight']}/{row['limit'] or '?'} in work, {row['answered']} answered"
    )
    methods = row.get("stats")
    if not isinstance(methods, list):
        return text
    return text + "".join(f"\n    {_method(one)}" for one in methods)


def _method(stats: dict[str, object]) -> str:
    took_ms = float(str(stats.get("average_processing_time", 0))) / 1e6
    counts = f"{stats.get('num_requests')} requests, {stats.get('num_errors')} errors"
    return f"{stats.get('name')}: {counts}, {took_ms:.2f} ms each"


def _place(row: dict[str, object]) -> str:
    return f"{row['site']}/{row['zone']}" if row["zone"] else str(row["site"])


def _row(seen: Seen, now_s: float) -> dict[str, object]:
    instance, load = seen.instance, seen.load
    return {
        "service": instance.service,
        "version": instance.version,
        "instance": instance.id,
        "site": instance.site,
        "zone": instance.zone,
        "health": seen.health.value,
        "reason": seen.reason,
        "in_flight": load.in_flight,
        "limit": load.limit,
        "oldest_s": round(load.oldest_s, 3),
        "answered": load.answered,
        "heard_s_ago": round(max(0.0, now_s - seen.heard_s), 3),
        "weight": instance.weight,
        "methods": list(instance.methods),
        "protocols": list(instance.protocols),
        "metadata": dict(instance.metadata),
    }


async def _list(configuration: Configuration, name: str, *, stats: bool) -> list[dict[str, object]]:
    from bus.clock import SystemClock
    from medmesh.cli.guest import calling

    async with calling(configuration) as (service, calls):
        registry = await calls.registry(service)
        now_s = SystemClock().monotonic_s()
        rows = [_row(seen, now_s) for seen in _chosen(registry.services().values(), name)]
        if stats:
            await asyncio.gather(*(_ask_stats(calls.messenger, row) for row in rows))
        return rows


async def _ask_stats(messenger: Messenger, row: dict[str, object]) -> None:
    import json

    from bus.transport.protocol import NoResponders
    from schemas.errors import DeadlineExceeded

    subject = f"$SRV.STATS.{row['service']}.{row['instance']}"
    try:
        answer = await messenger.request(subject, b"", timeout_s=2.0)
    except (NoResponders, DeadlineExceeded) as error:
        row["stats"], row["stats_error"] = [], error.code
        return
    told = json.loads(answer.payload)
    row["stats"] = told.get("endpoints", [])


def _chosen(services: Iterable[Iterable[Seen]], name: str) -> list[Seen]:
    found = [
        seen for group in services for seen in group if not name or seen.instance.service == name
    ]
    return sorted(found, key=lambda seen: (seen.instance.service, seen.instance.id))


async def _watch(
    configuration: Configuration, name: str, seconds: float | None, *, as_json: bool
) -> None:
    from bus.clock import SystemClock
    from medmesh.cli.guest import calling

    clock, ended = SystemClock(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    drawn = not as_json and sys.stdout.isatty()

    def tell(event: str, seen: Seen) -> None:
        if drawn or (name and seen.instance.service != name):
            return
        row = _row(seen, clock.monotonic_s())
        emit({"event": event, **row}) if as_json else click.echo(_line(row))

    async with calling(configuration) as (service, calls):
        registry = await calls.registry(service)
        stop = registry.on_change(lambda seen: tell("changed", seen))

        def rows() -> list[dict[str, object]]:
            now_s = clock.monotonic_s()
            return [_row(seen, now_s) for seen in _chosen(registry.services().values(), name)]

        for seen in _chosen(registry.services().values(), name):
            tell("known", seen)
        if as_json:
            emit({"event": "watching"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await (_draw(rows, ended) if drawn else ended.wait())
        stop()


async def _draw(rows: Callable[[], list[dict[str, object]]], ended: asyncio.Event) -> None:
    from rich.live import Live

    with Live(_table(rows()), refresh_per_second=4) as live:
        while not ended.is_set():
            try:
                async with asyncio.timeout(_REFRESH_S):
                    await ended.wait()
            except TimeoutError:
                live.update(_table(rows()))


def _table(rows: list[dict[str, object]]) -> Table:
    from rich.table import Table

    table = Table(*_COLUMNS, expand=True)
    for row in rows:
        table.add_row(
            str(row["service"]), str(row["version"]), str(row["instance"]), _place(row),
            str(row["health"]), str(row["reason"]),
            f"{row['in_flight']}/{row['limit'] or '?'}", str(row["answered"]),
        )  # fmt: skip
    return table
