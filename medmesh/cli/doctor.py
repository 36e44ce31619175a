"""`medmesh doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import Exit, config_option, emit, finish, json_option, run, set_option

if TYPE_CHECKING:
    from medmesh.doctor.finding import Finding

_SIGNS = {"good": ("ok  ", "green"), "note": ("note", "yellow"), "wrong": ("BAD ", "red")}


@click.command("doctor")
@config_option
@set_option
@json_option
def command(config_file: Path | None, flags: tuple[str, ...], *, as_json: bool) -> None:
    """Say in plain words what is wrong with this machine, configuration, server, streams and certificates.

    Exit code 1 when something is wrong; notes are no faults.
    """
    _quiet_log()

    async def main() -> list[Finding]:
        from bus.clock import SystemClock
        from medmesh.doctor.site import examine

        return await examine(config_file, flags, SystemClock())

    findings = run(main, as_json=as_json)
    bad = sum(finding.verdict.value == "wrong" for finding in findings)
    for finding in findings:
        if as_json:
            emit(
                {
                    "area": finding.area,
                    "check": finding.check,
                    "verdict": finding.verdict.value,
                    "saw": finding.saw,
                    "advice": finding.advice,
                }
            )
        else:
            _print(finding)
    if not as_json:
        click.echo(f"{bad} wrong" if bad else "nothing is wrong")
    if bad:
        finish(Exit.FAILURE)


def _print(finding: Finding) -> None:
    sign, colour = _SIGNS[finding.verdict.value]
    click.secho(sign, fg=colour, nl=False)
    click.echo(f" {finding.area}: {finding.check}: {finding.saw}")
    if finding.advice:
        click.echo(f"       -> {finding.advice}")


def _quiet_log() -> None:
    from bus.telemetry.log import configure_logging

    configure_logging(json=False, level="error")
