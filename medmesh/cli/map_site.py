"""`medmesh map push|pull|replay`: the tables of a running site, and the views of messages that passed before."""

from __future__ import annotations

import getpass
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    from collections.abc import Mapping

    from adapters.hl7v2.mapping import Layer
    from adapters.hl7v2.views.config import FromFhirConfig, ToFhirConfig
    from adapters.hl7v2.views.shelf import Shelf
    from medmesh.config import Configuration
    from medmesh.runtime.connection import SiteConnection

_KIND: Final = "hl7v2.to-fhir"
_BACK: Final = "hl7v2.from-fhir"
_PERIOD: Final = re.compile(r"(?P<number>\d{1,6})(?P<unit>[smhd])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_ADAPTER = click.option(
    "--adapter", required=True, metavar="NAME", help=f"The adapter of kind {_KIND} or {_BACK}."
)


@click.command("push")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_ADAPTER
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Only load and compile.")
@click.option(
    "--expect",
    type=click.IntRange(min=0),
    metavar="REVISION",
    help="Refuse unless this revision is the one in use, as `map pull` showed it (0: none was pushed yet).",
)
@click.option(
    "--empty", is_flag=True, help="FOLDER is empty on purpose: take back what was pushed."
)
@config_option
@set_option
@json_option
def push(
    folder: Path,
    adapter: str,
    reason: str,
    config_file: Path | None,
    flags: tuple[str, ...],
    *,
    expect: int | None,
    empty: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put the tables in FOLDER over those of a running adapter, in place of what was pushed before.

    They are compiled first. With --expect nothing is written over what another has pushed meanwhile.

    Every process of the adapter takes them up within seconds, between two messages. `medmesh map diff` shows before
    what they change, `medmesh map replay` maps what passed before once more.
    """
    if not reason.strip():
        raise click.UsageError("--reason: say why, for those who read it later")
    configuration, config = _adapter(config_file, flags, adapter, as_json=as_json)

    async def main() -> dict[str, object]:
        from adapters.hl7v2.views.shelf import Shelved
        from bus.clock import SystemClock
        from bus.transport.protocol import NotFound
        from bus.transport.types import WrongRevision
        from medmesh.cli.guest import visiting
        from medmesh.mapping import folder_layer

        layer = folder_layer(folder, name="link", may_be_empty=empty)
        site = [folder_layer(config.tables, name="site")] if config.tables else []
        version = _compiled(config, [*site, layer])
        done: dict[str, object] = {"adapter": adapter, "tables": version, "files": len(layer.files)}
        if dry_run:
            return {**done, "revision": None}
        async with visiting(configuration, "map-push") as connection:
            shelf = await _shelf(connection)
            try:
                revision = (await shelf.read(adapter)).revision
            except NotFound:
                revision = 0
            if expect not in (None, revision):
                raise WrongRevision(
                    f"{adapter} has revision {revision}, not {expect}: look at it (`medmesh map pull`), then push anew"
                )
            shelved = Shelved(
                files=layer.files,
                author=getpass.getuser(),
                reason=reason,
                at_ms=SystemClock().now_ms(),
                revision=revision,
            )
            return {**done, "revision": await shelf.write(adapter, shelved)}

    done = run(main, as_json=as_json)
    if as_json:
        emit(done)
    else:
        verb = "would become" if dry_run else "became"
        tail = "" if dry_run else f" (revision {done['revision']})"
        click.echo(f"{done['files']} files {verb} tables {done['tables']} of {adapter}{tail}")


@click.command("pull")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_ADAPTER
@config_option
@set_option
@json_option
def pull(
    folder: Path,
    adapter: str,
    config_file: Path | None,
    flags: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Write the tables that were pushed for an adapter into FOLDER, which must be empty or not there."""
    configuration, _ = _adapter(config_file, flags, adapter, as_json=as_json)
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty")

    async def main() -> dict[str, object]:
        from bus.transport.protocol import NotFound
        from medmesh.cli.guest import visiting

        async with visiting(configuration, "map-pull") as connection:
            try:
                layer = await (await _shelf(connection)).read(adapter)
            except NotFound:
                raise NotFound(f"no tables were pushed for {adapter}") from None
        _write(folder, layer.files)
        return {
            "adapter": adapter,
            "revision": layer.revision,
            "files": len(layer.files),
            "author": layer.author,
            "reason": layer.reason,
            "at_ms": layer.at_ms,
        }

    done = run(main, as_json=as_json)
    if as_json:
        emit(done)
    else:
        click.echo(
            f"{done['files']} files, revision {done['revision']}, pushed by {done['author']}: {done['reason']}"
        )


@click.command("replay")
@_ADAPTER
@click.option("--since", required=True, metavar="PERIOD", help="How far back, e.g. 30m, 12h, 7d.")
@click.option("--reason", default="new tables", show_default=True, help="Why, for the record.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@config_option
@set_option
@json_option
def replay(
    adapter: str,
    since: str,
    reason: str,
    config_file: Path | None,
    flags: tuple[str, ...],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Have an adapter map the messages of the last PERIOD once more, by the tables that it has now, in their order.

    Ids stay the same, so receivers update what they have; a report that is older than one published since steps aside
    as `result.outdated`.
    """
    found = _PERIOD.match(since)
    if found is None:
        raise click.UsageError(f"--since: {since!r} is no period; write 30m, 12h or 7d")
    configuration, config = _adapter(config_file, flags, adapter, as_json=as_json)
    if config.kind == _BACK:
        raise click.UsageError(
            f"--adapter: {adapter!r} is of kind {_BACK}: its messages were delivered, and would be a second time"
        )
    seconds = int(found["number"]) * _SECONDS[found["unit"]]

    async def main() -> dict[str, object]:
        from bus.clock import SystemClock
        from medmesh.cli.guest import operating

        async with operating(configuration) as operator:
            letters = operator.events.dead_letters()
            since_ms = SystemClock().now_ms() - seconds * 1000
            seqs = await letters.stored_since(since_ms, config.subscribe)
            done: dict[str, object] = {"adapter": adapter, "messages": len(seqs)}
            if dry_run:
                return {**done, "ordered": 0, "failed": {}}
            ordered, failed = 0, {}
            with click.progressbar(
                length=len(seqs), file=sys.stderr, label="messages", hidden=not sys.stderr.isatty()
            ) as progress:
                for start in range(0, len(seqs), 64):
                    part = seqs[start : start + 64]
                    report = await letters.replay_events(part, reason=reason, to=adapter)
                    ordered += len(report.ordered)
                    failed.update(report.failed)
                    progress.update(len(part))
            return {**done, "ordered": ordered, "failed": failed}

    done = run(main, as_json=as_json)
    if as_json:
        emit(done)
    else:
        words = f"{done['ordered']} of {done['messages']} messages ordered for {adapter}"
        click.echo(
            f"{done['messages']} messages would be ordered for {adapter}" if dry_run else words
        )
    if done["failed"]:
        finish(Exit.PARTIAL)


def _compiled(config: ToFhirConfig | FromFhirConfig, over: list[Layer]) -> str:
    """The version of the tables that an adapter would have. Raises `TablesError`."""
    from adapters.hl7v2.mapping import compile_mapper, load_tables
    from adapters.hl7v2.views.config import ToFhirConfig

    if isinstance(config, ToFhirConfig):
        return compile_mapper(load_tables(("std", *config.layers, *over))).version
    from adapters.hl7v2.reverse import compile_writer, load_reverse_tables
    from adapters.hl7v2.reverse.loading import STANDARD

    return compile_writer(load_reverse_tables((STANDARD, *config.layers, *over))).version


def _adapter(
    config_file: Path | None, flags: tuple[str, ...], name: str, *, as_json: bool
) -> tuple[Configuration, ToFhirConfig | FromFhirConfig]:
    from adapters.hl7v2.views.config import FromFhirConfig, ToFhirConfig
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        configuration = load(config_file, flags=flags)
    views = {
        one.config.name: one.config
        for one in configuration.adapters
        if isinstance(one.config, ToFhirConfig | FromFhirConfig)
    }
    if name not in views:
        known = ", ".join(sorted(views)) or "none"
        raise click.UsageError(
            f"--adapter: no {_KIND} or {_BACK} adapter is named {name!r}; there are: {known}"
        )
    return configuration, views[name]


def _write(folder: Path, tables: Mapping[str, bytes]) -> None:
    """Write pulled tables. Raises `MeshError` for one that would lie outside of the folder; ends where none can be."""
    from adapters.hl7v2.mapping import Layer

    Layer(name="pulled", files=tables).check()
    try:
        for path, raw in tables.items():
            file = folder / path
            if not file.resolve().is_relative_to(folder.resolve()):
                raise click.UsageError(
                    f"the pushed tables hold a file outside of the folder: {path}"
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(raw)
    except OSError as error:
        click.echo(f"medmesh: {folder}: cannot be written: {error.strerror}", err=True)
        finish(Exit.AUTH if isinstance(error, PermissionError) else Exit.FAILURE)


async def _shelf(connection: SiteConnection) -> Shelf:
    from adapters.hl7v2.views.shelf import BUCKET, HISTORY, Shelf

    bucket = await connection.transport.key_value(BUCKET, history=HISTORY)
    return Shelf(bucket, connection.trust.site_key)


commands: Final = (push, pull, replay)

__all__ = ["commands"]
