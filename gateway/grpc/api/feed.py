"""What Subscribe needs of whoever follows the site's events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from bus.events.protocol import ReceivedEvent


@dataclass(frozen=True, slots=True)
class Followed:
    """One step: an event, or only how far the events were looked through."""

    seq: int
    event: ReceivedEvent | None = None


class Feed(Protocol):
    """Follows events in the order in which they were stored. Whoever follows slowly holds nobody else up."""

    def follow(
        self, patterns: tuple[str, ...], *, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        """Events of the patterns behind a sequence number; None: what comes from now on. Closing it ends it.

        Gives a step without event from time to time. Raises `MeshError`, also for one that is too slow for its bound.
        """
        ...


__all__ = ["Feed", "Followed"]
