"""`Transport` on a NATS server, by nats-py. No type of that library leaves this folder."""

from bus.transport.nats import lean as _lean  # noqa: F401  # before anything else of nats-py
from bus.transport.nats.options import Credentials, NatsOptions
from bus.transport.nats.transport import NatsTransport, connect

__all__ = ["Credentials", "NatsOptions", "NatsTransport", "connect"]
