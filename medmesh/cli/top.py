"""`medmesh top`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
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
    from medmesh.config import Configuration
    from medmesh.overview import Overview

_PRINTED_ROWS = 50


@click.command("top")
@config_option
@set_option
@json_option
@click.option("--once", is_flag=True, help="Look once (for one interval, so that rates are known).")
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True,
    help="Seconds between two looks.",
)  # fmt: skip
def command(
    config_file: Path | None,
    flags: tuple[str, ...],
    interval: float,
    *,
    once: bool,
    as_json: bool,
) -> None:
    """Show the site live: events a second by subject, services, consumers and what waits, dead letters.

    q or Ctrl-C leaves. No message is read for it: all figures are the server's and the services' own counts. Without a
    terminal it looks once; with --json it prints one document a line.
    """
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        configuration = load(config_file, flags=flags)
    run(lambda: _top(configuration, interval, once=once, as_json=as_json), as_json=as_json)


async def _top(configuration: Configuration, interval: float, *, once: bool, as_json: bool) -> None:
    from bus.clock import SystemClock
    from medmesh.cli.guest import calling
    from medmesh.overview import Observer

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    drawn = not as_json and not once and sys.stdout.isatty()
    async with calling(configuration) as (service, calls):
        registry = await calls.registry(service)
        observer = Observer(
            calls.transport,
            configuration.site,
            services=registry.services,
            adapters={one.config.name: one.config.kind for one in configuration.adapters},
            clock=SystemClock(),
        )
        if drawn:
            with _keys(ended.set):
                await _draw(observer.look, ended, interval)
            return
        await observer.look()
        while not await _ended_within(ended, interval):
            _print(await observer.look(), as_json=as_json)
            if once or not as_json:
                return


async def _ended_within(ended: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ended.wait()
    return ended.is_set()


@contextlib.contextmanager
def _keys(leave: Callable[[], None]) -> Iterator[None]:
    """Let `q` leave without Enter; what the terminal was set to comes back whatever happens."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield
        return
    keyboard, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(keyboard)

    def pressed() -> None:
        keys = os.read(keyboard, 64)
        if not keys:
            loop.remove_reader(keyboard)
        if not keys or b"q" in keys.lower():
            leave()

    tty.setcbreak(keyboard, termios.TCSADRAIN)
    loop.add_reader(keyboard, pressed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


async def _draw(
    look: Callable[[], Awaitable[Overview]], ended: asyncio.Event, interval: float
) -> None:
    from rich.console import Console
    from rich.live import Live

    from medmesh.cli.top_picture import picture, rows_within
    from schemas.errors import MeshError

    console = Console()
    overview: Overview | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            trouble = ""
            try:
                overview = await look()
            except MeshError as error:
                trouble = error.code
            rows = rows_within(console.size.height)
            live.update(picture(overview, rows=rows, trouble=trouble), refresh=True)
            if await _ended_within(ended, interval):
                return


def _print(overview: Overview, *, as_json: bool) -> None:
    from rich.console import Console

    from medmesh.cli.top_picture import fields, picture

    if as_json:
        emit(fields(overview))
        return
    Console().print(picture(overview, rows=_PRINTED_ROWS))
