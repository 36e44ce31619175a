"""Reverse proxies in front of a service: nginx (HTTP/1.1 to it) and Envoy (HTTP/2 to it), one worker each, no TLS."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from benchmarks.calls import accepts, sidecar
from tests.ports import free_port

_NGINX: Final = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{listen}; keepalive_requests 1000000;
    location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def _nginx(folder: Path, listen: int, upstream: int) -> list[str] | None:
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        return None
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, listen=listen, upstream=upstream))
    return [found, "-c", str(file), "-p", str(folder), "-e", str(folder / "nginx.log")]


def _envoy(folder: Path, listen: int, upstream: int) -> list[str] | None:
    found = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if found is None:
        return None
    file = folder / "envoy.json"
    file.write_text(json.dumps(sidecar(listen, upstream, server=None, client=None)))
    own = ["--concurrency", "1", "--disable-hot-restart", "--use-dynamic-base-id"]
    return [found, "-c", str(file), *own, "-l", "warning"]


@asynccontextmanager
async def proxies(folder: Path, upstream: int) -> AsyncIterator[Mapping[str, tuple[int, int]]]:
    """Those that are installed, by name: process and port. Of the others a line tells."""
    children: list[asyncio.subprocess.Process] = []
    found: dict[str, tuple[int, int]] = {}
    try:
        for name, command_of in (("nginx", _nginx), ("envoy", _envoy)):
            port = free_port()
            command = command_of(folder, port, upstream)
            if command is None:
                print(f"{name} is not installed: its rows are left out", file=sys.stderr)
                continue
            with (folder / f"{name}.out").open("wb") as log:
                child = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
            children.append(child)
            await accepts(port)
            found[name] = child.pid, port
        yield found
    finally:
        for child in children:
            if child.returncode is None:
                child.terminate()
            await child.wait()


__all__ = ["proxies"]
