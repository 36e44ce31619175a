"""Numbers, times and codes as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_FEW: Final = 10
_THOUSAND: Final = 1000
_KIBI: Final = 1024
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")

REASONS: Final = {
    "heartbeat_late": "its heartbeats are late",
    "wedged": "it answers heartbeats but no calls",
    "disconnected": "its connection has ended",
    "errors": "too many of its answers were errors",
    "slow": "its answers came too late",
    "draining": "it is being stopped",
    "rejected": "the destination refuses it for good",
    "rejected_by_receiver": "the receiver rejected it",
    "negative_acknowledgement": "the receiver answered with an error each time",
    "unreadable_acknowledgement": "the answer of the receiver could not be read",
    "unavailable": "the destination is away",
    "deadline_exceeded": "no answer came in time",
    "schema_refused": "it does not fit its schema",
    "may_not_read": "its sender did not seal it for this destination",
    "unknown_signer": "its sender is not known here",
}
"""What codes that operators meet mean. A code that is not here stands for itself."""


def duration(seconds: float) -> str:
    """`3 s`, `4 min`, `2 h 5 min`, `3 d`."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        hours, minutes = whole // _HOUR, whole % _HOUR // _MINUTE
        return f"{hours} h {minutes} min" if minutes and hours < _FEW else f"{hours} h"
    return f"{whole // _DAY} d"


def gap(milliseconds: int) -> str:
    """Time between two steps: `12 ms`, `3.4 s`, `4 min`."""
    if milliseconds < _THOUSAND:
        return f"{max(0, milliseconds)} ms"
    if milliseconds < _MINUTE * _THOUSAND:
        return f"{milliseconds / 1000:.1f} s"
    return duration(milliseconds / 1000)


def rate(per_s: float) -> str:
    """`0`, `0.4`, `12`, `1 234`."""
    if per_s <= 0:
        return "0"
    return f"{per_s:.1f}" if per_s < _FEW else number(round(per_s))


def number(count: float) -> str:
    """With thin spaces between thousands."""
    return f"{round(count):,}".replace(",", "\u2009")


def size(count: int) -> str:
    """`12 MiB`."""
    value, unit = float(count), 0
    while value >= _KIBI and unit < len(_UNITS) - 1:
        value, unit = value / _KIBI, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < _FEW else f"{value:.0f} {_UNITS[unit]}"


def milliseconds(value: float) -> str:
    """`0.4 ms`, `12 ms`, `1.2 s`."""
    if value >= _THOUSAND:
        return f"{value / _THOUSAND:.1f} s"
    return f"{value:.1f} ms" if value < _FEW else f"{value:.0f} ms"


def clock(at_ms: int) -> str:
    """`05:21:03`, UTC."""
    return _moment(at_ms).strftime("%H:%M:%S")


def clock_ms(at_ms: int) -> str:
    """`05:21:03.120`, UTC."""
    return f"{clock(at_ms)}.{at_ms % 1000:03d}"


def moment(at_ms: int) -> str:
    """`2026-11-23 05:21:03`, UTC."""
    return _moment(at_ms).strftime("%Y-%m-%d %H:%M:%S")


def iso(at_ms: int) -> str:
    """For `<time datetime>`."""
    return _moment(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reason(code: str) -> str:
    """A code in words, the code itself where there are none."""
    return REASONS.get(code, code.replace("_", " "))


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


__all__ = [
    "REASONS",
    "clock",
    "clock_ms",
    "duration",
    "gap",
    "iso",
    "milliseconds",
    "moment",
    "number",
    "rate",
    "reason",
    "size",
]
