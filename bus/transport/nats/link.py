"""Whether the server can be reached, and who wants to know."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from bus.transport.nats.errors import Violation
from bus.transport.protocol import LinkState
from schemas.errors import Closed, Unavailable


class Link:
    """The state of a connection, its waiters and its listeners. `Connection` moves it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._state = LinkState.RECONNECTING
        self._changed = asyncio.Event()
        self._lost: list[Callable[[], None]] = []
        self._restored: list[Callable[[], None]] = []
        self._violated: list[Callable[[Violation], None]] = []
        self._refusals: Counter[tuple[str, str]] = Counter()

    @property
    def state(self) -> LinkState:
        """Whether the server can be reached now."""
        return self._state

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call back when the connection is lost."""
        self._lost.append(call)

    def on_restored(self, call: Callable[[], None]) -> None:
        """Call back when the connection is back, with all subscriptions in place."""
        self._restored.append(call)

    def on_violation(self, call: Callable[[Violation], None]) -> None:
        """Call back when the server refuses a subject."""
        self._violated.append(call)

    def refusals(self, kind: str, subject: str) -> int:
        """How often the server refused `publish` or `subscription` on a subject on the present client."""
        return self._refusals[kind, subject.lower()]

    def forget(self, call: Callable[..., None]) -> None:
        """Take a callback back."""
        for calls in (self._lost, self._restored, self._violated):
            if call in calls:
                calls.remove(call)

    async def ready(self, timeout_s: float) -> None:
        """Wait for the connection. Raises `Closed`, and `Unavailable` after `timeout_s`."""
        if self._state is LinkState.CONNECTED:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while self._state is LinkState.RECONNECTING:
                    await self._changed.wait()
        except TimeoutError:
            raise Unavailable(
                f"{self.name}: no NATS server was reachable for {timeout_s:.1f} s"
            ) from None
        if self._state is LinkState.CLOSED:
            raise Closed(f"{self.name}: the connection is closed")

    def set_state(self, state: LinkState) -> None:
        """Change the state and wake who waits for it. What is closed stays closed."""
        if self._state is not state and self._state is not LinkState.CLOSED:
            self._state = state
            self._changed.set()
            self._changed = asyncio.Event()

    def tell_lost(self) -> None:
        """Call who wants to know of a loss."""
        for call in tuple(self._lost):
            call()

    def tell_restored(self) -> None:
        """Call who wants to know of a new connection; its refusals are counted from zero."""
        self._refusals.clear()
        for call in tuple(self._restored):
            call()

    def tell_violated(self, refused: Violation) -> None:
        """Count a refusal of the server and call who wants to know."""
        self._refusals[refused.kind, refused.subject] += 1
        for call in tuple(self._violated):
            call(refused)


__all__ = ["Link"]
