"""Values in one notation: what two producers may write differently while saying the same."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final

_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?\Z")
_DATE: Final = re.compile(r"\d{4}(-\d\d){0,2}\Z")
_URI: Final = re.compile(r"(https?://|urn:)\S+\Z", re.IGNORECASE)
_OID: Final = re.compile(r"(?:urn:oid:)?([0-2](?:\.\d+){3,})\Z", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W_]+")
_DAY: Final = re.compile(r"(?<!\d)((?:18|19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_MONTH: Final = re.compile(r"(?<!\d)((?:18|19|20)\d\d)(0[1-9]|1[0-2])?(?!\d{3})")
_ESCAPE: Final = re.compile(r"\\(?:[A-Z]|\.[a-z]{2}\d*|X[0-9A-F]*)\\")


@lru_cache(maxsize=100_000)
def normal_text(text: str) -> str:
    """One text: space collapsed, the same instant in UTC, URIs in lower case over http, an OID bare."""
    text = " ".join(text.split())
    if _DATE_TIME.match(text):
        return _instant(text)
    if oid := _OID.match(text):
        return oid[1]
    if _URI.match(text):
        return text.lower().replace("https://", "http://", 1).rstrip("/")
    return text


def normal(value: object) -> str:
    """Any JSON leaf as text: `true`, numbers without trailing zeros, texts by `normal_text`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return f"{Decimal(str(value)).normalize():f}"
    return normal_text(str(value))


def is_date(text: str) -> bool:
    """Whether a normalised text is a date, a date with a time, or a part of a date."""
    return bool(_DATE.match(text) or _DATE_TIME.match(text))


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    fraction = f"{moment.microsecond:06d}".rstrip("0")
    end = (f".{fraction}" if fraction else "") + ("Z" if moment.tzinfo else "")
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + end


class Said:
    """What a message says: its words and its days, for telling a producer's own additions from what was sent."""

    def __init__(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace")
        words = {word.lower() for word in _WORD.findall(text)}
        words.update(word.lower() for word in _WORD.findall(_ESCAPE.sub(" ", text)))
        self._words = words
        self._joined = "".join(_WORD.findall(text)).lower()
        self._days = set(_around(_DAY.findall(text)))
        self._months = {"-".join(filter(None, found)) for found in _MONTH.findall(text)}

    def has_words(self, text: str) -> bool:
        """Whether every word of a text stands in the message; a long one may span a separator, as in a phone number."""
        return all(
            word in self._words or (len(word) >= 4 and word in self._joined)
            for word in (found.lower() for found in _WORD.findall(text))
        )

    def has_date(self, text: str) -> bool:
        """Whether a date stands in the message. A day more or less is the time zone."""
        return text[:10] in self._days if len(text) >= 10 else self._has_part(text)

    def _has_part(self, text: str) -> bool:
        return any(said.startswith(text) for said in self._months | self._days)


def _around(found: list[tuple[str, str, str]]) -> list[str]:
    days = []
    for year, month, day in set(found):
        try:
            middle = date(int(year), int(month), int(day))
        except ValueError:
            continue
        days += [(middle + timedelta(days=shift)).isoformat() for shift in (-1, 0, 1)]
    return days


__all__ = ["Said", "is_date", "normal", "normal_text"]
