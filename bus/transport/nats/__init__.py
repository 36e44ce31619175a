"""`Transport` on a NATS server, by nats-py. No type of that library leaves this folder."""

from bus.transport.nats.options import Credentials, NatsOptions
from bus.transport.nats.transport import NatsTransport, connect

__all__ = ["Credentials", "NatsOptions", "NatsTransport", "connect"]
