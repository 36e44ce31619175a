"""Ports of the loopback interface for servers of our own.

They come from below the range that the kernel gives to outgoing connections: a port of that range may be taken by any
connection of this machine between the choice and the use, and again whenever the server is down.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_LOWEST: Final = 10240
_OUTGOING: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_OUTGOING: Final = 32768
_TRIES: Final = 200


def free_ports(wanted: Sequence[int]) -> tuple[int, ...]:
    """A free port for each wanted one: that one where it is free, any other where not (0: any)."""
    probes = [socket.socket() for _ in wanted]
    try:
        return tuple(_bind(probe, port) for probe, port in zip(probes, wanted, strict=True))
    finally:
        for probe in probes:
            probe.close()


def _bind(probe: socket.socket, wanted: int) -> int:
    # past connections do not hold a port
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    chance = random.SystemRandom()
    highest = max(_LOWEST + 1, _first_outgoing() - 1)
    choices = [chance.randint(_LOWEST, highest) for _ in range(_TRIES)]
    for port in [wanted, *choices] if wanted else choices:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    probe.bind(("127.0.0.1", 0))  # below is full: better a port at risk than none
    bound: int = probe.getsockname()[1]
    return bound


def _first_outgoing() -> int:
    try:
        return int(_OUTGOING.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_OUTGOING


__all__ = ["free_ports"]
