"""Dates and times of HL7 v2 (DTM, TS, DT, TM: v2.8.2 section 2A.3.21) as FHIR R4 writes them.

Precision is kept. A time of day needs a zone in FHIR: its own, else the link's, else it is left out and said so.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from adapters.hl7v2.mapping.frames import Frame
from adapters.hl7v2.mapping.protocol import IssueCode, Severity

_DTM: Final = re.compile(
    r"(?P<year>\d{4})(?:-?(?P<month>\d\d)(?:-?(?P<day>\d\d)(?:[T ]?(?P<hour>\d\d)(?::?(?P<minute>\d\d)"
    r"(?::?(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?)?)?)?)?\s?(?P<zone>Z|[+-]\d\d:?\d\d)?\Z",
    re.ASCII,
)
_TM: Final = re.compile(
    r"(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?\Z",
    re.ASCII,
)


def _found(text: str) -> re.Match[str]:
    found = _DTM.match(text)
    if found is None:
        raise ValueError("no date or time")
    year, month, day = found["year"], found["month"], found["day"]
    # checks the calendar, and refuses the year 0000
    datetime(  # noqa: DTZ001  # no moment, only the numbers
        int(year),
        int(month or 1),
        int(day or 1),
        int(found["hour"] or 0),
        int(found["minute"] or 0),
    )
    if int(found["second"] or 0) > 59:
        raise ValueError("no second of a minute")
    return found


def _day(found: re.Match[str]) -> str:
    return "-".join(part for part in (found["year"], found["month"], found["day"]) if part)


def date(text: str, frame: Frame) -> str:
    """A date; a time of day is dropped."""
    return _day(_found(text))


def date_time(text: str, frame: Frame) -> str:
    """A dateTime of the precision that the text has; a time of day only with a zone."""
    if len(text) == 8 and text.isdigit() and text.isascii():
        return _day(_found(text))
    found = _found(text)
    if not found["hour"]:
        return _day(found)
    if not found["minute"]:
        frame.env.issue(
            Severity.WARNING,
            IssueCode.BAD_VALUE,
            frame.address,
            detail="an hour without minutes is left out",
        )
        return _day(found)
    zone = _zone(found, frame)
    if not zone:
        frame.env.issue(
            Severity.WARNING,
            IssueCode.NO_ZONE,
            frame.address,
            detail="the time of day is left out: neither the value nor the link says its zone",
        )
        return _day(found)
    return f"{_day(found)}T{_time(found)}{zone}"


def instant(text: str, frame: Frame) -> str | None:
    """An instant; None and an issue when the time or its zone is missing."""
    found = _found(text)
    zone = _zone(found, frame) if found["minute"] else ""
    if not zone:
        has_time = bool(found["minute"])
        frame.env.issue(
            Severity.WARNING,
            IssueCode.NO_ZONE if has_time else IssueCode.BAD_VALUE,
            frame.address,
            detail="left out: an instant needs a time of day and a zone",
        )
        return None
    return f"{_day(found)}T{_time(found)}{zone}"


def time(text: str, frame: Frame) -> str:
    """A time of day; its zone is dropped, FHIR's `time` has none."""
    found = _TM.match(text)
    if (
        found is None
        or int(found["hour"]) > 23
        or int(found["minute"]) > 59
        or int(found["second"] or 0) > 59
    ):
        raise ValueError("no time of day")
    return _time(found)


def _time(found: re.Match[str]) -> str:
    return f"{found['hour']}:{found['minute']}:{found['second'] or '00'}{found['fraction'] or ''}"


def _zone(found: re.Match[str], frame: Frame) -> str:
    given = found["zone"]
    if given:
        return "Z" if given == "Z" else _offset(given[:3], given[-2:])
    zone = frame.env.context.zone
    if zone is None:
        return ""
    parts = [int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    offset = zone.utcoffset(datetime(*parts))  # type: ignore[arg-type]  # noqa: DTZ001  # six numbers, local time
    if offset is None:
        return ""
    sign, offset = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    minutes = int(offset.total_seconds()) // 60
    return _offset(f"{sign}{minutes // 60:02}", f"{minutes % 60:02}")


def _offset(hours: str, minutes: str) -> str:
    if int(minutes) > 59 or int(hours[1:]) > 14 or (int(hours[1:]) == 14 and int(minutes)):
        raise ValueError("no offset from UTC")
    return f"{hours}:{minutes}"


__all__ = ["date", "date_time", "instant", "time"]
