"""The command line. Each command is imported only when it is called, so that `medmesh --help` answers at once."""

from __future__ import annotations

import importlib
from typing import Final

import click

COMMANDS: Final = {
    "up": "Run the adapters of a site until SIGTERM drains it.",
    "demo": "Run a small hospital: EMR, HIS, archive, live view.",
    "send": "Send HL7 v2 messages by MLLP and report what became of them.",
    "watch": "Show what passes: subjects, rates, senders; never content.",
    "top": "Show the site live: rates, services, what waits, dead letters.",
    "map": "Map HL7 v2 messages to FHIR; explain values, try edits of tables.",
    "schema": "Convert FHIR to protobuf and back; list and bind schemas.",
    "services": "List the services that run: instances, health and why, load.",
    "call": "Call a method of a service and print its answer.",
    "dlq": "List, show and replay dead letters.",
    "audit": "List who read, wrote or searched what at the gateway.",
    "consumers": "List and remove the places from which destinations read.",
    "doctor": "Say in plain words what is wrong, and what to do.",
    "keys": "Make API keys, and certificates for trying TLS out.",
    "config": "Check and show the configuration.",
    "version": "Show the versions of medmesh and its parts.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by a table and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `medmesh.cli.<name>` and take its `command`."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"medmesh.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"medmesh.cli.{cmd_name} has no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """medmesh: the message mesh of a hospital group.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 not allowed, 5 timeout, 6 partial.
    """


def main() -> None:
    """Run the command line; the entry point of the program."""
    cli(prog_name="medmesh")


__all__ = ["COMMANDS", "cli", "main"]
