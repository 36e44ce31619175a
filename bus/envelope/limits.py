"""What the envelope bounds, and the numbers at which it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bus.envelope.suites import SUITES

MAX_BATCH: Final = 1024
"""Messages under one signature: the leaf number is the GCM nonce, and JetStream takes 1000 in one atomic batch."""
MAX_HEADER_BYTES: Final = 256
"""A serialised BatchHeader; one of ours has about 120 bytes."""
MAX_HEAD_BYTES: Final = 1024
"""A serialised MessageHead: two subjects of 255 characters and about 90 bytes."""

SHELL_BYTES: Final = MAX_HEAD_BYTES + 512
"""What an envelope has around its content at most: head, and path, signature and framing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a sealer or an opener. Whatever is dropped at a bound is found again or refused, never believed."""

    max_envelope_bytes: int = 8 << 20
    """8 MiB. Refused above, before anything is parsed; events are held further below the server's `max_payload`
    (`bus.events.sizes`), so that they fit into a dead letter."""
    max_key_package_bytes: int = 512 << 10
    """512 KiB: 256 recipients of suite 2. An inline key package counts on top of `max_envelope_bytes`."""
    max_recipients: int = 256
    """Services that may read one subject. Each costs 1.2 KB (suite 1) or 1.8 KB (suite 2) in every key package."""
    suites: frozenset[int] = frozenset(SUITES)
    """Suites that an opener believes. There is no negotiation and no fallback."""
    max_clock_skew_ms: int = 120_000
    """Two minutes: how far a sender's clock may run ahead of ours."""

    epoch_ms: int = 600_000
    """Ten minutes: how long a sender uses one epoch key. A new one costs 0.3 ms and 0.1 ms a recipient more."""
    epoch_messages: int = 1 << 20
    """After so many messages a sender takes a new epoch key."""
    max_subjects: int = 65_536
    """Subjects that a sealer counts in one run; it begins a new run at the bound. About 300 bytes each."""
    max_epochs: int = 4096
    """Epoch keys that a sealer or an opener keeps, least recently used out first. About 500 bytes each."""

    max_batches: int = 512
    """Batches whose proven nodes an opener keeps: a message of a kept batch costs no signature verification."""
    max_leaves: int = 65_536
    """Bound on the sum of the sizes of those batches: about 10 MB."""
    max_tracked_subjects: int = 65_536
    """(sender, run, subject) triples whose sequence an opener follows. About 250 bytes each."""
    max_window_runs: int = 4096
    """(sender, run) pairs in the replay window. At the bound the oldest goes, and what is older than it is refused."""
    max_window_batches: int = 262_144
    """Batches in the replay window, all senders together. About 140 bytes each; at the bound floors rise."""

    def __post_init__(self) -> None:
        if self.max_subjects < MAX_BATCH:
            raise ValueError(f"max_subjects is {self.max_subjects}; at least {MAX_BATCH} is needed")


__all__ = [
    "MAX_BATCH",
    "MAX_HEADER_BYTES",
    "MAX_HEAD_BYTES",
    "SHELL_BYTES",
    "Limits",
]
