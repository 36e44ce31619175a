"""`medmesh map`: messages to FHIR, every value explained, edits of tables tried out, coverage counted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import click

from medmesh.cli.map_site import commands
from medmesh.cli.map_to_v2 import run_to_v2
from medmesh.cli.output import Exit, emit, errors_in_words, finish, json_option

if TYPE_CHECKING:
    from adapters.hl7v2.mapping import Json, MapContext, Mapped, Mapper
    from medmesh.mapping import Taken

F = TypeVar("F", bound=Callable[..., object])
_SHOWN = 20


class MapGroup(click.Group):
    """A group whose first word may also be a file: `medmesh map adt.hl7` is `medmesh map run adt.hl7`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word that is no command is the first file of `run`."""
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options before the first word belong to `run`, too."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("map", cls=MapGroup)
def command() -> None:
    """Map HL7 v2 messages to FHIR R4: `medmesh map FILE…`.

    FILE may hold one message, many, or a batch; a folder stands for all its files.
    """


for _each in commands:
    command.add_command(_each)


def _table_options(function: F) -> F:
    for option in (
        click.option(
            "--layer", "layers", multiple=True, metavar="FOLDER|NAME",
            help="Layer over the standard tables; may be given several times, in order.",
        ),
        click.option("--zone", default="", metavar="NAME", help="Zone of times without one, e.g. Europe/Berlin."),
        click.option("--tenant", default="local", show_default=True, help="Scope of the ids."),
        click.option(
            "--set", "parameters", multiple=True, metavar="NAME=VALUE",
            help="A value that the tables ask for, e.g. mrn_authority=NORTH.",
        ),
        click.option("--charset", default=None, metavar="NAME", help="Charset of messages whose MSH-18 is empty."),
        click.option("--fallback", multiple=True, metavar="NAME", help="Charset to try next; may be repeated."),
    ):  # fmt: skip
        function = option(function)
    return function


_FILES = click.argument(
    "paths", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path, exists=True)
)


@command.command("run")
@_FILES
@click.option(
    "--to", "target", type=click.Choice(["fhir", "hl7v2"]), default="fhir", show_default=True
)
@click.option(
    "--output", "form", type=click.Choice(["message", "transaction", "bare"]), default="message",
    show_default=True, help="A Bundle of this type, or the resources one by one.",
)  # fmt: skip
@_table_options
@json_option
def run_command(
    paths: tuple[Path, ...],
    target: str,
    form: str,
    layers: tuple[str, ...],
    zone: str,
    tenant: str,
    parameters: tuple[str, ...],
    charset: str | None,
    fallback: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Map the messages in FILE… and print what comes out, one document a line.

    With --to hl7v2 FILE holds FHIR JSON, one bundle or resource a file or a line, and messages come out; --set gives
    version, charset, receiving_application and the like.

    Issues go to standard error; with --json each line holds file, bundle and issues. Exit code 6 when a message could
    not be mapped at all, 1 when none could.
    """
    if target == "hl7v2":
        run_to_v2(paths, layers, _settings(parameters), as_json=as_json)
        return
    failed = mapped_count = 0
    with _output_in_words(as_json=as_json):
        mapper = _mapper(layers)
        context = _context(tenant, zone, parameters, form=form)
        for taken in _all(paths, charset, fallback):
            mapped = mapper.map(taken.message, context) if taken.message else None
            if mapped is None or mapped.failed:
                failed += 1
            else:
                mapped_count += 1
            _print_mapped(taken, mapped, as_json=as_json)
    _end(failed, mapped_count)


@command.command("explain")
@_FILES
@click.option("--path", "wanted", default="", help="Only values whose path holds this text.")
@_table_options
@json_option
def explain_command(
    paths: tuple[Path, ...],
    wanted: str,
    layers: tuple[str, ...],
    zone: str,
    tenant: str,
    parameters: tuple[str, ...],
    charset: str | None,
    fallback: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Say of each output value by which rule, of which layer, from which field it came.

    Exit code 6 when a message could not be mapped at all, 1 when none could.
    """
    failed = mapped_count = 0
    with _output_in_words(as_json=as_json):
        mapper = _mapper(layers)
        context = _context(tenant, zone, parameters, explain=True)
        for taken in _all(paths, charset, fallback):
            if taken.message is None:
                failed += 1
                _print_mapped(taken, None, as_json=as_json)
                continue
            mapped = mapper.map(taken.message, context)
            failed, mapped_count = failed + mapped.failed, mapped_count + (not mapped.failed)
            _print_origins(taken, mapped, wanted, as_json=as_json)
    _end(failed, mapped_count)


@command.command("diff")
@_FILES
@click.option(
    "--against", "others", multiple=True, metavar="FOLDER|NAME",
    help="Layers of the other version of the tables; none: the standard tables alone.",
)  # fmt: skip
@_table_options
@json_option
def diff_command(
    paths: tuple[Path, ...],
    others: tuple[str, ...],
    layers: tuple[str, ...],
    zone: str,
    tenant: str,
    parameters: tuple[str, ...],
    charset: str | None,
    fallback: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Show what the tables with --layer change against those with --against, message by message.

    Exit code 0 when nothing differs, 6 when something does or a message could not be read, 1 when none could.
    """
    from medmesh.mapping import changes

    different = count = failed = 0
    with _output_in_words(as_json=as_json):
        before, after = _mapper(others), _mapper(layers)
        context = _context(tenant, zone, parameters)
        for taken in _all(paths, charset, fallback):
            if taken.message is None:
                failed += 1
                _print_mapped(taken, None, as_json=as_json)
                continue
            count += 1
            found = changes(before.map(taken.message, context), after.map(taken.message, context))
            different += bool(found)
            if as_json:
                emit({"file": taken.name, "changes": [asdict(one) for one in found]})
                continue
            for change in found:
                click.echo(
                    f"{taken.name}: {change.where}: {change.before or '-'} -> {change.after or '-'}"
                )
    click.echo(f"{different} of {count} messages come out differently", err=True)
    if failed:
        click.echo(f"{failed} of {failed + count} messages could not be read", err=True)
    finish(Exit.FAILURE if not count else Exit.PARTIAL if different or failed else Exit.OK)


@command.command("coverage")
@click.option("--layer", "layers", multiple=True, metavar="FOLDER|NAME", help="Layer over std.")
@click.option("--missing", is_flag=True, help="List the rows that are not carried out, with why.")
@json_option
def coverage_command(layers: tuple[str, ...], *, missing: bool, as_json: bool) -> None:
    """Count the official v2-to-FHIR rows that the tables carry out, of those that a machine could."""
    from medmesh.mapping import coverage, layers_of

    with errors_in_words(as_json=as_json):
        from adapters.hl7v2.mapping import load_tables

        found = coverage(load_tables(layers_of(layers)))
    if as_json:
        emit(
            {
                "implemented": found.implemented,
                "executable": found.executable,
                "share": round(found.share, 4),
                "states": dict(found.states),
                "missing": [list(one) for one in found.missing] if missing else len(found.missing),
            }
        )
        return
    click.echo(
        f"{found.implemented} of {found.executable} executable rows are carried out: {found.share:.1%}"
    )
    for state, count in sorted(found.states.items()):
        click.echo(f"  {state}: {count}")
    for table, row, reason in found.missing if missing else ():
        click.echo(f"{table}/{row}: {reason}")


def _mapper(layers: tuple[str, ...]) -> Mapper:
    from adapters.hl7v2.mapping import compile_mapper, default_mapper, load_tables
    from medmesh.mapping import layers_of

    return compile_mapper(load_tables(layers_of(layers))) if layers else default_mapper()


def _settings(parameters: tuple[str, ...]) -> dict[str, str]:
    values = dict(pair.partition("=")[::2] for pair in parameters)
    if "" in values or any("=" not in pair for pair in parameters):
        raise click.UsageError("--set takes NAME=VALUE")
    return values


def _context(
    tenant: str,
    zone: str,
    parameters: tuple[str, ...],
    *,
    form: str = "message",
    explain: bool = False,
) -> MapContext:
    import zoneinfo

    from adapters.hl7v2.mapping import MapContext, Output

    values = _settings(parameters)
    try:
        known = zoneinfo.ZoneInfo(zone) if zone else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise click.UsageError(
            f"--zone: {zone!r} is unknown; write an IANA name such as Europe/Berlin"
        ) from None
    return MapContext(
        tenant=tenant, output=Output(form), zone=known, parameters=values, explain=explain
    )


def _all(
    paths: tuple[Path, ...], charset: str | None, fallback: tuple[str, ...]
) -> Iterator[Taken]:
    """Every message, with a progress bar on standard error where people watch and results go elsewhere.

    Raises `MeshError`: for a charset that is unknown, for no file at all, and for one that cannot be read.
    """
    from adapters.hl7v2.codec.charset import link_charset
    from medmesh.mapping import files_of, messages_of

    for name in (*((charset,) if charset else ()), *fallback):
        link_charset(name)
    every = list(files_of(paths))
    if not every:
        click.echo(f"medmesh: {', '.join(map(str, paths))}: holds no file", err=True)
        finish(Exit.NOT_FOUND)
    shows = sys.stderr.isatty() and not sys.stdout.isatty()
    total = sum(file.stat().st_size for file in every) if shows else 0
    with click.progressbar(
        length=total, file=sys.stderr, label="mapping", hidden=not shows
    ) as progress:
        for file in every:
            messages = messages_of(
                file, charset=charset, fallback=fallback, has_read=progress.update
            )
            while (taken := _next(file, messages)) is not None:
                yield taken


def _next(file: Path, messages: Iterator[Taken]) -> Taken | None:
    """The next message. A file that cannot be read ends the command with its name."""
    try:
        return next(messages, None)
    except OSError as error:
        click.echo(f"medmesh: {file}: {error.strerror or 'cannot be read'}", err=True)
        finish(Exit.AUTH if isinstance(error, PermissionError) else Exit.FAILURE)


@contextmanager
def _output_in_words(*, as_json: bool) -> Iterator[None]:
    """As `errors_in_words`, and for results that find no room."""
    with errors_in_words(as_json=as_json):
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            click.echo(f"medmesh: the result cannot be written: {error.strerror}", err=True)
            finish(Exit.FAILURE)


def _end(failed: int, mapped_count: int) -> None:
    """Say how many messages could not be mapped, and end accordingly."""
    if failed:
        click.echo(f"{failed} of {failed + mapped_count} messages could not be mapped", err=True)
        finish(Exit.PARTIAL if mapped_count else Exit.FAILURE)


def _print_mapped(taken: Taken, mapped: Mapped | None, *, as_json: bool) -> None:
    from adapters.hl7v2.mapping import to_json

    if mapped is None:
        if as_json:
            emit({"file": taken.name, "error": taken.error})
        click.echo(f"{taken.name}: {taken.error}", err=True)
        return
    if as_json:
        issues = [
            {**asdict(one), "severity": one.severity.value, "code": one.code.value}
            for one in mapped.issues
        ]
        line = {
            "file": taken.name,
            "structure": mapped.structure,
            "tables": mapped.tables,
            "issues": issues,
            "result": mapped.bundle if mapped.bundle is not None else list(mapped.resources),
        }
        click.echo(to_json(cast("Json", line)))
        return
    if mapped.bundle is not None:
        click.echo(to_json(mapped.bundle, indent=sys.stdout.isatty()))
    else:
        for resource in mapped.resources:
            click.echo(to_json(resource))
    _tell_issues(taken, mapped)


def _tell_issues(taken: Taken, mapped: Mapped) -> None:
    """Errors and warnings one by one; what no rule is meant for as a count."""
    counts = Counter(
        (one.severity.value, one.code.value, one.where, one.detail)
        for one in mapped.issues
        if one.severity.value != "information"
    )
    for (severity, code, where, detail), count in list(counts.items())[:_SHOWN]:
        times = f" ({count} times)" if count > 1 else ""
        click.echo(f"{taken.name}: {severity}: {code} {where}{times} {detail}".rstrip(), err=True)
    quiet = len(mapped.issues) - sum(counts.values())
    left = len(counts) - _SHOWN
    words = [f"{quiet} places of the message have no rule"] if quiet else []
    words += [f"{left} more issues"] if left > 0 else []
    if words:
        click.echo(f"{taken.name}: {'; '.join(words)} (--json lists them)", err=True)


def _print_origins(taken: Taken, mapped: Mapped, wanted: str, *, as_json: bool) -> None:
    from adapters.hl7v2.mapping import to_json
    from medmesh.mapping import pointers

    for resource in mapped.resources:
        kind, identity = str(resource["resourceType"]), str(resource.get("id"))
        values = {f"{kind}.{path}": value for path, value in pointers(resource)}
        for origin in mapped.origins.get(identity, ()):
            path = origin.path if origin.path.startswith(kind) else f"{kind}.{origin.path}"
            if wanted not in path:
                continue
            value = to_json(values.get(path, values.get(f"{path}.reference"))).decode()
            if as_json:
                emit({"file": taken.name, "id": identity, "value": value, **asdict(origin)})
                continue
            source = origin.source or "constant"
            shown = (
                f" = {value}" if value != "null" else ""
            )  # a rule may fill an object: no one value
            click.echo(f"{path}{shown}   <- {source}   {origin.rule} ({origin.layer})")
    if not as_json:
        _tell_issues(taken, mapped)


__all__ = ["command"]
