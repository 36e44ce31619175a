"""Dates and times of HL7 v2 (DTM, TS, DT, TM: v2.8.2 section 2A.3.21) as FHIR R4 writes them.

Precision is kept. A time of day needs a zone in FHIR: its own, else the link's, else it is left out and said so.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final, cast

from adapters.hl7v2.mapping.frames import Frame
from adapters.hl7v2.mapping.protocol import IssueCode, Severity

_DTM: Final = re.compile(
    r"(?P<year>\d{4})(?:-?(?P<month>\d\d)(?:-?(?P<day>\d\d)(?:[T ]?(?P<hour>\d\d)(?::?(?P<minute>\d\d)"
    r"(?::?(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?)?)?)?)?\s?(?P<zone>Z|[+-]\d\d:?\d\d)?\Z",
    re.ASCII,
)
_HOUR: Final = 3
_MINUTE: Final = 4
_TM: Final = re.compile(
    r"(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?\Z",
    re.ASCII,
)


_Parts = tuple[
    str, str | None, str | None, str | None, str | None, str | None, str | None, str | None
]
"""Year, month, day, hour, minute, second, fraction with its point, zone."""


def _found(text: str) -> _Parts:
    found = _DTM.match(text)
    if found is None:
        raise ValueError("no date or time")
    parts = cast("_Parts", found.groups())
    year, month, day, hour, minute, second, _, _ = parts
    # checks the calendar, and refuses the year 0000
    datetime(  # noqa: DTZ001  # no moment, only the numbers
        int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0)
    )
    if second and int(second) > 59:
        raise ValueError("no second of a minute")
    return parts


def _day(parts: _Parts) -> str:
    year, month, day = parts[:3]
    if day:
        return f"{year}-{month}-{day}"
    return f"{year}-{month}" if month else year


def date(text: str, frame: Frame) -> str:
    """A date; a time of day is dropped."""
    return _day(_found(text))


def date_time(text: str, frame: Frame) -> str:
    """A dateTime of the precision that the text has; a time of day only with a zone."""
    found = _found(text)
    if not found[_HOUR]:
        return _day(found)
    if not found[_MINUTE]:
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


def has_moment(text: str, frame: Frame) -> bool:
    """Whether a text is a date with a time of day whose zone it, or the link, says."""
    try:
        found = _found(text)
    except ValueError:
        return False
    return bool(found[_MINUTE] and _zone(found, frame))


def instant(text: str, frame: Frame) -> str | None:
    """An instant; None and an issue when the time or its zone is missing."""
    found = _found(text)
    zone = _zone(found, frame) if found[_MINUTE] else ""
    if not zone:
        has_time = bool(found[_MINUTE])
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
    return _clock(found["hour"], found["minute"], found["second"], found["fraction"])


def _time(parts: _Parts) -> str:
    return _clock(*parts[3:7])


def _clock(hour: str | None, minute: str | None, second: str | None, fraction: str | None) -> str:
    return f"{hour}:{minute}:{second or '00'}{fraction or ''}"


def _zone(parts: _Parts, frame: Frame) -> str:
    given = parts[7]
    if given:
        return "Z" if given == "Z" else _offset(given[:3], given[-2:])
    zone = frame.env.context.zone
    if zone is None:
        return ""
    offset = zone.utcoffset(datetime(*(int(one or 0) for one in parts[:6])))  # type: ignore[arg-type]  # noqa: DTZ001  # six numbers, local time
    if offset is None:
        return ""
    sign, offset = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    minutes = int(offset.total_seconds()) // 60
    return _offset(f"{sign}{minutes // 60:02}", f"{minutes % 60:02}")


def _offset(hours: str, minutes: str) -> str:
    if int(minutes) > 59 or int(hours[1:]) > 14 or (int(hours[1:]) == 14 and int(minutes)):
        raise ValueError("no offset from UTC")
    return f"{hours}:{minutes}"


__all__ = ["date", "date_time", "has_moment", "instant", "time"]
