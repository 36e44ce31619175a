"""The connections of one of our listeners, found among the process's own files (Linux): granian shows none of them.

Elsewhere nothing is found, and connections end when their peers or granian's own deadlines end them.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_OWN_FILES: Final = "/proc/self/fd"
_TCP_INFO_BYTES: Final = 192
# struct tcp_info (linux/tcp.h): tcpi_last_data_recv (ms) at 52, tcpi_bytes_received at 128
_LAST_RECEIVED: Final = struct.Struct("=52xI")
_RECEIVED: Final = struct.Struct("=128xQ")


def cut(port: int) -> int:
    """Close every connection of the listener on `port`; how many there were."""
    count = 0
    for one in _connections(port):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
            count += 1
    return count


def cut_silent(port: int, *, after_s: float) -> int:
    """Close the connections that have not said a byte for so long since they were opened; how many there were."""
    count = 0
    for one in _connections(port):
        with suppress(OSError, struct.error):
            state = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            (received,) = _RECEIVED.unpack_from(state)
            (silent_ms,) = _LAST_RECEIVED.unpack_from(state)
            if not received and silent_ms > after_s * 1000:
                one.shutdown(socket.SHUT_RDWR)
                count += 1
    return count


def _connections(port: int) -> Iterator[socket.socket]:
    """Handles of the sockets that are connected at a port of ours; closed behind the caller."""
    try:
        files = list(Path(_OWN_FILES).iterdir())
    except OSError:
        return
    for file in files:
        with suppress(OSError):
            number = int(file.name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as one:
                if one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port:
                    one.getpeername()
                    yield one


__all__ = ["cut", "cut_silent"]
