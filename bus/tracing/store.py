"""The index in a SQLite file: messages, the keys that find them, their hops, and how far each stream was read.

A batch and the place in the stream that it brings the index to are one commit: a process that is killed goes on where
the last commit ended, and what it reads again changes nothing. The file can be deleted: it is filled from the streams.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from bus.tracing.protocol import MAX_FOUND, Hop, HopKind, Match, Timeline

MAX_HOPS: Final = 1_000
_CACHE_KIB: Final = 64 * 1024
_MAX_COPIES: Final = 256
_MAX_GENERATIONS: Final = 16
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS message (
  no INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, derived_from BLOB NOT NULL,
  subject TEXT NOT NULL, by_whom TEXT NOT NULL, at_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS message_derived ON message (derived_from) WHERE derived_from <> x'';
CREATE TABLE IF NOT EXISTS key (
  key BLOB NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (key, message)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS key_message ON key (message);
CREATE TABLE IF NOT EXISTS hop (
  message INTEGER NOT NULL, digest BLOB NOT NULL, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
  by_whom TEXT NOT NULL, for_whom TEXT NOT NULL, cause TEXT NOT NULL, attempt INTEGER NOT NULL,
  took_us INTEGER, PRIMARY KEY (message, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
  stream TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
"""
_FAMILY: Final = """
WITH RECURSIVE
  up (id, parent, depth) AS (
    SELECT id, derived_from, 0 FROM message WHERE id = :id
    UNION SELECT m.id, m.derived_from, up.depth + 1 FROM up JOIN message m ON m.id = up.parent
    WHERE up.parent <> x'' AND up.depth < :generations),
  family (id, depth) AS (
    SELECT id, 0 FROM (SELECT id FROM up ORDER BY depth DESC LIMIT 1)
    UNION SELECT m.id, family.depth + 1 FROM family JOIN message m
    ON m.derived_from = family.id AND m.derived_from <> x''
    WHERE family.depth < :generations LIMIT :copies)
SELECT h.at_ms, h.kind, m.id, m.subject, h.by_whom, h.for_whom, h.cause, h.attempt, h.took_us, m.derived_from
FROM message m JOIN hop h ON h.message = m.no
WHERE m.id IN (SELECT id FROM family) ORDER BY h.at_ms, m.no LIMIT :hops
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One hop, with the keys of its message where whoever saw it could open it."""

    hop: Hop
    keys: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a stream was read. A stream made anew has another `created_ms`."""

    stream: str
    created_ms: int
    seq: int


class IndexStore:
    """One file, one thread at a time. At most `messages` are kept: the oldest go first."""

    def __init__(self, path: Path, *, messages: int) -> None:
        self._messages = messages
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        # a power cut may cost the last commits, never the file: the streams still have them
        self._db.execute("PRAGMA synchronous = NORMAL")
        # keys are spread evenly: without room for their pages each batch reads the file again
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, entries: Iterable[Entry], place: Place | None = None) -> None:
        """Keep a batch, and how far its stream was read, in one commit. What is known already is kept once."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for entry in entries:
                self._add(entry)
            if place is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO place VALUES (?, ?, ?)",
                    (place.stream, place.created_ms, place.seq),
                )
            self._forget()
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def place(self, stream: str, created_ms: int) -> int:
        """Return the last sequence that was read of a stream; 0: none, or it was made anew since."""
        row = self._db.execute(
            "SELECT seq FROM place WHERE stream = ? AND created_ms = ?", (stream, created_ms)
        ).fetchone()
        return int(row[0]) if row else 0

    def find(self, key: bytes, *, limit: int) -> Sequence[Match]:
        """Return the messages kept under a key, the one kept last first; at most `MAX_FOUND`."""
        rows = self._db.execute(
            "SELECT m.id, m.subject, m.at_ms, m.by_whom FROM key k JOIN message m ON m.no = k.message "
            "WHERE k.key = ? ORDER BY k.message DESC LIMIT ?",
            (key, max(0, min(limit, MAX_FOUND))),
        )
        return [
            Match(message_id=one, subject=subject, at_ms=at_ms, by=by)
            for one, subject, at_ms, by in rows
        ]

    def timeline(self, message_id: bytes) -> Timeline:
        """Return the hops of a message, of what it was made of and of what was made of it."""
        bounds = {"generations": _MAX_GENERATIONS, "copies": _MAX_COPIES, "hops": MAX_HOPS + 1}
        rows = self._db.execute(_FAMILY, {"id": message_id, **bounds}).fetchall()
        return Timeline(
            message_id=message_id,
            hops=tuple(_hop(*row) for row in rows[:MAX_HOPS]),
            is_cut=len(rows) > MAX_HOPS,
        )

    def count(self) -> int:
        """Return how many messages are kept."""
        return int(self._db.execute("SELECT count(*) FROM message").fetchone()[0])

    def _add(self, entry: Entry) -> None:
        hop = entry.hop
        self._db.execute(
            "INSERT INTO message (id, derived_from, subject, by_whom, at_ms) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET derived_from = excluded.derived_from "
            "WHERE derived_from = x'' AND excluded.derived_from <> x''",
            (hop.message_id, hop.derived_from, hop.subject, hop.by, hop.at_ms),
        )
        if hop.kind is HopKind.PUBLISHED:
            # another hop may have come first: a message is whose it was when it was published
            self._db.execute(
                "UPDATE message SET subject = ?, by_whom = ?, at_ms = ? WHERE id = ?",
                (hop.subject, hop.by, hop.at_ms, hop.message_id),
            )
        row = self._db.execute("SELECT no FROM message WHERE id = ?", (hop.message_id,)).fetchone()
        no = int(row[0])
        self._db.execute(
            "INSERT OR IGNORE INTO hop VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (no, _digest(hop), hop.at_ms, hop.kind.value, hop.by, hop.to, hop.cause, hop.attempt,
             hop.took_us),
        )  # fmt: skip
        self._db.executemany(
            "INSERT OR IGNORE INTO key VALUES (?, ?)", [(key, no) for key in entry.keys]
        )

    def _forget(self) -> None:
        newest = self._db.execute("SELECT max(no) FROM message").fetchone()[0] or 0
        last = newest - self._messages
        for statement in (
            "DELETE FROM key WHERE message <= ?",
            "DELETE FROM hop WHERE message <= ?",
            "DELETE FROM message WHERE no <= ?",
        ):
            self._db.execute(statement, (last,))


def _digest(hop: Hop) -> bytes:
    """What makes a hop the same one when it is told again: everything but how long it took."""
    told = (hop.at_ms, hop.kind.value, hop.by, hop.to, hop.cause, hop.attempt)
    return blake2b(repr(told).encode(), digest_size=12).digest()


def _hop(
    at_ms: int, kind: str, message_id: bytes, subject: str, by: str,
    to: str, cause: str, attempt: int, took_us: int | None, derived_from: bytes,
) -> Hop:  # fmt: skip
    return Hop(
        at_ms=at_ms, kind=HopKind(kind), message_id=message_id, subject=subject, by=by, to=to,
        cause=cause, attempt=attempt, took_us=took_us, derived_from=derived_from,
    )  # fmt: skip


__all__ = ["MAX_HOPS", "Entry", "IndexStore", "Place"]
