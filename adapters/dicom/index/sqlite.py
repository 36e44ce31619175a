"""The index in a SQLite file: what waits shares one commit, so many associations wait for one fsync."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.dicom.index.protocol import Addition, Entry, Kept, Level, Located, Policy
from adapters.dicom.index.tables import migrate
from adapters.dicom.index.writing import add, quarantine
from adapters.dicom.uids import Uid
from bus.blobs.protocol import BlobId
from bus.transactions.sqlite import SqliteDatabase
from schemas.errors import Closed, MeshError, ResourceExhausted, Unavailable

_MAX_WAITING: Final = 4_096
_BATCH: Final = 256


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    policy: Policy
    done: asyncio.Future[Addition]


class SqliteIndex:
    """The index of one node."""

    def __init__(self, path: Path) -> None:
        self._database = SqliteDatabase(path)
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._is_open = False

    async def start(self) -> None:
        """Open the file and bring its tables to this version. Raises `Unavailable`, `ConfigurationError`."""
        await self._database.start()
        async with self._database.transaction() as transaction:
            await migrate(transaction)
        self._is_open = True

    async def add(self, entry: Entry, policy: Policy) -> Addition:
        """Add an instance; it is durable when this returns. Raises `Unavailable`, `ResourceExhausted`, `Closed`."""
        if not self._is_open:
            raise Closed("the index is closed")
        if len(self._waiting) >= _MAX_WAITING:
            raise ResourceExhausted(f"{_MAX_WAITING} instances wait for the index already")
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(entry, policy, done))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        return await asyncio.shield(done)

    async def quarantine(self, kept: Kept, reason: str) -> None:
        """Remember bytes that are kept and belong nowhere. Raises `Unavailable`."""
        async with self._database.transaction() as transaction:
            await transaction.run(lambda connection: quarantine(connection, kept, reason))

    async def locate(self, level: Level, uids: tuple[str, ...]) -> list[Located]:
        """The instances of studies, series, or themselves, in the order of their series and numbers."""
        column = {Level.STUDY: "s.uid", Level.SERIES: "e.uid", Level.IMAGE: "i.uid"}[level]
        marks = ", ".join("?" * len(uids))
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(
                "select i.sop_class, i.uid, i.transfer_syntax, i.blob, i.size, e.uid, s.uid"  # noqa: S608  # our own names
                " from dicom_instance i join dicom_series e on e.id = i.series join dicom_study s on s.id = e.study"
                f" where {column} in ({marks}) order by e.id, cast(i.InstanceNumber as integer), i.id",
                uids,
            )
        return [
            Located(
                Uid(str(row[0])),
                Uid(str(row[1])),
                Uid(str(row[2])),
                BlobId(str(row[3])),
                int(str(row[4])),
                Uid(str(row[5])),
                Uid(str(row[6])),
            )
            for row in rows
        ]

    async def stop(self) -> None:
        """Write what waits, and close the file."""
        self._is_open = False
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self._database.stop()

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                found = await self._add(batch)
            except (MeshError, sqlite3.Error) as error:
                refusal = Unavailable(
                    f"the index cannot take instances now: {type(error).__name__}"
                )
                for one in batch:
                    if not one.done.done():
                        one.done.set_exception(refusal)
                continue
            for one, addition in zip(batch, found, strict=True):
                if not one.done.done():
                    one.done.set_result(addition)
        self._writing = None

    async def _add(self, batch: list[_Waiting]) -> list[Addition]:
        async with self._database.transaction() as transaction:
            return await transaction.run(
                lambda connection: [add(connection, one.entry, one.policy) for one in batch]
            )


__all__ = ["SqliteIndex"]
