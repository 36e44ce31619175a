"""The in-memory twin of NATS: the whole `Transport` protocol in one process, with faults that a test can order."""

from bus.transport.memory.broker import MemoryBroker, MemoryTransport
from bus.transport.memory.faults import Faults

__all__ = ["Faults", "MemoryBroker", "MemoryTransport"]
