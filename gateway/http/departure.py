"""A client that goes away cancels what is being done for it. Quick work is over before anybody looks."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from gateway.contract import Receive
from gateway.http.exchange import Gone
from gateway.http.turns import Turns


def first_looks() -> Turns:
    """When to begin to look: most work is done by then, and costs no watcher."""
    return Turns(0.02)


class Departure:
    """`with Departure(receive, looks): await work`: `Gone` is raised, and the work cancelled, when the client leaves.

    The body must have been read.
    """

    __slots__ = ("_is_gone", "_looks", "_receive", "_task", "_watcher")

    def __init__(self, receive: Receive, looks: Turns) -> None:
        self._receive = receive
        self._looks = looks
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_gone = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._looks.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._looks.remove(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._is_gone and kind is asyncio.CancelledError and self._task is not None:
            if self._task.uncancel():
                return  # somebody else wants the task to end, too
            raise Gone from None

    def late(self) -> None:
        """Begin to look."""
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] == "http.request":
            pass  # what is left of a body that was read as far as it was announced
        self._is_gone = True
        if self._task is not None:
            self._task.cancel()


__all__ = ["Departure", "first_looks"]
