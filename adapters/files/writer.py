"""The folder writer: each event becomes one file with exactly its bytes, durable before the event is done with."""

from __future__ import annotations

import asyncio

from adapters.contract import AdapterRuntime, Condition, Health
from adapters.files.config import WriterConfig
from adapters.files.disk import make_folder, write_whole
from adapters.files.names import day_folder, extension_for, file_name
from bus.events.protocol import ConsumeSpec, Consumption, Outcome, Receipt, ReceivedEvent
from schemas.errors import MeshError


class FolderWriter:
    """`files.writer`. An event written twice (after a crash, or replayed) is one file: its name follows from it."""

    def __init__(self, config: WriterConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._consumption: Consumption | None = None
        self._made: set[str] = set()
        self._trouble = ""

    async def start(self) -> None:
        """Make the folder and take up the subscription. Raises `Unavailable` when the folder cannot be made."""
        await asyncio.to_thread(make_folder, self._config.folder)
        spec = ConsumeSpec(
            name=self._config.name,
            patterns=self._config.subscribe,
            lanes=self._config.lanes,
            deliver_new=self._config.deliver_new,
        )
        self._consumption = await self._runtime.events.consume(spec, self.write)

    def health(self) -> Health:
        """Say whether files can be written, and how many events wait."""
        if self._consumption is None:
            return Health(condition=Condition.STOPPED, detail="not started")
        waiting = self._consumption.stats().pending
        if self._trouble:
            detail = f"{self._trouble}; {waiting} events wait"
            return Health(condition=Condition.DEGRADED, detail=detail)
        return Health(condition=Condition.HEALTHY, detail=f"writes to {self._config.folder}")

    async def drain(self, *, timeout_s: float) -> None:
        """Finish the files under way; the rest stays in its stream."""
        if self._consumption is not None:
            await self._consumption.drain(timeout_s=timeout_s)

    async def stop(self) -> None:
        """Close the subscription."""
        if self._consumption is not None:
            await self._consumption.stop()
            self._consumption = None

    async def write(self, event: ReceivedEvent) -> Receipt:
        """Write one event: the handler of the subscription.

        Raises `Unavailable` while the disk is full or the folder gone: the event waits. `NameTaken` counts an attempt.
        """
        config = self._config
        folder = config.folder
        try:
            if config.daily_folders:
                folder /= day_folder(event.received_ms)
                await self._make(folder.name)
            name = file_name(
                config.file_name,
                received_ms=event.received_ms,
                seq=event.seq,
                message_id=event.message_id,
                extension=config.extension or extension_for(event.type),
            )
            new = await asyncio.to_thread(write_whole, folder / name, event.body)
        except MeshError as error:
            self._trouble = str(error)
            self._made.clear()
            self._count("file_not_written", error.code)
            raise
        self._trouble = ""
        self._count("file_written", "" if new else "already_there")
        return Receipt(message_id=event.message_id, consumer=config.name, outcome=Outcome.DELIVERED)

    async def _make(self, day: str) -> None:
        if day not in self._made:
            await asyncio.to_thread(make_folder, self._config.folder / day)
            self._made = {day, *list(self._made)[:7]}

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


__all__ = ["FolderWriter"]
