"""Dates, times and date-times of any precision, with the specification's three-valued order (FHIRPath 2.0 §6.2)."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import Final

_DATE: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?\Z", re.ASCII)
_DATE_TIME: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?"
    r"(?:T(?:(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?)?(Z|[+-]\d\d:\d\d)?)?)?\Z",
    re.ASCII,
)
_TIME: Final = re.compile(r"T?(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,12}))?)?)?\Z", re.ASCII)
_LIMITS: Final = ((1, 9999), (1, 12), (1, 31), (0, 23), (0, 59), (0, 60))
_TEXT: Final = ("{:04}", "-{:02}", "-{:02}", "T{:02}", ":{:02}", ":{:02}")
_FARTHEST_ZONE: Final = 14 * 60
LONGEST: Final = 48


@dataclass(frozen=True, slots=True)
class Temporal:
    """A point or span in time: `kind` is `Date`, `DateTime` or `Time`.

    `fields` holds year to second as far as they are known (hour to second of a `Time`), `fraction` the digits of the
    second's fraction, `offset` minutes east of UTC or None.
    """

    kind: str
    fields: tuple[int, ...]
    fraction: str = ""
    offset: int | None = None

    def __str__(self) -> str:
        skipped = 3 if self.kind == "Time" else 0
        text = "".join(
            form.format(value) for form, value in zip(_TEXT[skipped:], self.fields, strict=False)
        )
        text = text.removeprefix("T") if skipped else text
        return text + (f".{self.fraction}" if self.fraction else "") + _zone(self.offset)

    def json(self) -> str:
        """Its text, as a resource would hold it."""
        return str(self)

    @property
    def has_time(self) -> bool:
        """Whether at least the hour is known."""
        return self.kind == "Time" or len(self.fields) > 3

    @property
    def ordinal(self) -> int:
        """Days since year 1 of a date known to the day."""
        return date(*self.fields[:3]).toordinal()


def parse_date(text: str) -> Temporal | None:
    """A date such as `2015`, `2015-02` or `2015-02-04`."""
    found = _DATE.match(text) if len(text) <= LONGEST else None
    return _checked("Date", found.groups(), "", None) if found else None


def parse_date_time(text: str) -> Temporal | None:
    """A date-time such as `2015`, `2015-02-04T14:34:28.123+10:00` or `2015T`."""
    found = _DATE_TIME.match(text) if len(text) <= LONGEST else None
    if found is None:
        return None
    *fields, fraction, zone = found.groups()
    if zone is not None and fields[3] is None:
        return None
    if fields[3] is not None and fields[2] is None:
        return None
    return _checked("DateTime", tuple(fields), fraction or "", zone)


def parse_time(text: str) -> Temporal | None:
    """A time of day such as `14`, `14:34` or `T14:34:28.123`."""
    found = _TIME.match(text) if len(text) <= LONGEST else None
    if found is None:
        return None
    *fields, fraction = found.groups()
    return _checked("Time", tuple(fields), fraction or "", None)


def order(left: Temporal, right: Temporal) -> int | None:
    """Less than, equal or greater than 0; None when the precisions, or a missing zone, leave it open."""
    if left.has_time and right.has_time and left.offset != right.offset:
        if left.offset is None or right.offset is None:
            return _far_apart(left, right)
        left, right = _utc(left), _utc(right)
    for one, other in zip(left.fields, right.fields, strict=False):
        if one != other:
            return -1 if one < other else 1
    if len(left.fields) != len(right.fields):
        return None
    one_fraction, other_fraction = left.fraction.rstrip("0"), right.fraction.rstrip("0")
    return (one_fraction > other_fraction) - (one_fraction < other_fraction)


def instant_key(value: Temporal) -> tuple[object, ...]:
    """A key that is equal for values that are equal for certain."""
    if value.offset is not None:
        value = _utc(value)
    kind = "Time" if value.kind == "Time" else "Date"
    return (kind, value.fields, value.fraction.rstrip("0"), value.offset is None)


def _far_apart(left: Temporal, right: Temporal) -> int | None:
    days = left.ordinal - right.ordinal if left.kind != "Time" else 0
    if abs(days) > 1:
        return -1 if days < 0 else 1
    return None


def _utc(value: Temporal) -> Temporal:
    hour, minute, *rest = (*value.fields[3:], 0) if len(value.fields) == 4 else value.fields[3:]
    minutes = value.ordinal * 1440 + hour * 60 + minute - (value.offset or 0)
    days, left = divmod(minutes, 1440)
    first, last = 1, date.max.toordinal()
    day = date.fromordinal(min(max(days, first), last))
    fields = (day.year, day.month, day.day, left // 60, left % 60, *rest)
    return Temporal("DateTime", fields[: len(value.fields)], value.fraction, 0)


def _checked(
    kind: str, groups: tuple[str | None, ...], fraction: str, zone: str | None
) -> Temporal | None:
    fields = tuple(int(group) for group in groups if group is not None)
    limits = _LIMITS[3:] if kind == "Time" else _LIMITS
    if not all(low <= f <= high for f, (low, high) in zip(fields, limits, strict=False)):
        return None
    if kind != "Time" and len(fields) > 2 and fields[2] > monthrange(fields[0], fields[1])[1]:
        return None
    offset = None
    if zone is not None:
        offset = _offset(zone)
        if offset is None:
            return None
    return Temporal(kind, fields, fraction, offset)


def _offset(zone: str) -> int | None:
    if zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:])
    total = hours * 60 + minutes
    if total > _FARTHEST_ZONE or minutes > 59:
        return None
    return -total if zone[0] == "-" else total


def _zone(offset: int | None) -> str:
    if offset is None:
        return ""
    if offset == 0:
        return "Z"
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}"


__all__ = ["Temporal", "instant_key", "order", "parse_date", "parse_date_time", "parse_time"]
