"""Who may connect, how often, and how fast: pure policies of the MLLP server."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bus.flow import TokenBucket


class Refusal(StrEnum):
    """Why a connection was closed before its first byte."""

    NOT_ALLOWED = "peer_not_allowed"
    TOO_MANY = "too_many_connections"
    TOO_MANY_OF_PEER = "too_many_connections_of_peer"
    DRAINING = "draining"


@dataclass(slots=True)
class _Peer:
    connections: int = 0
    bucket: TokenBucket | None = None
    used_s: float = 0.0


class Peers:
    """Counts connections by address and knows each address's allowance."""

    def __init__(
        self,
        *,
        allow: Iterable[str],
        max_connections: int,
        max_connections_per_peer: int,
        messages_per_second: float,
    ) -> None:
        self._allow = tuple(ipaddress.ip_network(cidr, strict=False) for cidr in allow)
        self._max_connections = max_connections
        self._max_connections_per_peer = max_connections_per_peer
        self._messages_per_second = messages_per_second
        self._peers: dict[str, _Peer] = {}
        self._connections = 0

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._connections

    def admit(self, address: str) -> Refusal | None:
        """Count a new connection, or say why it may not be."""
        if not self._is_allowed(address):
            return Refusal.NOT_ALLOWED
        if self._connections >= self._max_connections:
            return Refusal.TOO_MANY
        peer = self._peers.setdefault(address, _Peer())
        if peer.connections >= self._max_connections_per_peer:
            return Refusal.TOO_MANY_OF_PEER
        peer.connections += 1
        self._connections += 1
        return None

    def leave(self, address: str) -> None:
        """Say that an admitted connection has closed."""
        self._connections -= 1
        peer = self._peers[address]
        peer.connections -= 1
        if not peer.connections and peer.bucket is None:
            del self._peers[address]

    def delay_s(self, address: str, now_s: float) -> float:
        """0.0 when a message of this address may be worked now; else ask again after so many seconds."""
        if not self._messages_per_second:
            return 0.0
        peer = self._peers.setdefault(address, _Peer())
        if peer.bucket is None:
            burst = max(1, int(self._messages_per_second))
            peer.bucket = TokenBucket(per_s=self._messages_per_second, burst=burst, now_s=now_s)
        peer.used_s = now_s
        return peer.bucket.take(now_s)

    def forget_idle(self, now_s: float) -> None:
        """Drop what is remembered of addresses that are gone, once their allowance is whole again."""
        whole_s = max(1.0, 1.0 / self._messages_per_second) if self._messages_per_second else 0.0
        for address, peer in list(self._peers.items()):
            if not peer.connections and now_s - peer.used_s >= whole_s:
                del self._peers[address]

    def _is_allowed(self, address: str) -> bool:
        if not self._allow:
            return True
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            return any(ip.ipv4_mapped in network for network in self._allow)
        return any(ip in network for network in self._allow)


__all__ = ["Peers", "Refusal"]
