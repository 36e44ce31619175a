"""Ports for the servers of tests."""

from __future__ import annotations

from bus.transport.ports import free_ports

_given: set[int] = set()


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on, that no outgoing connection takes, and that was not given."""
    while (port := free_ports([0])[0]) in _given:
        pass
    _given.add(port)
    return port


__all__ = ["free_port"]
