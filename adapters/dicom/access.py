"""Who may associate: the table of application entities, and how many at a time. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from adapters.dicom.config import PeerConfig
from adapters.dicom.upper.errors import RejectResult, RejectSource
from adapters.dicom.upper.pdus import AssociateReject


class Refusal(StrEnum):
    """Why a peer was not let in. Stable: counted and logged."""

    CALLED_TITLE = "called_title_unknown"
    CALLING_TITLE = "calling_title_unknown"
    ADDRESS = "address_not_allowed"
    CERTIFICATE = "certificate_not_allowed"
    TOO_MANY = "too_many_associations"
    TOO_MANY_OF_PEER = "too_many_associations_of_peer"
    DRAINING = "draining"


_UNKNOWN_CALLING: Final = AssociateReject(RejectResult.PERMANENT, RejectSource.USER, 3)
_UNKNOWN_CALLED: Final = AssociateReject(RejectResult.PERMANENT, RejectSource.USER, 7)
_LIMIT: Final = AssociateReject(RejectResult.TRANSIENT, RejectSource.PRESENTATION, 2)

REJECTS: Final = {
    Refusal.CALLED_TITLE: _UNKNOWN_CALLED,
    Refusal.CALLING_TITLE: _UNKNOWN_CALLING,
    Refusal.ADDRESS: _UNKNOWN_CALLING,
    Refusal.CERTIFICATE: _UNKNOWN_CALLING,
    Refusal.TOO_MANY: _LIMIT,
    Refusal.TOO_MANY_OF_PEER: _LIMIT,
    Refusal.DRAINING: _LIMIT,
}
"""What the peer is told (PS3.8 table 9-21): a stranger does not learn which part of its proof was wrong."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a peer that asks."""

    called: str
    calling: str
    address: str
    certificate: str
    """Common name of its verified certificate; empty without one."""


class AccessTable:
    """The entities of one node and their associations."""

    def __init__(
        self, titles: Sequence[str], peers: Sequence[PeerConfig], *, max_associations: int
    ) -> None:
        self._titles = frozenset(titles)
        self._peers = {peer.title: peer for peer in peers}
        self._networks = {
            peer.title: tuple(ipaddress.ip_network(text, strict=False) for text in peer.networks)
            for peer in peers
        }
        self._max = max_associations
        self._open: Counter[str] = Counter()

    @property
    def associations(self) -> int:
        """How many are open."""
        return self._open.total()

    def admit(self, caller: Caller) -> PeerConfig | Refusal:
        """The entity, counted as associated until `leave`; or why it may not associate."""
        if caller.called not in self._titles:
            return Refusal.CALLED_TITLE
        peer = self._peers.get(caller.calling)
        if peer is None:
            return Refusal.CALLING_TITLE
        if peer.networks and not self._comes_from(peer.title, caller.address):
            return Refusal.ADDRESS
        if peer.certificate and peer.certificate != caller.certificate:
            return Refusal.CERTIFICATE
        if self._open.total() >= self._max:
            return Refusal.TOO_MANY
        if self._open[peer.title] >= peer.max_associations:
            return Refusal.TOO_MANY_OF_PEER
        self._open[peer.title] += 1
        return peer

    def leave(self, title: str) -> None:
        """An association that was admitted has ended."""
        self._open[title] -= 1

    def is_known(self, address: str) -> bool:
        """Whether an entity may come from this address at all."""
        return any(
            not peer.networks or self._comes_from(peer.title, address)
            for peer in self._peers.values()
        )

    def _comes_from(self, title: str, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            return any(ip.ipv4_mapped in network for network in self._networks[title])
        return any(ip in network for network in self._networks[title])


__all__ = ["REJECTS", "AccessTable", "Caller", "Refusal"]
