"""Looks at the mesh, once for everybody who watches: a picture at each look, and a word to all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from bus.services.protocol import Seen
from bus.telemetry.failures import failure_fields
from bus.telemetry.log import logger
from gateway.console.alerts import looked
from gateway.console.picture import Picture
from gateway.console.sources import Sources
from gateway.console.troubles import Thresholds, troubles
from gateway.contract import GatewayRuntime
from schemas.errors import MeshError
from schemas.gateway.console import ConsoleSection

_log = logger(__name__)

MAX_LETTERS: Final = 2000
"""Dead letters that are listed."""
_TIMINGS_S: Final = 5.0
_FLOWS_S: Final = 0.9
_FLOWS_SHARE: Final = 20.0
"""Counting by subject costs the server most: it is asked again after so many times what it took."""
_MAX_TIMED: Final = 64
"""Instances that are asked for their timings at a time of asking; the others come next."""
_FEW: Final = 8


class Watch:
    """The one look of a gateway. `start`, `stop`; everybody else reads `picture` and waits for `next`."""

    def __init__(self, runtime: GatewayRuntime, sources: Sources, section: ConsoleSection) -> None:
        self._runtime = runtime
        self._sources = sources
        self._section = section
        self._thresholds = Thresholds(
            stalled_after_s=section.stalled_after_s, oldest_s=section.oldest_s
        )
        self.picture = Picture()
        self.number = 0
        """Of the last look."""
        self._task: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._timed_s = float("-inf")
        self._timed_from = 0
        self._flows_due_s = float("-inf")
        self._letters_seen: tuple[int, int] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="console-watch")

    async def stop(self) -> None:
        """End."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def next(self, after: int) -> None:
        """Wait for a look with a higher number; it may have been already."""
        while self.number <= after:
            await self._looked.wait()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the outermost edge: the next look must come
                self._runtime.counters.add(
                    "console_look_failed", who="console", reason=type(error).__name__
                )
                _log.error("console_look_failed", component="console", **failure_fields(error))
            await asyncio.sleep(self._section.refresh_s)

    async def look(self) -> None:
        """One look: what is in memory always, the rest as far as the mesh answers."""
        runtime, picture = self._runtime, self.picture
        now_ms, now_s = runtime.clock.now_ms(), runtime.clock.monotonic_s()
        picture.is_connected = runtime.is_connected()
        picture.health = runtime.health()
        picture.take_services(runtime.services(), now_s)
        picture.failure = ""
        if picture.is_connected:
            try:
                async with asyncio.timeout(max(5.0, self._section.refresh_s)):
                    await self._ask(now_ms, now_s)
                picture.fresh_ms = now_ms
            except (MeshError, TimeoutError) as error:
                picture.failure = error.code if isinstance(error, MeshError) else "timeout"
                runtime.counters.add("console_look_failed", who="console", reason=picture.failure)
        else:
            picture.failure = "disconnected"
        picture.at_ms, picture.looked_s = now_ms, now_s
        self._judge(now_ms)
        self._tell()

    async def _ask(self, now_ms: int, now_s: float) -> None:
        figures, picture = self._sources.figures, self.picture
        picture.streams = tuple(await figures.streams())
        events = [one for one in picture.streams if one.name.startswith("evt-")]
        picture.stored.add(sum(one.last_seq for one in events), now_s)
        if now_s >= self._flows_due_s:
            picture.take_flows(await figures.flows(), now_s)
            took_s = self._runtime.clock.monotonic_s() - now_s
            self._flows_due_s = now_s + max(_FLOWS_S, took_s * _FLOWS_SHARE)
        picture.take_places(await figures.places(), now_ms)
        await self._read_letters()
        if now_s - self._timed_s >= _TIMINGS_S:
            self._timed_s = now_s
            await self._read_timings()

    async def _read_letters(self) -> None:
        """Dead letters anew, where any came or went."""
        stream = next((one for one in self.picture.streams if one.name.startswith("dlq-")), None)
        state = (stream.messages, stream.last_seq) if stream is not None else None
        if state is not None and state == self._letters_seen:
            return
        found = {}
        async for letter in self._sources.letters.list(known=self.picture.letters):
            found[letter.seq] = letter
            if len(found) >= MAX_LETTERS:
                break
        self.picture.letters = found
        self.picture.letters_total = max(len(found), stream.messages if stream else 0)
        self._letters_seen = state

    async def _read_timings(self) -> None:
        every = [one for group in self.picture.services.values() for one in group]
        if not every:
            return
        begin = self._timed_from % len(every)
        some = (every[begin:] + every[:begin])[:_MAX_TIMED]
        self._timed_from = begin + len(some)
        for at in range(0, len(some), _FEW):
            await self._time(some[at : at + _FEW])

    async def _time(self, instances: Sequence[Seen]) -> None:
        answers = await asyncio.gather(
            *(
                self._sources.figures.timings(one.instance.service, one.instance.id)
                for one in instances
            )
        )
        for seen, timings in zip(instances, answers, strict=True):
            self.picture.timings[seen.instance.id] = tuple(timings)

    def _judge(self, now_ms: int) -> None:
        found = troubles(self.picture, self._thresholds, now_ms=now_ms)
        after_ms = round(self._section.alert_after_s * 1000)
        self.picture.book, changes = looked(
            self.picture.book, found, now_ms=now_ms, after_ms=after_ms
        )
        for change in changes:
            name = "alert_started" if change.is_start else "alert_cleared"
            code = change.alert.trouble.key.partition(":")[0]
            self._runtime.counters.add(name, who="console", reason=code)
            _log.warning(name, component="console", reason=code)

    def _tell(self) -> None:
        self.number += 1
        looked_at, self._looked = self._looked, asyncio.Event()
        looked_at.set()


__all__ = ["MAX_LETTERS", "Watch"]
