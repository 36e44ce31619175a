"""Checks of listeners: free, ours, or taken and by whom."""

from __future__ import annotations

import errno
import os
import socket

from medmesh.doctor.finding import Finding, good, wrong
from medmesh.listeners import owner


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


__all__ = ["check_port"]
