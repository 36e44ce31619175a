"""A private PostgreSQL for tests: its own folder and port, fsync on, killed and started again at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.ports import free_port

_START_S = 60.0
_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def find_binaries() -> Path | None:
    """The folder that holds `postgres` and `initdb`: on the PATH, or where Debian puts them."""
    found = shutil.which("postgres")
    places = [Path(found).resolve().parent] if found else []
    return next((one for one in [*places, *_FOLDERS] if (one / "initdb").exists()), None)


def require_postgres() -> Path:
    """Skip the test where PostgreSQL is not installed; fail it when CI=true."""
    folder = find_binaries()
    if folder is not None:
        return folder
    missing = "PostgreSQL is not installed (Debian: apt-get install postgresql-15)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def _as_unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: give the folder to someone else and run as them."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class PostgresServer:
    """One cluster on loopback."""

    def __init__(self) -> None:
        self._binaries = require_postgres()
        # pytest's own folders are closed to other users
        self.folder = Path(tempfile.mkdtemp(prefix="medmesh-postgres-"))
        self._who = _as_unprivileged(self.folder)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make the cluster's files."""
        subprocess.run(
            [
                str(self._binaries / "initdb"), "-D", str(self.folder / "data"), "-U", "medmesh",
                "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C",
            ],
            check=True, capture_output=True, cwd="/", timeout=_START_S, **self._who,
        )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = [
            "-c", "fsync=on", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "shared_buffers=16MB", "-c", "max_connections=40",
        ]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options],
                stdout=log, stderr=log, cwd="/", **self._who,
            )  # fmt: skip
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError(
            f"PostgreSQL did not start: {(self.folder / 'server.log').read_text()[-800:]}"
        )

    def conninfo(self, database: str) -> str:
        """Where clients connect."""
        return f"host=127.0.0.1 port={self.port} user=medmesh dbname={database}"

    def fresh_database(self) -> str:
        """The conninfo of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        return self.conninfo(name)

    def kill(self) -> None:
        """End it with SIGKILL, its backends too, as a crash would."""
        assert self._process is not None
        backends = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self._process.kill()
        for pid in backends.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def stop(self) -> None:
        """End it, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
