"""`medmesh schema`: convert documents between FHIR JSON and protobuf; the registry's commands join from next door."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Never, TypeVar

import click

from medmesh.cli.output import Exit, emit, errors_in_words, finish, json_option
from medmesh.cli.schema_registry import commands

if TYPE_CHECKING:
    from schemas.fhir import Release
    from schemas.fhir.roundtrip import RoundTrip

_SHOWN_PROBLEMS = 20
F = TypeVar("F", bound=Callable[..., object])


@click.group("schema")
def command() -> None:
    """Convert FHIR to protobuf and back; list and bind the schemas of subjects."""


for _each in commands:
    command.add_command(_each)


def _release_option(function: F) -> F:
    return click.option(
        "--release",
        "release_name",
        type=click.Choice(["R4", "R4B", "R5"], case_sensitive=False),
        default="R4",
        show_default=True,
        help="Release of FHIR.",
    )(function)


@command.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--to", "target", type=click.Choice(["protobuf", "json"]), required=True)
@_release_option
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output."
)  # fmt: skip
@click.option(
    "--bare", is_flag=True,
    help="To protobuf: the resource's own message, without the ResourceBox that names its type.",
)  # fmt: skip
@click.option(
    "--type", "resource_type", help="To json: FILE is a bare message of this resource type."
)
def convert(
    file: Path,
    target: str,
    release_name: str,
    output: Path | None,
    resource_type: str | None,
    *,
    bare: bool,
) -> None:
    """Convert the FHIR document in FILE (- reads standard input) to protobuf, or back to JSON.

    Protobuf is written as a ResourceBox, which holds the type and the message, or the JSON itself where protobuf
    cannot carry it exactly. The result is read back and compared before it is written.
    """
    if bare and target == "json":
        raise click.UsageError("--bare belongs to --to protobuf; to json, name the --type instead")
    if resource_type and target == "protobuf":
        raise click.UsageError("--type belongs to --to json: JSON names its type itself")
    if target == "protobuf" and output is None and sys.stdout.isatty():
        raise click.UsageError("protobuf is no text: name a file with --output, or use a pipe")
    raw = _read(file)
    with errors_in_words(), _named(file):
        from schemas.fhir import Release

        release = Release(release_name.upper())
        if target == "protobuf":
            result, words = _to_protobuf(raw, release, bare=bare)
        else:
            result, words = _to_json(raw, release, resource_type)
    _write(result, output)
    click.echo(f"{file}: {words}: {len(raw)} to {len(result)} bytes", err=True)


def _to_protobuf(raw: bytes, release: Release, *, bare: bool) -> tuple[bytes, str]:
    from schemas.fhir import BodyCodec, FhirCodec, MalformedFhir
    from schemas.fhir.container import boxed

    codec = FhirCodec(release)
    encoded = codec.encode(raw, verify=True)
    if encoded.codec is BodyCodec.PROTOBUF:
        return (encoded.body if bare else boxed(encoded, release)), encoded.message_type
    reason = ", ".join(each.value for each in codec.counts.fell_back)
    if bare:
        raise MalformedFhir(
            f"protobuf cannot carry it exactly ({reason}); without --bare it is kept as JSON in a box"
        )
    return boxed(encoded, release), f"kept as JSON in a box ({reason})"


def _to_json(raw: bytes, release: Release, resource_type: str | None) -> tuple[bytes, str]:
    from schemas.fhir import BodyCodec, Encoded, FhirCodec
    from schemas.fhir.container import unboxed

    if resource_type:
        encoded = Encoded(BodyCodec.PROTOBUF, raw, release.message_type(resource_type))
    else:
        encoded = unboxed(raw, release)
    return FhirCodec(release).decode(encoded), encoded.message_type or "JSON in a box"


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_release_option
@json_option
def roundtrip(folder: Path, release_name: str, *, as_json: bool) -> None:
    """Convert every .json file below FOLDER to protobuf and back, and count those that come back identical.

    Exit code 0: all are identical; 6: some are not; 1: none is; 3: there is no such folder, or no file in it.
    """
    from schemas.fhir import Release
    from schemas.fhir.roundtrip import RoundTrip, Verdict

    if not folder.is_dir():
        _fail(f"{folder}: no such folder", Exit.NOT_FOUND, as_json=as_json)
    files = sorted(path for path in folder.rglob("*.json") if path.is_file())
    if not files:
        _fail(f"{folder}: holds no .json file", Exit.NOT_FOUND, as_json=as_json)
    trip = RoundTrip(Release(release_name.upper()))
    problems: list[dict[str, str]] = []
    with _progress(len(files), shown=sys.stderr.isatty() and not as_json) as advance:
        for path in files:
            verdict, words = trip.take(_read(path, as_json=as_json))
            if verdict is not Verdict.IDENTICAL:
                problems.append(
                    {"file": str(path.relative_to(folder)), "verdict": verdict.value, "problem": words}
                )  # fmt: skip
            advance()
    _report(trip, len(files), problems, as_json=as_json)
    identical = trip.verdicts[Verdict.IDENTICAL]
    if identical < len(files):
        finish(Exit.PARTIAL if identical else Exit.FAILURE)


def _report(trip: RoundTrip, files: int, problems: list[dict[str, str]], *, as_json: bool) -> None:
    from schemas.fhir.roundtrip import Verdict

    counted = {verdict: trip.verdicts[verdict] for verdict in Verdict}
    unknown = trip.codec.counts.unknown_json
    if as_json:
        emit(
            {
                "files": files,
                "identical": counted[Verdict.IDENTICAL],
                "different": counted[Verdict.DIFFERENT],
                "errors": counted[Verdict.ERROR],
                "as_json": trip.as_json,
                "with_unknown_json": unknown,
                "json_bytes": trip.json_bytes,
                "protobuf_bytes": trip.protobuf_bytes,
                "problems": problems,
            }
        )
        return
    for problem in problems[:_SHOWN_PROBLEMS]:
        click.echo(f"{problem['file']}: {problem['verdict']}: {problem['problem']}", err=True)
    if len(problems) > _SHOWN_PROBLEMS:
        click.echo(f"... and {len(problems) - _SHOWN_PROBLEMS} more (--json lists all)", err=True)
    click.echo(
        f"{files} files: {counted[Verdict.IDENTICAL]} identical, {counted[Verdict.DIFFERENT]} different, "
        f"{counted[Verdict.ERROR]} errors; {trip.as_json} kept as JSON, {unknown} with elements that "
        f"{trip.release.value} does not define; {trip.json_bytes} bytes of JSON, {trip.protobuf_bytes} of protobuf"
    )


def _read(file: Path, *, as_json: bool = False) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except FileNotFoundError:
        _fail(f"{file}: no such file", Exit.NOT_FOUND, as_json=as_json)
    except IsADirectoryError:
        raise click.UsageError(
            f"{file} is a folder; `medmesh schema roundtrip` takes folders"
        ) from None
    except PermissionError:
        _fail(f"{file}: may not be read", Exit.AUTH, as_json=as_json)
    except OSError as error:
        _fail(f"{file}: cannot be read: {error.strerror}", Exit.FAILURE, as_json=as_json)


def _write(result: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(result)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(result)
    except OSError as error:
        _fail(f"{output}: cannot be written: {error.strerror}", Exit.FAILURE)


def _fail(words: str, code: Exit, *, as_json: bool = False) -> Never:
    if as_json:
        emit({"event": "error", "code": code.name.lower(), "message": words})
    click.echo(f"medmesh: {words}", err=True)
    finish(code)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Put the file's name before the words of an error of FHIR's."""
    from schemas.fhir import MalformedFhir, UnknownFhirType

    try:
        yield
    except (MalformedFhir, UnknownFhirType) as error:
        raise type(error)(f"{file}: {error}") from None


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error; yields what moves it by one."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("converting", total=total)
        yield lambda: bar.advance(task)
