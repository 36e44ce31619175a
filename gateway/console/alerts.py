"""Alerts: one when trouble starts, one when it is over, none in between. Pure.

What is trouble is decided elsewhere (`gateway.console.troubles`); here it becomes an alert when it lasts, and clears
when it stays away as long. So a connection that flutters for an hour is one alert, not a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

_CLEARED_KEPT: Final = 50
_MAX_OPEN: Final = 200


class Severity(IntEnum):
    """How bad it is; a higher one comes first."""

    NOTICE = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that is wrong now."""

    key: str
    """What it is about, the same at each look: `consumer_stalled:archive`."""
    severity: Severity
    words: str
    """For an operator at 3 a.m.: what is wrong. Never content."""
    advice: str = ""
    """What to do or where to look."""
    link: str = ""
    """Path of the page that shows it, below `/console`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One trouble, from its start to its end."""

    trouble: Trouble
    began_ms: int
    """When it was first seen."""
    started_ms: int = 0
    """When it had lasted long enough to be an alert; 0: not yet."""
    gone_ms: int = 0
    """Since when it has not been seen; 0: it is there now."""
    cleared_ms: int = 0
    """When it had been gone long enough; 0: it is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertBook:
    """What is known; `looked` gives the next one."""

    known: Mapping[str, Alert]
    """Those that are open, and those that have not lasted long enough yet, by key."""
    cleared: tuple[Alert, ...] = ()
    """The last ones that ended, newest first."""
    overflow: int = 0
    """How many troubles were left out of the last look because there were too many."""

    @property
    def open(self) -> tuple[Alert, ...]:
        """Alerts that have started and not cleared: the worst first, then the newest."""
        started = [one for one in self.known.values() if one.started_ms]
        return tuple(sorted(started, key=lambda one: (-one.trouble.severity, -one.started_ms)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An alert that has just started or just cleared."""

    alert: Alert
    is_start: bool


EMPTY: Final = AlertBook(known={})


def looked(
    book: AlertBook, troubles: Iterable[Trouble], *, now_ms: int, after_ms: int
) -> tuple[AlertBook, tuple[Change, ...]]:
    """What one look changes. Trouble lasts `after_ms` before it is an alert, and is away as long before that clears."""
    there = {one.key: one for one in troubles}
    overflow = max(0, len(there) - _MAX_OPEN)
    if overflow:
        worst = sorted(there.values(), key=lambda one: (-one.severity, one.key))[:_MAX_OPEN]
        there = {one.key: one for one in worst}
    known: dict[str, Alert] = {}
    cleared: list[Alert] = []
    changes: list[Change] = []
    for key in sorted({*book.known, *there}):
        alert = _next(book.known.get(key), there.get(key), now_ms=now_ms, after_ms=after_ms)
        if alert is None:
            continue
        before = book.known.get(key)
        if alert.cleared_ms:
            cleared.append(alert)
            changes.append(Change(alert=alert, is_start=False))
            continue
        if alert.started_ms and not (before and before.started_ms):
            changes.append(Change(alert=alert, is_start=True))
        known[key] = alert
    kept = (*cleared, *book.cleared)[:_CLEARED_KEPT]
    return AlertBook(known=known, cleared=kept, overflow=overflow), tuple(changes)


def _next(
    alert: Alert | None, trouble: Trouble | None, *, now_ms: int, after_ms: int
) -> Alert | None:
    if trouble is not None:
        alert = alert or Alert(trouble=trouble, began_ms=now_ms)
        is_due = now_ms - alert.began_ms >= after_ms
        started_ms = alert.started_ms or (now_ms if is_due else 0)
        return replace(alert, trouble=trouble, started_ms=started_ms, gone_ms=0)
    if alert is None or not alert.started_ms:
        return None  # it passed before it was an alert
    gone_ms = alert.gone_ms or now_ms
    cleared_ms = now_ms if now_ms - gone_ms >= after_ms else 0
    return replace(alert, gone_ms=gone_ms, cleared_ms=cleared_ms)


__all__ = ["EMPTY", "Alert", "AlertBook", "Change", "Severity", "Trouble", "looked"]
