"""How many more messages a reader may be sent: what is on its way and what it holds never exceed a limit."""

from __future__ import annotations


class Credits:
    """Accounts for credit given to a sender. Give what `due` returns, tell what arrives and what is let go."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; at least 1 message must be allowed in flight")
        self._limit = limit
        self._batch = max(1, limit // 4)
        self._expected = 0
        self._held = 0

    @property
    def expected(self) -> int:
        """Credit that was given and not used yet."""
        return self._expected

    @property
    def held(self) -> int:
        """Messages that arrived and were not let go yet."""
        return self._held

    def due(self) -> int:
        """How much credit to give now; 0 until a quarter of the limit is free, so that giving it stays cheap."""
        free = self._limit - self._expected - self._held
        if free <= 0 or (free < self._batch and self._expected > 0):
            return 0
        self._expected += free
        return free

    def arrived(self) -> None:
        """One message used a credit and is held now."""
        self._expected = max(0, self._expected - 1)
        self._held += 1

    def let_go(self) -> None:
        """One held message is done with, or was dropped on arrival."""
        if self._held == 0:
            raise ValueError("no message is held")
        self._held -= 1


__all__ = ["Credits"]
