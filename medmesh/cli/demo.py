"""`medmesh demo`."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import Exit, emit, finish, json_option, run

if TYPE_CHECKING:
    from medmesh.demo.summary import Summary


@click.command("demo")
@json_option
@click.option("--once", is_flag=True, help="Send one day's messages, check all of them, and end.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long.")
@click.option(
    "--messages", type=click.IntRange(1, 100_000), default=600, show_default=True,
    help="Messages of the day.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0), default=None,
    help="Messages a second; default 20, with --once as fast as they are accepted.",
)  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another day.")
@click.option(
    "--data", "folder", type=click.Path(path_type=Path, file_okay=False),
    help="Keep everything in this folder instead of a temporary one.",
)  # fmt: skip
@click.option("--print-config", is_flag=True, help="Print the demo's mesh.toml and end.")
def command(
    seconds: float | None,
    messages: int,
    rate: float | None,
    seed: int,
    folder: Path | None,
    *,
    as_json: bool,
    once: bool,
    print_config: bool,
) -> None:
    """Run a small hospital on this machine: an EMR that sends synthetic HL7 v2 messages, a HIS, an archive.

    Everything goes through a real mesh: MLLP in, sealed and stored on the embedded server, MLLP and files out. At the
    end each message is compared byte for byte; exit code 1 when one is missing, changed or out of order.
    """
    from medmesh.demo.hospital import config_text

    if print_config:
        click.echo(config_text(), nl=False)
        return
    _configure_log()
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medmesh-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        shown = sys.stdout.isatty() and not as_json

        async def main() -> Summary:
            from medmesh.demo.run import Plan, play

            asked = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, asked.set)
            plan = Plan(
                messages=messages, seed=seed, once=once, seconds=seconds, rate=rate, is_live=shown
            )
            return await play(place, plan, asked, announce=None if as_json else click.echo)

        summary = run(main, as_json=as_json)
    if as_json:
        emit({"event": "summary", **summary.fields()})
    else:
        click.echo(summary.text())
    finish(Exit.OK if summary.is_whole else Exit.FAILURE)


def _configure_log() -> None:
    from bus.telemetry.log import configure_logging

    configure_logging(json=not sys.stderr.isatty(), level="error")
