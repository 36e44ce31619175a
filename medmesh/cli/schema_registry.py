"""`medmesh schema ls|show|push|rm|check|asyncapi`: the registry of what subjects carry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from medmesh.cli.output import (
    config_option,
    emit,
    errors_in_words,
    json_option,
    run,
    set_option,
)
from medmesh.cli.schema_rows import print_proto, report_plan, row, what

if TYPE_CHECKING:
    from bus.catalogue import Believed, Plan, Registrar
    from bus.catalogue.registrar import Listing
    from medmesh.config import Configuration
    from schemas.registry.closures import Closure
    from schemas.registry.models import Binding

F = TypeVar("F", bound=Callable[..., object])


def _configuration(
    config_file: Path | None, flags: tuple[str, ...], *, as_json: bool
) -> Configuration:
    from medmesh.config import load

    with errors_in_words(as_json=as_json):
        return load(config_file, flags=flags)


@asynccontextmanager
async def _registry(
    configuration: Configuration, *, writes: bool = False
) -> AsyncIterator[Registrar]:
    from bus.clock import SystemClock
    from medmesh.cli.guest import visiting
    from medmesh.runtime.schemas import open_registry

    async with visiting(configuration, "schemas") as connection:
        yield await open_registry(connection, SystemClock(), writes=writes)


def _bind_options(function: F) -> F:
    """How a binding is written down on the command line."""
    for option in reversed(
        (
            click.option("--bind", "pattern", required=True, metavar="PATTERN",
                         help="Events, e.g. 'evt.north.result.reported.*', or calls, e.g. svc.north.beds.v1.rpc.free."),
            click.option("--message", default="", metavar="NAME",
                         help="Full name of the protobuf message type; needed where the schema has several."),
            click.option("--hl7v2", "hl7v2", multiple=True, metavar="TYPE",
                         help="Instead of a schema: HL7 v2 message types, e.g. ADT^A01 or 'ADT^*'. Repeat it."),
            click.option("--fhir", "release", default="", metavar="RELEASE",
                         help="Instead of a schema: FHIR resources of R4, R4B or R5."),
            click.option("--resource", "resources", multiple=True, metavar="NAME",
                         help="With --fhir: a resource type that is allowed; none allows all. Repeat it."),
            click.option("--content-type", "content_types", multiple=True, metavar="TYPE",
                         help="Content types; by default those of the kind. Alone it binds by content type."),
            click.option("--answer", default="", metavar="NAME",
                         help="Of calls: full name of the protobuf message type of the answer, in the same schema."),
            click.option("--answer-type", "answer_types", multiple=True, metavar="TYPE",
                         help="Of calls: content types of answers. Repeat it."),
            click.option("--check", "depth", type=click.Choice(["type", "full"]), default="type",
                         help="How much of a message is looked at."),
            click.option("--compat", "compatibility", default="",
                         type=click.Choice(["", "none", "backward", "forward", "full"]),
                         help="What later schemas must keep; default: as bound before, else backward for protobuf."),
            click.option("--codec", "codecs", multiple=True, default=("identity",), metavar="NAME",
                         help="Body encodings that readers know; documented, not checked."),
            click.option("--open", "is_open", is_flag=True, help="Not protected health data."),
            click.option("--describe", "description", default="", help="One line for people."),
            click.option("-I", "--proto-root", "root", type=click.Path(path_type=Path, file_okay=False),
                         help="With .proto text: the folder that imports start from."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


# reading


@click.command("ls")
@config_option
@set_option
@json_option
def list_bindings(config_file: Path | None, flags: tuple[str, ...], *, as_json: bool) -> None:
    """List what subjects are bound to. While no site runs: what this machine knew last."""
    configuration = _configuration(config_file, flags, as_json=as_json)
    listing, is_live = run(lambda: _listing(configuration), as_json=as_json)
    for one in listing.bindings:
        if as_json:
            emit({**row(one), "live": is_live})
        else:
            binding = one.revision.binding
            click.echo(f"{binding.pattern:44} {binding.kind.value:9} {what(binding)}")
    for key, reason in listing.refused.items():
        if as_json:
            emit({"key": key, "refused": reason, "live": is_live})
        else:
            click.echo(f"medmesh: {key} is not believed: {reason}", err=True)
    if not is_live:
        click.echo("medmesh: the mesh cannot be reached; this is what was known last", err=True)


@click.command("show")
@click.argument("name", metavar="PATTERN|HASH")
@config_option
@set_option
@json_option
@click.option("--proto", "as_proto", is_flag=True, help="Print the schema as protobuf text.")
def show(
    name: str, config_file: Path | None, flags: tuple[str, ...], *, as_json: bool, as_proto: bool
) -> None:
    """Show one binding, or one schema by its hash (eight digits or more of it)."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> tuple[Believed | None, Closure | None]:
        async with _registry(configuration) as registry:
            if "." in name and not name.startswith("sha256."):
                believed = await registry.read(name)
                schema = believed.revision.binding.schema
                return believed, await registry.descriptors.get(schema) if schema else None
            return None, await registry.descriptors.get(await registry.descriptors.find(name))

    believed, closure = run(main, as_json=as_json)
    if as_proto:
        print_proto(closure)
        return
    table = row(believed) if believed is not None else {}
    if closure is not None:
        table |= {"schema": closure.schema, "files": [one.name for one in closure.files.file]}
    if as_json:
        emit(table)
        return
    for key, value in table.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{key:14} {shown}")


@click.command("asyncapi")
@config_option
@set_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
def asyncapi(config_file: Path | None, flags: tuple[str, ...], *, output: Path | None) -> None:
    """Write an AsyncAPI 3 document of everything that is bound."""
    import json

    configuration = _configuration(config_file, flags, as_json=False)
    text = json.dumps(run(lambda: _document(configuration)), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(output), error.strerror or "cannot be written") from error
    click.echo(f"{output}: written")


async def _document(configuration: Configuration) -> dict[str, object]:
    from schemas.registry.asyncapi import Origin, document

    async with _registry(configuration) as registry:
        bindings = [one.revision.binding for one in (await registry.listing()).bindings]
        schemas = {one.schema for one in bindings if one.schema}
        closures = {one: await registry.descriptors.get(one) for one in sorted(schemas)}
    servers = configuration.settings.nats.servers
    scheme, _, host = (servers[0] if servers else "nats://127.0.0.1:4222").partition("://")
    origin = Origin(
        title=f"{configuration.settings.mesh.name}, site {configuration.site}",
        host=host,
        is_tls=scheme == "tls",
    )
    return document(bindings, closures, origin)


async def _listing(configuration: Configuration) -> tuple[Listing, bool]:
    from bus.clock import SystemClock
    from medmesh.runtime.schemas import last_known
    from schemas.errors import Unavailable

    try:
        async with _registry(configuration) as registry:
            return await registry.listing(), True
    except Unavailable:
        known = await last_known(configuration, SystemClock())
        if known is None:
            raise
        return known, False


# writing


@click.command("push")
@click.argument(
    "path", metavar="[FILE|FOLDER]", required=False, type=click.Path(exists=True, path_type=Path)
)
@_bind_options
@click.option(
    "--expect", type=int, help="The version that this replaces (0: nothing is bound yet)."
)
@config_option
@set_option
@json_option
def push(
    path: Path | None, *, expect: int | None, config_file: Path | None, flags: tuple[str, ...],
    as_json: bool, **options: object,
) -> None:  # fmt: skip
    """Bind subjects to a schema (a descriptor set, or .proto text), to HL7 v2 message types, or to FHIR resources."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> Believed:
        async with _registry(configuration, writes=True) as registry:
            binding, closure = await _wanted(registry, path, options)
            return await registry.push(binding, closure, expect=expect)

    believed = run(main, as_json=as_json)
    if as_json:
        emit(row(believed))
    else:
        binding, version = believed.revision.binding, believed.revision.version
        click.echo(f"{binding.pattern} is bound to {what(binding)} (version {version})")


@click.command("rm")
@click.argument("pattern")
@click.option("--expect", type=int, help="The version that is to be removed.")
@config_option
@set_option
@json_option
def remove(
    pattern: str,
    config_file: Path | None,
    flags: tuple[str, ...],
    *,
    expect: int | None,
    as_json: bool,
) -> None:
    """Take a binding back: its subjects may carry anything again. The schema itself stays."""
    configuration = _configuration(config_file, flags, as_json=as_json)

    async def main() -> Believed:
        async with _registry(configuration, writes=True) as registry:
            return await registry.remove(pattern, expect=expect)

    believed = run(main, as_json=as_json)
    if as_json:
        emit({"pattern": pattern, "removed": True, "version": believed.revision.version})
    else:
        click.echo(f"{pattern} is bound to nothing any more")


@click.command("check")
@click.argument("path", metavar="FILE|FOLDER", type=click.Path(exists=True, path_type=Path))
@_bind_options
@click.option(
    "--type",
    "content_type",
    default="",
    help="Content type of the sample; by default told by FILE.",
)
@config_option
@set_option
@json_option
def check(
    path: Path, *, content_type: str, config_file: Path | None, flags: tuple[str, ...], as_json: bool,
    **options: object,
) -> None:  # fmt: skip
    """Say, without writing, whether this schema would be taken or this content be published.

    FILE is a schema (.proto, .binpb, a folder), or a sample of content, which is held to what PATTERN is bound to.
    """
    from medmesh.cli.schema_sources import is_schema

    configuration = _configuration(config_file, flags, as_json=as_json)
    if is_schema(path):

        async def main() -> Plan:
            async with _registry(configuration) as registry:
                binding, closure = await _wanted(registry, path, options)
                return await registry.plan(binding, closure)

        report_plan(run(main, as_json=as_json), as_json=as_json)
        return
    pattern = str(options["pattern"])
    run(lambda: _fits(configuration, pattern, path, content_type), as_json=as_json)
    if as_json:
        emit({"fits": True, "pattern": pattern})
    else:
        click.echo(f"{path} fits what {pattern} is bound to")


async def _fits(configuration: Configuration, pattern: str, path: Path, content_type: str) -> None:
    from medmesh.cli.schema_sources import content_type_of
    from schemas.registry.checks import compile_check
    from schemas.registry.errors import SchemaError
    from schemas.registry.models import Kind

    body = await asyncio.to_thread(path.read_bytes)
    async with _registry(configuration) as registry:
        binding = (await registry.read(pattern)).revision.binding
        closure = await registry.descriptors.get(binding.schema) if binding.schema else None
    kind = content_type or content_type_of(path, body)
    if not kind and binding.kind is Kind.HL7V2:
        raise SchemaError(f"{path} holds no HL7 v2 message: no MSH was found")
    kind = kind or binding.content_types[0]
    compile_check(binding, closure)(kind, body)


async def _wanted(
    registry: Registrar, path: Path | None, options: dict[str, object]
) -> tuple[Binding, Closure | None]:
    """The binding of the command line. Raises `SchemaError`."""
    from medmesh.cli.schema_binding import wanted
    from schemas.errors import MeshError

    try:
        held = (await registry.read(str(options["pattern"]))).revision.binding
    except MeshError:
        held = None
    return wanted(path, options, held)


commands: Final = (list_bindings, show, push, remove, check, asyncapi)
"""What the group `medmesh schema` attaches."""

__all__ = ["commands"]
