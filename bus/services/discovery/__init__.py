"""Who runs: instances announce themselves with leases and heartbeats; every caller keeps a table of its own."""

from bus.services.discovery.announcer import Announcer
from bus.services.discovery.records import RecordSeals, SignedRecord
from bus.services.discovery.registry import DiscoveryHealth, MeshRegistry
from bus.services.discovery.settings import DiscoverySettings

__all__ = [
    "Announcer",
    "DiscoveryHealth",
    "DiscoverySettings",
    "MeshRegistry",
    "RecordSeals",
    "SignedRecord",
]
