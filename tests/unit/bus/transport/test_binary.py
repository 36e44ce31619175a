from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bus.transport.binary import VARIABLE, find_server
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def program(folder: Path, says: str, code: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_named_program_wins_over_the_path(tmp_path: Path) -> None:
    named = program(tmp_path / "a", "nats-server: v2.14.3")
    program(tmp_path / "b", "nats-server: v2.20.0")
    found = find_server({VARIABLE: str(named), "PATH": str(tmp_path / "b")})
    assert (found.path, found.version, found.origin) == (named, (2, 14, 3), VARIABLE)


def test_program_on_the_path_wins_over_the_wheel(tmp_path: Path) -> None:
    on_path = program(tmp_path / "b", "nats-server: v3.0.1")
    found = find_server({"PATH": str(tmp_path / "b")})
    assert (found.path, found.version, found.origin) == (on_path, (3, 0, 1), "PATH")


def test_old_server_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    old = program(tmp_path, "nats-server: v2.9.25")
    with pytest.raises(ConfigurationError, match=r"2\.9\.25.*at least 2\.14\.0"):
        find_server({VARIABLE: str(old)})


@pytest.mark.parametrize(("says", "code"), [("nats-server: v2.15.1", 1), ("hello", 0)])
def test_program_that_is_no_nats_server_is_refused(tmp_path: Path, says: str, code: int) -> None:
    with pytest.raises(ConfigurationError):
        find_server({VARIABLE: str(program(tmp_path, says, code))})


def test_named_program_that_is_missing_is_an_error_even_with_another_on_the_path(
    tmp_path: Path,
) -> None:
    program(tmp_path, "nats-server: v2.15.1")
    with pytest.raises(ConfigurationError, match=VARIABLE):
        find_server({VARIABLE: str(tmp_path / "nothing"), "PATH": str(tmp_path)})


def test_no_server_anywhere_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ConfigurationError, match=r"medmesh\[server\]"):
        find_server({"PATH": str(tmp_path)})
