"""What all commands share: exit codes, errors in words, JSON lines, progress only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTH = 4
    TIMEOUT = 5
    PARTIAL = 6


def emit(value: Mapping[str, object]) -> None:
    """Print one JSON object as a line of its own, at once."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def finish(code: Exit) -> NoReturn:
    """End the command with an exit code."""
    raise SystemExit(int(code))


def exit_code(error: Exception) -> Exit:
    """The exit code that an error of ours leads to."""
    if isinstance(error, TimeoutError):
        return Exit.TIMEOUT
    if isinstance(error, LookupError | FileNotFoundError):
        return Exit.NOT_FOUND
    if isinstance(error, PermissionError):
        return Exit.AUTH
    return Exit.FAILURE


@contextmanager
def errors_in_words(*, as_json: bool = False) -> Iterator[None]:
    """Turn `MeshError` into a message for people (or a JSON line) and an exit code; a bug keeps its traceback."""
    from schemas.errors import MeshError

    try:
        yield
    except MeshError as error:
        if as_json:
            emit({"event": "error", "code": error.code, "message": str(error)})
        click.echo(f"medmesh: {error}", err=True)
        finish(exit_code(error))
    except BrokenPipeError:
        # The reader of a pipe (head, less) has left: not an error of ours, and nobody is left to tell.
        sys.stderr.close()
        finish(Exit.OK)


def run(main: Callable[[], Coroutine[object, object, T]], *, as_json: bool = False) -> T:
    """Run a command's coroutine on uvloop where it is installed; Ctrl-C ends with 130."""
    import asyncio

    with errors_in_words(as_json=as_json):
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                return runner.run(main())
        except KeyboardInterrupt:
            raise SystemExit(130) from None


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Uvloop's event loop where it is installed, otherwise asyncio's."""
    try:
        import uvloop
    except ImportError:
        import asyncio

        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def config_option(function: F) -> F:
    """`-c FILE`: which configuration."""
    return click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="MEDMESH_CONFIG",
        help="Configuration file; default ./mesh.toml.",
    )(function)


def set_option(function: F) -> F:
    """`--set KEY=VALUE`: settings above the environment and the file."""
    return click.option(
        "--set",
        "flags",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one key, e.g. mesh.site=north or adapter.his-out.connect=his:2575.",
    )(function)


def json_option(function: F) -> F:
    """`--json`: for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(
        function
    )


__all__ = [
    "Exit",
    "config_option",
    "emit",
    "errors_in_words",
    "exit_code",
    "finish",
    "json_option",
    "loop_factory",
    "run",
    "set_option",
]
