"""`medmesh consumers ls|rm`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmesh.cli.output import config_option, emit, errors_in_words, json_option, run, set_option

if TYPE_CHECKING:
    from bus.events.places import PlaceView
    from bus.events.protocol import PartitionView
    from medmesh.config import Configuration


@click.group("consumers")
def command() -> None:
    """List and remove durable consumers: the places in the event stream from which destinations read.

    What a consumer has not had is kept for it, however old. One that nobody reads any more holds the stream back.
    """


def _configuration(
    config_file: Path | None, flags: tuple[str, ...], *, as_json: bool
) -> Configuration:
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        return load(config_file, flags=flags)


@command.command("ls")
@config_option
@set_option
@json_option
def list_consumers(config_file: Path | None, flags: tuple[str, ...], *, as_json: bool) -> None:
    """List durable consumers with what waits for each."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> tuple[PlaceView, ...]:
        from bus.events.places import places
        from medmesh.cli.guest import visiting

        async with visiting(configuration, "consumers") as connection:
            return await places(connection.transport, configuration.site)

    adapters = {adapter.config.name for adapter in configuration.adapters}
    for place in run(main, as_json=as_json):
        kind = "adapter" if place.name in adapters else "program"
        if place.is_shared:
            kind = "shared"
        if as_json:
            floor = {} if place.is_shared else {"ack_floor": place.ack_floor}
            emit({"name": place.name, "kind": kind, "waiting": place.waiting, **floor})
        else:
            click.echo(f"{place.name:24} {kind:8} {place.waiting} events wait")


@command.command("partitions")
@click.argument("name")
@config_option
@set_option
@json_option
def partitions(
    name: str, config_file: Path | None, flags: tuple[str, ...], *, as_json: bool
) -> None:
    """Show who works each partition of the shared consumer NAME, what waits, and why it moved last."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> tuple[PartitionView, ...]:
        from bus.events.partitions.view import group_partitions
        from bus.transport.protocol import NotFound
        from medmesh.cli.guest import visiting

        async with visiting(configuration, "consumers") as connection:
            found = await group_partitions(connection.transport, configuration.site, name)
            if not found:
                raise NotFound(
                    f"there is no shared consumer {name}: `medmesh consumers ls` lists them"
                )
            return found

    for view in run(main, as_json=as_json):
        if as_json:
            emit(
                {
                    "partition": view.partition,
                    "owner": view.owner,
                    "fence": view.fence,
                    "waiting": view.lag,
                    "moved_ms": view.moved_ms,
                    "reason": view.reason,
                }
            )
        else:
            click.echo(
                f"{view.partition:3} {view.owner or '(free)':24} {view.lag} events wait  {view.reason}"
            )


@command.command("rm")
@click.argument("name")
@config_option
@set_option
@json_option
@click.option(
    "--yes", is_flag=True, help="Do not ask: what waits for it alone may then be dropped."
)
def remove(
    name: str, config_file: Path | None, flags: tuple[str, ...], *, yes: bool, as_json: bool
) -> None:
    """Remove the durable consumer NAME of a program or destination that is gone for good."""
    configuration = _configuration(config_file, flags, as_json=as_json)
    if any(adapter.config.name == name for adapter in configuration.adapters):
        raise click.UsageError(
            f"{name} is an adapter of this configuration: remove its [[adapter]] section and restart first"
        )
    if not yes:
        if as_json:
            raise click.UsageError("with --json nobody can be asked: give --yes")
        click.confirm(
            f"Forget the place of {name}, and with it what only it still waits for?", abort=True
        )

    async def main() -> None:
        from bus.events.partitions.view import forget_group
        from bus.events.streams import event_stream
        from bus.transport.protocol import NotFound
        from medmesh.cli.guest import visiting

        async with visiting(configuration, "consumers") as connection:
            stream = event_stream(configuration.site)
            if await forget_group(connection.transport, configuration.site, name):
                return
            try:
                await connection.transport.administration.delete_consumer(stream, name)
            except NotFound:
                raise NotFound(
                    f"there is no durable consumer {name}: `medmesh consumers ls` lists them"
                ) from None

    run(main, as_json=as_json)
    emit({"removed": name}) if as_json else click.echo(f"removed {name}")
