"""Writes entries into the tables, on the database's thread and inside a transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from adapters.dicom.datasets import INSTANCE_KEYWORDS, SERIES_KEYWORDS, STUDY_KEYWORDS, Header
from adapters.dicom.index.protocol import Added, Addition, Entry, Kept, Policy


def _insert(table: str, own: Sequence[str], keywords: Sequence[str]) -> str:
    names = [*own, *(f'"{keyword}"' for keyword in keywords)]
    marks = ", ".join("?" * len(names))
    return f"insert into {table} ({', '.join(names)}) values ({marks})"  # noqa: S608  # our own names


_ADD_STUDY: Final = _insert("dicom_study", ("uid", "version", "changed_ms"), STUDY_KEYWORDS)
_ADD_SERIES: Final = _insert("dicom_series", ("study", "uid"), SERIES_KEYWORDS)
_KEPT: Final = ("transfer_syntax", "blob", "size", "calling", "called", "received_ms")
_ADD_INSTANCE: Final = _insert(
    "dicom_instance", ("series", "uid", "sop_class", *_KEPT), INSTANCE_KEYWORDS
)
_ADD_QUARANTINED: Final = _insert("dicom_quarantine", ("reason", *_KEPT), ())
_FIND: Final = f"select id, {', '.join(_KEPT)} from dicom_instance where uid = ?"  # noqa: S608  # our own names


def add(connection: sqlite3.Connection, entry: Entry, policy: Policy) -> Addition:
    """Add an instance, with its study and series where they are new."""
    header, kept = entry.header, entry.kept
    row = connection.execute(_FIND, (header.sop_instance,)).fetchone()
    if row is None:
        _add_instance(connection, entry)
        return Addition(Added.NEW)
    key, *columns = row
    before = Kept(**dict(zip(_KEPT, columns, strict=True)))
    if (before.blob, before.transfer_syntax) == (kept.blob, kept.transfer_syntax):
        return Addition(Added.SAME, before)
    if policy is Policy.REPLACE:
        connection.execute("delete from dicom_instance where id = ?", (key,))
        _add_instance(connection, entry)
    return Addition(Added.CONFLICT, before)


def quarantine(connection: sqlite3.Connection, kept: Kept, reason: str) -> None:
    """Remember bytes that belong nowhere."""
    connection.execute(_ADD_QUARANTINED, (reason, *_kept_values(kept)))


def _kept_values(kept: Kept) -> tuple[str | int, ...]:
    return tuple(getattr(kept, name) for name in _KEPT)


def _add_instance(connection: sqlite3.Connection, entry: Entry) -> None:
    header, kept = entry.header, entry.kept
    study = _study(connection, header, kept.received_ms)
    series = _series(connection, header, study)
    values = (header.text(keyword) for keyword in INSTANCE_KEYWORDS)
    connection.execute(
        _ADD_INSTANCE,
        (series, header.sop_instance, header.sop_class, *_kept_values(kept), *values),
    )
    connection.execute(
        "update dicom_study set changed_ms = ? where id = ?", (kept.received_ms, study)
    )


def _study(connection: sqlite3.Connection, header: Header, now_ms: int) -> int:
    found = "select id from dicom_study where uid = ?"
    row = connection.execute(found, (header.study,)).fetchone()
    if row is None:
        values = (header.text(keyword) for keyword in STUDY_KEYWORDS)
        connection.execute(_ADD_STUDY, (header.study, 0, now_ms, *values))
        row = connection.execute(found, (header.study,)).fetchone()
    return int(row[0])


def _series(connection: sqlite3.Connection, header: Header, study: int) -> int:
    found = "select id from dicom_series where uid = ?"
    row = connection.execute(found, (header.series,)).fetchone()
    if row is None:
        values = (header.text(keyword) for keyword in SERIES_KEYWORDS)
        connection.execute(_ADD_SERIES, (study, header.series, *values))
        row = connection.execute(found, (header.series,)).fetchone()
    return int(row[0])


__all__ = ["add", "quarantine"]
