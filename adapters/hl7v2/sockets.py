"""Options of TCP sockets by which dead peers are noticed."""

from __future__ import annotations

import select
import socket
from typing import Final

_IDLE_S: Final = 60
_INTERVAL_S: Final = 15
_PROBES: Final = 4


def keep_alive(sock: socket.socket, *, unacknowledged_ms: int = 0) -> None:
    """Send small messages at once, and notice a peer that vanished within two minutes.

    `unacknowledged_ms` also ends the connection when sent bytes stay without a TCP acknowledgement for so long.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _IDLE_S),
        ("TCP_KEEPINTVL", _INTERVAL_S),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", unacknowledged_ms),
    ):
        number = getattr(socket, option, None)  # not every system has each of them
        if number is not None and value:
            sock.setsockopt(socket.IPPROTO_TCP, number, value)


def is_hung_up(sock: socket.socket) -> bool:
    """Whether the peer has closed its side: asked of the kernel, without waiting."""
    if sock.fileno() < 0:
        return True
    hung_up = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
    poll = select.poll()
    poll.register(sock.fileno(), hung_up)
    return bool(poll.poll(0))


__all__ = ["is_hung_up", "keep_alive"]
