"""A deadline for what is awaited in a `with` block: what `asyncio.timeout` does, without a timer for each."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from gateway.http.turns import Turns


class Deadline:
    """`with Deadline(turns): await work`: raises `TimeoutError` when the work has not ended `turns.after_s` later."""

    __slots__ = ("_is_over", "_task", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_over = False
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._turns.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._turns.remove(self)
        if self._is_over and kind is asyncio.CancelledError and self._task is not None:
            if self._task.uncancel():
                return  # somebody else wants the task to end, too
            raise TimeoutError from error

    def late(self) -> None:
        """End the work."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()


__all__ = ["Deadline"]
