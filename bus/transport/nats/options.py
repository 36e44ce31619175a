"""Settings of a connection to NATS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to log in. Leave everything out for a server that asks for nothing."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials_file: Path | None = None
    """A NATS `.creds` file (JWT and nkey seed). Needs the package `nkeys`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOptions:
    """What the numbers cost is said at each."""

    connect_timeout_s: float = 5.0
    """How long one attempt on one server may take."""
    start_timeout_s: float = 10.0
    """How long the first connection may take in all before `connect` raises."""
    reconnect_wait_s: float = 0.05
    """First wait between attempts after a loss; doubles up to `reconnect_wait_max_s`, jittered."""
    reconnect_wait_max_s: float = 2.0
    ping_interval_s: float = 5.0
    """How often a silent connection is tried: with `ping_timeout_s` the time until a stalled server is left."""
    ping_timeout_s: float = 5.0
    pending_bytes: int = 4 * 1024 * 1024
    """Publishers wait while more than this is not written to the socket yet."""
    publish_wait_s: float = 10.0
    """How long a call waits for a lost connection before it raises `Unavailable`."""
    api_timeout_s: float = 5.0
    """How long one question to JetStream may take."""
    ack_timeout_s: float = 5.0
    """After this long without an answer `store` is in doubt and sends again, one by one."""
    atomic_threshold: int = 24
    """Batches from this size on are stored as one atomic batch (ADR-50): about 10 ms, whatever their size, where a
    message alone costs one fsync (0.3 to 0.5 ms)."""
    pull_expires_s: float = 30.0
    """How long a standing pull request lives before it is renewed."""
    pull_heartbeat_s: float = 5.0
    """How often the server shows that a pull request still stands; after two missed ones deliveries are doubted."""
    fast: bool = True
    """Our own parser and writer on nats-py's inside, for a half to a tenth of the processor time a message. Where that
    inside is not as expected, nats-py's public ways are used by themselves. `MEDMESH_NATS_FAST=0` says so too."""
    inbox_prefix: str = "_INBOX"
    """Where answers come in; the server's permissions may ask for a private one."""
    monitor_url: str = ""
    """`http://host:port` of the server's monitoring, the only place that tells whether it syncs always."""
    tls_first: bool = False
    """Start TLS before the server's greeting, as `tls { handshake_first: true }` asks."""


__all__ = ["Credentials", "NatsOptions"]
