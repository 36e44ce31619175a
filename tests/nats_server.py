"""A private nats-server for tests: its own folder and ports, killed and started again at will."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from bus.transport.binary import find_server
from schemas.errors import ConfigurationError
from tests.ports import free_port

_START_S = 20.0


class NatsServer:
    """One nats-server on loopback with JetStream and `sync_interval: always`."""

    def __init__(
        self, folder: Path, *, jetstream: str = "", extra: str = "", greets: bool = True
    ) -> None:
        self.folder = folder
        self._greets = greets
        """Whether it sends INFO first; with `handshake_first` TLS comes before."""
        self.port = free_port()
        self.monitor_port = free_port()
        self.store = folder / "jetstream"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "server.conf"
        self._config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\nserver_name: test\n'
            f'max_payload: 8MB\njetstream {{ store_dir: "{self.store}", sync_interval: always {jetstream} }}\n{extra}\n'
        )

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where the server tells about itself."""
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server said so far."""
        return (self.folder / "server.log").read_text()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_binary()), "-c", str(self._config)], stdout=log, stderr=log
            )
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0) as link:
                    if not self._greets or link.recv(4) == b"INFO":
                        return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"nats-server did not start: {self.log[-800:]}")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in peace."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self) -> None:
        """Kill and start."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop the process in its tracks (SIGSTOP): connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)


def _binary() -> Path:
    return find_server().path


def require_server() -> None:
    """Skip the test where no nats-server can be had; fail it when CI=true."""
    try:
        find_server()
    except ConfigurationError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
