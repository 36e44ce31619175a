"""Versions of resources in the database: read, written, deleted; each change with its index rows and its event."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from adapters.fhir.store.bodies import packed, unpacked
from adapters.fhir.store.checking import Checked
from adapters.fhir.store.engine import Unit
from adapters.fhir.store.events import Change, change_event
from adapters.fhir.store.extraction import Rows
from adapters.fhir.store.indexing import forget_rows, write_rows
from adapters.fhir.store.refusals import Refusal
from adapters.fhir.store.splice import stamped
from adapters.fhir.store.times import instant
from bus.transactions.database import Dialect, Row, number, octets, text
from schemas.clock import Clock
from schemas.subjects import SiteId

_COLUMNS: Final = "r.rid, r.type, r.id, v.version, v.updated_ms, v.method, v.body"
_CURRENT: Final = (
    f"select {_COLUMNS} from fhir_resource r join fhir_version v on v.rid = r.rid and v.version = r.version"  # noqa: S608
    " where r.type = ? and r.id = ?"
)
_ONE_VERSION: Final = (
    f"select {_COLUMNS} from fhir_resource r join fhir_version v on v.rid = r.rid"  # noqa: S608
    " where r.type = ? and r.id = ? and v.version = ?"
)
_NEW: Final = (
    "insert into fhir_resource (type, id, version, updated_ms, deleted) values (?, ?, 1, ?, 0)"
    " on conflict (type, id) do nothing returning rid"
)
_NEXT: Final = "update fhir_resource set version = ?, updated_ms = ?, deleted = ? where rid = ?"
_VERSION: Final = (
    "insert into fhir_version (rid, version, updated_ms, method, body) values (?, ?, ?, ?, ?)"
)
_ID_BYTES: Final = 16
DELETED: Final = "DELETE"
"""The method of a version that ends a resource; such a version has the body of the one before."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A resource that was judged, with what it is found by."""

    checked: Checked
    rows: Rows = field(repr=False)

    @property
    def resource_type(self) -> str:
        """Its type."""
        return self.checked.resource_type


class Version(NamedTuple):
    """One version of a resource."""

    rid: int
    resource_type: str
    id: str
    version: int
    updated_ms: int
    method: str
    frame: bytes

    @property
    def is_deleted(self) -> bool:
        """Whether it says that the resource was deleted."""
        return self.method == DELETED

    @property
    def body(self) -> bytes:
        """The resource; of a deletion, as it was before."""
        return unpacked(self.frame)


class Written(NamedTuple):
    """What a change came to."""

    version: Version
    is_new: bool
    """Whether there was no such resource, or a deleted one."""
    is_changed: bool
    """False when the resource was the same already."""


def version_of(row: Row) -> Version:
    """A row of `COLUMNS`."""
    rid, kind, identity, version, updated_ms, method, frame = row
    return Version(
        number(rid),
        text(kind),
        text(identity),
        number(version),
        number(updated_ms),
        text(method),
        octets(frame),
    )


def fresh_id() -> str:
    """A new id: 128 random bits."""
    return secrets.token_hex(_ID_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Changes within a unit of work. Time and ids come from outside."""

    site: SiteId
    site_key: bytes
    clock: Clock
    new_id: Callable[[], str] = fresh_id

    async def current(
        self, unit: Unit, resource_type: str, id: str, *, lock: bool = False
    ) -> Version | None:
        """The newest version, a deletion included; None where there never was one.

        `lock`: until the end of the transaction nobody else changes it.
        """
        sql = _CURRENT
        if lock and unit.dialect is Dialect.POSTGRES:
            await unit.fetch(
                "select 1 from fhir_resource where type = ? and id = ? for update",
                (resource_type, id),
            )
        rows = await unit.fetch(sql, (resource_type, id))
        return version_of(rows[0]) if rows else None

    async def version(
        self, unit: Unit, resource_type: str, id: str, version: int
    ) -> Version | None:
        """One version."""
        rows = await unit.fetch(_ONE_VERSION, (resource_type, id, version))
        return version_of(rows[0]) if rows else None

    async def create(
        self, unit: Unit, prepared: Prepared, *, id: str = "", method: str = "POST"
    ) -> Written:
        """A new resource, under a fresh id where none is given. Raises `Refusal` (409) for an id that is taken."""
        identity = id or self.new_id()
        now_ms = self.clock.now_ms()
        kind = prepared.resource_type
        rows = await unit.fetch(_NEW, (kind, identity, now_ms))
        if not rows:
            raise Refusal(409, "conflict", "the same resource is being created by someone else")
        body = stamped(prepared.checked.body, id=identity, version=1, last_updated=instant(now_ms))
        version = Version(number(rows[0][0]), kind, identity, 1, now_ms, method, packed(body))
        await self._store(unit, version)
        await write_rows(unit, version.rid, prepared.rows)
        self._publish(unit, Change.CREATED, version, body)
        return Written(version, is_new=True, is_changed=True)

    async def update(
        self, unit: Unit, prepared: Prepared, current: Version, *, method: str = "PUT"
    ) -> Written:
        """A further version, or a deleted resource's next life. Content that is there already stays one version."""
        sent = prepared.checked.body
        if not current.is_deleted and self._is_same(sent, current):
            return Written(current, is_new=False, is_changed=False)
        version = self._after(current, method)
        body = stamped(
            sent, id=current.id, version=version.version, last_updated=instant(version.updated_ms)
        )
        version = version._replace(frame=packed(body))
        await self._advance(unit, version)
        await forget_rows(unit, version.rid)
        await write_rows(unit, version.rid, prepared.rows)
        change = Change.CREATED if current.is_deleted else Change.UPDATED
        self._publish(unit, change, version, body)
        return Written(version, is_new=current.is_deleted, is_changed=True)

    async def delete(self, unit: Unit, current: Version) -> Written:
        """End a resource; its versions stay readable. Deleting it again changes nothing."""
        if current.is_deleted:
            return Written(current, is_new=False, is_changed=False)
        version = self._after(current, DELETED)
        await self._advance(unit, version)
        await forget_rows(unit, version.rid)
        self._publish(unit, Change.DELETED, version, tombstone(version), about=current.body)
        return Written(version, is_new=False, is_changed=True)

    def _is_same(self, sent: bytes, current: Version) -> bool:
        same = stamped(
            sent, id=current.id, version=current.version, last_updated=instant(current.updated_ms)
        )
        return same == current.body

    def _after(self, current: Version, method: str) -> Version:
        # lastUpdated never goes back, even where the clock does
        now_ms = max(self.clock.now_ms(), current.updated_ms)
        return current._replace(version=current.version + 1, updated_ms=now_ms, method=method)

    async def _advance(self, unit: Unit, version: Version) -> None:
        deleted = 1 if version.is_deleted else 0
        await unit.execute(_NEXT, (version.version, version.updated_ms, deleted, version.rid))
        await self._store(unit, version)

    async def _store(self, unit: Unit, version: Version) -> None:
        row = (version.rid, version.version, version.updated_ms, version.method, version.frame)
        await unit.execute(_VERSION, row)

    def _publish(
        self, unit: Unit, change: Change, version: Version, body: bytes, *, about: bytes = b""
    ) -> None:
        unit.events.append(
            change_event(
                site=self.site,
                site_key=self.site_key,
                change=change,
                resource_type=version.resource_type,
                id=version.id,
                body=body,
                about=about or body,
            )
        )


def tombstone(version: Version) -> bytes:
    """What is said of a deleted resource: its type, its id and the version that ended it."""
    return stamped(
        f'{{"resourceType":"{version.resource_type}"}}'.encode(),
        id=version.id,
        version=version.version,
        last_updated=instant(version.updated_ms),
    )


__all__ = [
    "DELETED",
    "Prepared",
    "Repository",
    "Version",
    "Written",
    "fresh_id",
    "tombstone",
    "version_of",
]
