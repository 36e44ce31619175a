"""How many calls to one service are under way from this process, and how many may wait."""

from __future__ import annotations

import asyncio
from typing import Final

from bus.services.protocol import Overloaded
from schemas.errors import DeadlineExceeded

_RETRY_AFTER_S: Final = 0.05


class Slots:
    """A bound with a bounded queue in front of it, first come, first served."""

    def __init__(self, service: str, *, slots: int, pending: int) -> None:
        self._service = service
        self._slots = slots
        self._most_pending = pending
        self._free = asyncio.Semaphore(slots)
        self.pending = 0
        """Calls that wait for a slot now."""

    async def take(self, timeout_s: float) -> None:
        """Take a slot, to be given back by `give_back`. Raises `Overloaded`, `DeadlineExceeded`: nothing was sent."""
        if not self._free.locked():
            await self._free.acquire()
            return
        if self.pending >= self._most_pending:
            raise Overloaded(
                f"{self._slots} calls to {self._service} are under way and {self.pending} wait "
                "(max_in_flight, max_pending)",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.pending += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._free.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._slots} calls to {self._service} were under way for all of {timeout_s:.3f} s "
                "(max_in_flight): the call was not sent"
            ) from None
        finally:
            self.pending -= 1

    def give_back(self) -> None:
        """A call has ended."""
        self._free.release()


__all__ = ["Slots"]
