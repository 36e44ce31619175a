"""Dates as spans of milliseconds since 1970, both ends included; what precision leaves open is in the span. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

EARLIEST: Final = -(2**53) + 1
"""Stands for no beginning."""
LATEST: Final = 2**53 - 1
"""Stands for no end."""
_DATE: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?\Z"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DECEMBER: Final = 12
_LEAP: Final = 60
_FRACTION_DIGITS: Final = 3


class Span(NamedTuple):
    """First and last millisecond."""

    low: int
    high: int


def span_of(text: str) -> Span | None:
    """The span of a FHIR date, dateTime or instant; None for what is none. A time without a zone is taken as UTC."""
    match = _DATE.match(text)
    if match is None:
        return None
    try:
        return _span(match)
    except (ValueError, OverflowError):
        return None


def _span(match: re.Match[str]) -> Span:
    year = int(match["year"])
    month, day = int(match["month"] or 1), int(match["day"] or 1)
    second = int(match["second"] or 0)
    start = datetime(
        year, month, day, int(match["hour"] or 0), int(match["minute"] or 0), tzinfo=UTC
    ) + timedelta(seconds=min(second, _LEAP))
    start -= _offset(match["zone"])
    low = (start - _EPOCH) // _MILLISECOND
    if match["fraction"]:
        shown = match["fraction"][:_FRACTION_DIGITS]
        low += int(shown.ljust(_FRACTION_DIGITS, "0"))
        return Span(low, low + 10 ** (_FRACTION_DIGITS - len(shown)) - 1)
    return Span(low, low + _length_ms(match, year, month) - 1)


def _length_ms(match: re.Match[str], year: int, month: int) -> int:
    if match["second"]:
        return 1000
    if match["hour"]:
        return 60_000
    if match["day"]:
        return 86_400_000
    first = datetime(year, month, 1, tzinfo=UTC)
    if match["month"]:
        after = datetime(year + month // _DECEMBER, month % _DECEMBER + 1, 1, tzinfo=UTC)
    else:
        after = datetime(year + 1, 1, 1, tzinfo=UTC)
    return (after - first) // _MILLISECOND


def _offset(zone: str | None) -> timedelta:
    if not zone or zone == "Z":
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))


def instant(ms: int) -> str:
    """An instant in UTC with milliseconds, as `meta.lastUpdated` has it."""
    at = _EPOCH + timedelta(milliseconds=ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


__all__ = ["EARLIEST", "LATEST", "Span", "instant", "span_of"]
