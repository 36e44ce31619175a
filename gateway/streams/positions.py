"""Where a reader of a stream is: `<stream>-<sequence>`, the same at every gateway of the site."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bus.events.following import Feed
from schemas.errors import MeshError

_POSITION: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})\Z")


class BadPosition(MeshError, ValueError):
    """Text that is no position, or one of another stream."""

    code = "bad_position"


class StreamReplaced(MeshError, LookupError):
    """The event stream was made anew: positions in the old one mean nothing."""

    code = "stream_replaced"


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions in one incarnation of the event stream."""

    mark: str

    @classmethod
    async def of(cls, feed: Feed) -> Positions:
        """Those of the stream as it is. Raises `MeshError`."""
        name = await feed.incarnation()
        return cls(hashlib.sha256(name.encode()).hexdigest()[:8])

    def text(self, seq: int) -> str:
        """A position as clients see it."""
        return f"{self.mark}-{seq}"

    def seq(self, text: str) -> int:
        """The sequence of a position. Raises `BadPosition`, `StreamReplaced`."""
        match = _POSITION.match(text)
        if match is None:
            raise BadPosition(
                f"a position of {len(text)} characters that none of ours has: send back the last id as it came"
            )
        if match[1] != self.mark:
            raise StreamReplaced(
                "that position is of a stream that is gone: begin with from=start or from=now"
            )
        return int(match[2])


async def begin_at(feed: Feed, positions: Positions, told: str) -> int | None:
    """After which sequence to begin; None: with what comes from now on.

    `told`: `now`, `start`, a position, or a time as RFC 3339 has it. Raises `BadPosition`, `StreamReplaced`.
    """
    if told in ("", "now"):
        return None
    if told == "start":
        return await feed.position_before(0)
    if _POSITION.match(told):
        return positions.seq(told)
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadPosition(
            "from is now, start, the id of an event, or a time with its zone, as 2026-01-31T08:00:00Z"
        )
    return await feed.position_before(round(at.timestamp() * 1000))


__all__ = ["BadPosition", "Positions", "StreamReplaced", "begin_at"]
