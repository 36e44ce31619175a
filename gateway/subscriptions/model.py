"""What is kept of a subscription: the wish, its queue, how far it was sent. Sealed before the carrier sees it."""

from __future__ import annotations

from typing import Final

import msgspec

REST_HOOK: Final = "rest-hook"
WEBSOCKET: Final = "websocket"
EMPTY: Final = "empty"
ID_ONLY: Final = "id-only"
FULL: Final = "full-resource"
CONTENTS: Final = (EMPTY, ID_ONLY, FULL)
PAGE: Final = 64
"""Events of one page of a queue."""


class Filter(msgspec.Struct, frozen=True):
    """One search parameter that the resource must fit."""

    name: str
    """With its modifier, e.g. `code:not`."""
    value: str
    resource_type: str = ""
    """Empty: of every type of the topic."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a Subscription asks for, whatever its release."""

    topic: str
    channel: str
    endpoint: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """Secrets of the subscriber: they go to its endpoint and nowhere else."""
    content: str = EMPTY
    heartbeat_s: int = 0
    timeout_s: int = 0
    max_count: int = 0
    filters: tuple[Filter, ...] = ()
    end_ms: int = 0
    is_off: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as it is kept."""

    id: str
    release: str
    version: int
    status: str
    """`requested`, `active`, `error` or `off`."""
    trouble: str = ""
    """Why it is in error: our words."""
    client: str
    user: str = ""
    purpose: str = ""
    scopes: tuple[str, ...] = ()
    base: str
    created_ms: int
    updated_ms: int
    body: bytes
    """The resource as it was sent, without the values of its headers."""
    wish: Wish


class Happening(msgspec.Struct, frozen=True, array_like=True):
    """One event in a queue."""

    number: int
    stored_ms: int
    type: str
    id: str
    version: str
    change: str
    """`created`, `updated` or `deleted`."""

    @property
    def focus(self) -> str:
        """`Patient/1`."""
        return f"{self.type}/{self.id}"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a queue: written whole with each event, so that a number is given once."""

    number: int = 0
    """Of the newest event."""
    places: dict[int, tuple[int, int]] = {}
    """By partition: the newest event's sequence in the stream, and the fence of who wrote it."""
    open: tuple[Happening, ...] = ()
    """The last, unfinished page."""


class Page(msgspec.Struct, frozen=True, array_like=True):
    """A full page of a queue."""

    events: tuple[Happening, ...]


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How far a queue was sent."""

    number: int = 0


__all__ = [
    "CONTENTS", "EMPTY", "FULL", "ID_ONLY", "PAGE", "REST_HOOK", "WEBSOCKET", "Filter", "Happening", "Head", "Page",
    "Record", "Sent", "Wish",
]  # fmt: skip
