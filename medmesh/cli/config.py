"""`medmesh config check|show`."""

from __future__ import annotations

from pathlib import Path

import click

from medmesh.cli.output import (
    Exit,
    config_option,
    emit,
    errors_in_words,
    finish,
    json_option,
    set_option,
)


@click.group("config")
def command() -> None:
    """Check and show the configuration.

    A key is taken from the first that has it: --set KEY=VALUE, the variable MEDMESH_SECTION__KEY (for adapters
    MEDMESH_ADAPTER__NAME__KEY, with _ for - in the name), the file, the default.
    """


@command.command()
@config_option
@set_option
@json_option
def check(config_file: Path | None, flags: tuple[str, ...], *, as_json: bool) -> None:
    """Check the configuration as a whole; every problem is named, with what to change."""
    from medmesh.config import ConfigurationProblems, load

    with errors_in_words(as_json=as_json):
        try:
            configuration = load(config_file, flags=flags)
        except ConfigurationProblems as problems:
            if not as_json:
                raise
            listed = [{"key": p.key, "problem": p.text} for p in problems.problems]
            emit({"valid": False, "problems": listed})
            finish(Exit.FAILURE)
    if as_json:
        emit({"valid": True, "adapters": len(configuration.adapters)})
    else:
        count = len(configuration.adapters)
        click.echo(f"{configuration.file}: good; {count} adapter{'' if count == 1 else 's'}")


@command.command()
@config_option
@set_option
@json_option
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
def show(config_file: Path | None, flags: tuple[str, ...], *, as_json: bool, origin: bool) -> None:
    """Show every key in force. Passwords are hidden."""
    from medmesh.config import load, settings

    with errors_in_words(as_json=as_json):
        configuration = load(config_file, flags=flags, must_exist=False)
    for setting in settings(configuration):
        if as_json:
            emit(
                {
                    "key": setting.key,
                    "value": setting.value,
                    "origin": setting.origin,
                    "description": setting.description,
                }
            )
        else:
            shown = f"{setting.key} = {setting.value!r}"
            click.echo(f"{shown}  ({setting.origin})" if origin else shown)
