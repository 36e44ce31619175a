"""What is ordered once: each form has a number of its own, taken where every gateway looks before anything is done.

A second click, a reload, the back button, another gateway: the number is taken already, and what came of it is shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from adapters.contract import OpenRecords
from bus.events.replays import Replayed
from bus.transport.protocol import KeyValue, NotFound, WrongRevision

BUCKET: Final = "console-orders"
_KEPT_S: Final = 86_400.0
_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{22}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for and what came of it. The carrier reads it: numbers, names of ours, codes."""

    at_ms: int
    by: str
    to: str = ""
    asked: int = 0
    is_done: bool = False
    ordered: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    failed: dict[int, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    """Ids of messages that were sent again, of a few."""

    def ended(self, done: Replayed, messages: tuple[str, ...]) -> Order:
        """The order with its result."""
        return replace(
            self, is_done=True, ordered=done.ordered, gone=done.gone, failed=done.failed,
            messages=messages,
        )  # fmt: skip


class Orders:
    """The orders of a site in the last day."""

    def __init__(self, records: OpenRecords) -> None:
        self._records = records
        self._bucket: KeyValue | None = None

    async def begin(self, number: str, order: Order) -> bool:
        """Take a number; False where it was taken before: then do nothing. Raises `MeshError`."""
        bucket = await self._open()
        try:
            await bucket.swap(number, msgspec.json.encode(order), revision=0)
        except WrongRevision:
            return False
        return True

    async def end(self, number: str, order: Order) -> None:
        """Write down what came of it. Raises `MeshError`."""
        await (await self._open()).put(number, msgspec.json.encode(order))

    async def read(self, number: str) -> Order | None:
        """An order; None where there is none (any more). Raises `MeshError`."""
        if not is_number(number):
            return None
        try:
            entry = await (await self._open()).get(number)
        except NotFound:
            return None
        return msgspec.json.decode(entry.value, type=Order) if entry.value else None

    async def _open(self) -> KeyValue:
        if self._bucket is None:
            self._bucket = await self._records(BUCKET, max_age_s=_KEPT_S)
        return self._bucket


def is_number(text: str) -> bool:
    """Whether that is one of our forms' numbers."""
    return bool(_NUMBER.match(text))


__all__ = ["BUCKET", "Order", "Orders", "is_number"]
