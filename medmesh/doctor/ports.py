"""Who has a port: asked of the kernel's own tables (Linux), so that an error can name the program to look at."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from medmesh.doctor.finding import Finding, good, wrong

_LISTENING: Final = "0A"
_LOCAL, _STATE, _INODE = 1, 3, 9


def check_port(adapter: str, address: str, *, ours: frozenset[int]) -> Finding:
    """Whether an adapter's listener can be had. `ours` are process ids of the mesh that may have it rightly."""
    host, _, port = address.rpartition(":")
    if port == "0":
        return good("ports", adapter, f"{address}: the system chooses a free one")
    problem = _why_not_bindable(host.strip("[]"), int(port))
    if problem is None:
        return good("ports", adapter, f"{address} is free")
    if problem != errno.EADDRINUSE:
        return wrong(
            "ports",
            adapter,
            f"{address} cannot be listened on: {os.strerror(problem)}",
            "listen on an address of this machine; ports below 1024 need a privilege",
        )
    pid, name = owner(int(port)) or (0, "")
    if pid in ours:
        return good("ports", adapter, f"{address} is ours (process {pid})")
    who = f"{name} (process {pid})" if pid else "another program"
    return wrong(
        "ports", adapter, f"{address} is taken by {who}", "stop that program or change `listen`"
    )


def _why_not_bindable(host: str, port: int) -> int | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return None


def owner(port: int) -> tuple[int, str] | None:
    """Process id and name of the program that listens on a TCP port; None when nobody does or it is hidden."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return int(process.name), (process / "comm").read_text().strip()
    return None


def _listening_inodes(port: int) -> list[str]:
    wanted = f"{port:04X}"
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[_STATE] == _LISTENING and columns[_LOCAL].endswith(f":{wanted}"):
                    found.append(columns[_INODE])
    return found


def taken_words(address: str) -> str:
    """`; it is taken by nginx (process 812)` for an address that is in use, otherwise an empty string."""
    port = address.rpartition(":")[2]
    found = owner(int(port)) if port.isdigit() and port != "0" else None
    return f"; it is taken by {found[1]} (process {found[0]})" if found else ""


__all__ = ["check_port", "owner", "taken_words"]
