"""One connection to the in-memory broker: its state, its rights, and who is told when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bus.transport.protocol import LinkState
from schemas.errors import Closed, PermissionRefused, Unavailable
from schemas.subjects import matches


class MemoryLink:
    """The state of one connection. Tests cut and restore it."""

    def __init__(
        self, name: str, *, deny_publish: tuple[str, ...] = (), deny_subscribe: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.state = LinkState.CONNECTED
        self._deny_publish = deny_publish
        self._deny_subscribe = deny_subscribe
        self._changed = asyncio.Event()
        self._restored: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached."""
        return self.state is LinkState.CONNECTED

    def on_restored(self, call: Callable[[], None]) -> None:
        """Call back whenever the connection comes back after a cut."""
        self._restored.append(call)

    def forget(self, call: Callable[[], None]) -> None:
        """Stop calling back."""
        self._restored.remove(call)

    def cut(self) -> None:
        """Lose the connection."""
        if self.state is LinkState.CONNECTED:
            self.state = LinkState.RECONNECTING

    def restore(self) -> None:
        """Get the connection back."""
        if self.state is LinkState.RECONNECTING:
            self.state = LinkState.CONNECTED
            self._wake()
            for call in tuple(self._restored):
                call()

    def close(self) -> None:
        """End the connection for good."""
        self.state = LinkState.CLOSED
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def ready(self, timeout_s: float) -> None:
        """Wait for the connection. Raises `Closed`, and `Unavailable` after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.state is LinkState.RECONNECTING:
                    await self._changed.wait()
        except TimeoutError:
            raise Unavailable(
                f"{self.name}: the broker was not reachable for {timeout_s} s"
            ) from None
        if self.state is LinkState.CLOSED:
            raise Closed(f"{self.name}: the connection is closed")

    def check_connected(self) -> None:
        """Raise `Closed` or `Unavailable` where nothing can be sent now."""
        if self.state is LinkState.CLOSED:
            raise Closed(f"{self.name}: the connection is closed")
        if self.state is not LinkState.CONNECTED:
            raise Unavailable(f"{self.name}: the connection to the broker is cut")

    def may_publish(self, subject: str) -> bool:
        """Whether this connection may publish there."""
        return not any(matches(denied, subject) for denied in self._deny_publish)

    def check_publish(self, subject: str) -> None:
        """Raise `PermissionRefused` where this connection may not publish."""
        if not self.may_publish(subject):
            raise PermissionRefused(f"{self.name} may not publish to {subject}")

    def check_subscribe(self, pattern: str) -> None:
        """Raise `PermissionRefused` where this connection may not subscribe."""
        if any(matches(denied, pattern) for denied in self._deny_subscribe):
            raise PermissionRefused(f"{self.name} may not subscribe to {pattern}")


__all__ = ["MemoryLink"]
