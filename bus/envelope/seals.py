"""What events and calls need of the envelope and of trust: sealing, opening, and getting what was missing for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from bus.envelope.types import Envelope, EpochId, Plain, Refused, SealedBatch


class Opening(Protocol):
    """Opens envelopes for one reader, with a replay window of its own."""

    def open(self, subject: str, sealed: bytes, *, authorised_replay: bool = False) -> Envelope:
        """Check and open. An authorised replay skips the replay window and the expiry, nothing else.

        Raises `Refused`.
        """
        ...

    @property
    def chain_breaks(self) -> int:
        """Batches so far that contradicted another one of the same sender: it was copied, or it lies."""
        ...

    def mark(self, envelope: Envelope) -> bytes:
        """Remember that the message was worked: a second copy is refused. Returns what `restore` needs of it."""
        ...

    def snapshot(self) -> bytes:
        """The replay window as bytes."""
        ...

    def restore(self, window: bytes, marks: Iterable[bytes]) -> None:
        """Take up the replay window of an earlier run: a snapshot and what was marked after it."""
        ...


class Seals(Protocol):
    """One service's way to seal and open."""

    @property
    def service(self) -> str:
        """Name of the service."""
        ...

    def seal(self, plains: Sequence[Plain]) -> SealedBatch:
        """Seal a batch under one signature. Raises `MeshError`."""
        ...

    def opener(self, *, replay_window: bool = True) -> Opening:
        """A new opener; without a replay window for those who read the same message again and again."""
        ...

    def short_lived(self, ttl_s: float) -> Seals:
        """The same service's way to seal what must not be believed any more after `ttl_s` seconds (calls)."""
        ...

    async def publish_package(self, epoch: EpochId, package: bytes) -> None:
        """Put a key package where readers find it. Raises `MeshError`."""
        ...

    async def supply(self, refusal: Refused, sealed: bytes, opener: Opening) -> bool:
        """Fetch what was missing to open `sealed` (key package, certificate) so that `open` can be tried again.

        False when it does not exist. Raises `MeshError` when it cannot be asked for now.
        """
        ...


__all__ = ["Opening", "Seals"]
