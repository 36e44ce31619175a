"""Requests of ours that wait for their responses."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from adapters.dicom.dimse.commands import Command

_MAX_MESSAGE_ID: Final = 65_535
_MAX_WAITING: Final = 64


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to a request of ours, with its data set."""

    command: Command
    data_set: bytes = field(default=b"", repr=False)

    @property
    def status(self) -> int:
        """(0000,0900)."""
        return self.command.status or 0


class Call:
    """One request of ours. Responses that nobody takes make the reading of the association wait."""

    def __init__(self) -> None:
        self._found: deque[Response | Exception] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._is_left = False

    async def put(self, response: Response | Exception) -> None:
        """Give a response to whoever asked, once there is room for it; nothing happens when they have left."""
        while len(self._found) >= _MAX_WAITING and not self._is_left:
            self._room.clear()
            await self._room.wait()
        if not self._is_left:
            self.end(response)

    def end(self, response: Response | Exception) -> None:
        """As `put`, room or not: for the last word."""
        self._found.append(response)
        self._arrived.set()

    async def get(self) -> Response:
        """The next response. Raises what the association ended with."""
        while not self._found:
            self._arrived.clear()
            await self._arrived.wait()
        found = self._found.popleft()
        self._room.set()
        if isinstance(found, Exception):
            raise found
        return found

    def leave(self) -> None:
        """Nobody waits any more."""
        self._is_left = True
        self._found.clear()
        self._room.set()


class Calls:
    """The requests of one association by message id."""

    def __init__(self) -> None:
        self._open: dict[int, Call] = {}
        self._numbers = itertools.cycle(range(1, _MAX_MESSAGE_ID + 1))

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self) -> tuple[int, Call]:
        """A message id that is not in use, and what its responses come by."""
        number = next(number for number in self._numbers if number not in self._open)
        call = self._open[number] = Call()
        return number, call

    def get(self, number: int | None) -> Call | None:
        """The request that a response names."""
        return self._open.get(number or 0)

    def end(self, number: int) -> None:
        """Forget a request."""
        call = self._open.pop(number, None)
        if call is not None:
            call.leave()

    def fail(self, error: Exception) -> None:
        """The association has ended: nobody waits for longer."""
        for call in self._open.values():
            call.end(error)


__all__ = ["Call", "Calls", "Response"]
