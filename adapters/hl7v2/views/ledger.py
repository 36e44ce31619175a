"""What views must remember of earlier messages: who was merged into whom, and how new the last report of an order is.

Kept in a bucket of the mesh, so that every process of one adapter knows it, also after a crash. Names are keyed
hashes of resource ids; values carry a keyed proof, so that the carrier can neither read nor invent one. (It could give
back an older value: then a message is taken as if the later one had not come, and nothing is lost by it.)
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from bus.transport.protocol import KeyValue
from bus.transport.types import NotFound, WrongRevision
from schemas.errors import MeshError
from schemas.keyed import keyed_hash

BUCKET: Final = "hl7v2-views"
_PROOF_BYTES: Final = 16
_TRIES: Final = 8


class LedgerContested(MeshError):
    """Other processes kept writing the same entry; the message is tried again."""

    code = "ledger_contested"
    retryable = True


@dataclass(frozen=True, slots=True)
class Merge:
    """One patient's record was merged into another's. Both are resource ids."""

    retired: str
    survivor: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it came: the resource id of the order's report, and the instant (RFC 3339 in UTC) it is of."""

    report: str
    at: str


class Ledger:
    """Remembers through a bucket. Entries are compared and set: two processes never undo each other's."""

    def __init__(self, bucket: KeyValue, site_key: bytes) -> None:
        self._bucket = bucket
        self._hash = keyed_hash(site_key)

    async def is_outdated(self, report: Report) -> bool:
        """Whether a newer report of the same order came before; else this one is the newest from now on.

        One of the same instant counts as new: it is the same report sent again, or its correction.
        Raises `MeshError` when the bucket cannot be read or written.
        """
        key = self._key("report", report.report)
        for _ in range(_TRIES):
            last, revision = await self._read(key)
            if last == report.at:
                return False
            if last > report.at:
                return True
            if await self._write(key, report.at, revision):
                return False
        raise LedgerContested("the last report of an order is being written by others all the time")

    async def merge(self, merge: Merge) -> None:
        """Remember that a record was merged; a survivor that was retired before lives again."""
        for identity, into in ((merge.survivor, ""), (merge.retired, merge.survivor)):
            await self._set(self._key("patient", identity), into)

    async def unmerge(self, identity: str) -> None:
        """Remember that a record stands by itself again."""
        await self._set(self._key("patient", identity), "")

    async def survivor_of(self, identity: str) -> str:
        """Into whom a record was merged, followed to the end; empty when it was not."""
        seen = {identity}
        found = ""
        while (into := (await self._read(self._key("patient", found or identity)))[0]) not in seen:
            if not into:
                break
            seen.add(into)
            found = into
        return found

    async def _set(self, key: str, value: str) -> None:
        for _ in range(_TRIES):
            last, revision = await self._read(key)
            if last == value or await self._write(key, value, revision):
                return
        raise LedgerContested("a patient's merge is being written by others all the time")

    async def _read(self, key: str) -> tuple[str, int]:
        try:
            entry = await self._bucket.get(key)
        except NotFound:
            return "", 0
        raw = entry.value or b""
        proof, value = raw[:_PROOF_BYTES], raw[_PROOF_BYTES:]
        if not hmac.compare_digest(proof, self._proof(key, value)):
            return "", entry.revision
        return value.decode("ascii"), entry.revision

    async def _write(self, key: str, value: str, revision: int) -> bool:
        raw = value.encode("ascii")
        try:
            await self._bucket.swap(key, self._proof(key, raw) + raw, revision=revision)
        except WrongRevision:
            return False
        return True

    def _key(self, kind: str, identity: str) -> str:
        return f"{kind}.{self._hash.digest(kind.encode(), b'.', identity.encode()).hex()[:32]}"

    def _proof(self, key: str, value: bytes) -> bytes:
        return self._hash.digest(b"view-ledger.", key.encode(), b".", value)[:_PROOF_BYTES]


__all__ = ["BUCKET", "Ledger", "LedgerContested", "Merge", "Report"]
