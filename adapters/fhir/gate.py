"""The circuit to one server: closed, open for as long as it asked, then one probe at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from adapters.fhir.codec.errors import FhirError
from bus.services.balancing.breaker import Breaker, Gate, OpenTimes
from schemas.clock import Clock
from schemas.errors import Unavailable

_FORGET_S: Final = 60.0


class ServerGate:
    """Lets requests pass while the server works, and one to find out whether it does again."""

    def __init__(self, clock: Clock, *, first_s: float, longest_s: float) -> None:
        self._clock = clock
        self._breaker = Breaker()
        self._times = OpenTimes(first_s=first_s, longest_s=longest_s, forget_s=_FORGET_S)
        self._changed = asyncio.Event()
        self._is_patient = True

    def stop_waiting(self) -> None:
        """Let whoever waits for a turn give up at once, now and from now on: the adapter drains."""
        self._is_patient = False
        self._tell()

    @property
    def state(self) -> Gate:
        """Closed: everything passes. Open: nothing. Half-open: one probe."""
        return self._breaker.state

    @property
    def opens_in_s(self) -> float:
        """Seconds until the next probe; 0 when it may begin."""
        return max(0.0, self._breaker.until_s - self._clock.monotonic_s())

    @contextlib.asynccontextmanager
    async def passing(self, longest_wait_s: float) -> AsyncIterator[None]:
        """Wait for the turn, at most so long, and see by how the request ends what the server is like.

        `Unavailable` from inside opens the gate; a `FhirError`, or none, shows a server that answers. Raises
        `Unavailable` when the turn has not come in time: nothing was sent then.
        """
        is_probe = await self._turn(longest_wait_s)
        try:
            yield
        except Unavailable as error:
            self._open(error, is_probe=is_probe)
            raise
        except FhirError:
            self._close()  # a refusal comes from a server that works
            raise
        except BaseException:
            if is_probe:
                self._breaker.drop_probe()
                self._tell()
            raise
        self._close()

    async def _turn(self, longest_wait_s: float) -> bool:
        """Whether the request is a probe, once it may go."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + longest_wait_s
        while self._breaker.state is not Gate.CLOSED:
            if self._breaker.is_due(self._clock.monotonic_s()):
                self._breaker.begin_probe()
                return True
            left_s = deadline_s - loop.time()
            if left_s <= 0 or self.opens_in_s > left_s or not self._is_patient:
                raise Unavailable(f"the server is away ({self._breaker.reason}): waiting")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self.opens_in_s or left_s)):
                    await self._changed.wait()
        return False

    def _open(self, error: Unavailable, *, is_probe: bool) -> None:
        now_s = self._clock.monotonic_s()
        asked_s = getattr(error, "retry_after_s", None)
        if self._breaker.state is Gate.CLOSED or is_probe:
            self._breaker.open(now_s, type(error).__name__.lower(), self._times)
        if asked_s is not None:
            self._breaker.until_s = max(
                self._breaker.until_s if not is_probe else 0.0, now_s + float(asked_s)
            )
        self._tell()

    def _close(self) -> None:
        if self._breaker.state is not Gate.CLOSED:
            self._breaker.close(self._clock.monotonic_s())
            self._tell()

    def _tell(self) -> None:
        """Wake everyone who waits; who comes next waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()


__all__ = ["ServerGate"]
