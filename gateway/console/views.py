"""What each page shows of the picture: plain values, sorted and put into words, for templates without logic. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.contract import Condition
from bus.services.protocol import Health, Seen
from gateway.console import words
from gateway.console.alerts import Alert, Severity
from gateway.console.charts import chart, spark
from gateway.console.picture import Picture, Series, causes
from gateway.console.sources import Letter

_TOP: Final = 8
_CLEARED: Final = 8
_MAX_INSTANCES: Final = 500
_MAX_SUBJECTS: Final = 2000

GOOD, FAIR, BAD, IDLE = "good", "fair", "bad", "idle"
"""Classes of marks; each goes with words, never colour alone."""
_CONDITIONS: Final = {
    Condition.HEALTHY: GOOD,
    Condition.STARTING: IDLE,
    Condition.DEGRADED: FAIR,
    Condition.STOPPED: BAD,
}
_HEALTHS: Final = {
    Health.HEALTHY: GOOD,
    Health.DRAINING: IDLE,
    Health.SUSPECT: FAIR,
    Health.EJECTED: BAD,
    Health.GONE: BAD,
}
_SEVERITIES: Final = {
    Severity.CRITICAL: (BAD, "critical"),
    Severity.WARNING: (FAIR, "warning"),
    Severity.NOTICE: (IDLE, "notice"),
}


def status(picture: Picture, *, now_ms: int) -> dict[str, Any]:
    """The line on top of every page."""
    alerts = picture.book.open
    worst = max((one.trouble.severity for one in alerts), default=None)
    if not picture.at_ms:
        mark, text = IDLE, "Looking at the mesh for the first time"
    elif not picture.is_connected:
        mark, text = BAD, "The mesh cannot be reached"
    elif worst is None:
        mark, text = GOOD, "Everything runs"
    else:
        mark = _SEVERITIES[worst][0]
        text = f"{len(alerts)} alert{'s' * (len(alerts) != 1)}"
    is_old = bool(picture.failure) and picture.at_ms > 0
    return {
        "mark": mark,
        "text": text,
        "at_ms": picture.at_ms,
        "is_old": is_old,
        "fresh_ms": picture.fresh_ms,
        "failure": words.reason(picture.failure),
        "letters": picture.letters_total,
        "alerts": len(alerts),
        "now_ms": now_ms,
    }


def now(picture: Picture, *, now_ms: int, refresh_s: float) -> dict[str, Any]:
    """The first page."""
    seen = [one for group in picture.services.values() for one in group]
    healthy = sum(one.health is Health.HEALTHY for one in seen)
    waiting = sum(one.waiting for one in picture.places)
    stored_bytes = sum(one.bytes for one in picture.streams)
    synced = {one.is_synced for one in picture.streams}
    return {
        "rate": words.rate(picture.stored.rate),
        "rate_spark": spark(picture.stored.rates),
        "chart": chart(picture.stored.rates, seconds_each=refresh_s),
        "waiting": words.number(waiting),
        "waiting_spark": spark(picture.waiting),
        "letters": words.number(picture.letters_total),
        "letters_mark": FAIR if picture.letters_total else GOOD,
        "instances": len(seen),
        "healthy": healthy,
        "services": len(picture.services),
        "instances_mark": GOOD if healthy == len(seen) else FAIR,
        "stored": words.size(stored_bytes),
        "messages": words.number(sum(one.messages for one in picture.streams)),
        "synced": "synced before it is acknowledged"
        if synced == {True}
        else (
            "not synced before it is acknowledged" if False in synced else "not told whether synced"
        ),
        "alerts": [_alert(one, now_ms) for one in picture.book.open],
        "cleared": [_alert(one, now_ms) for one in picture.book.cleared[:_CLEARED]],
        "flows": _busiest(picture),
        "adapters": [
            {
                "name": name,
                "mark": _CONDITIONS[health.condition],
                "condition": health.condition.value,
                "detail": health.detail,
            }
            for name, health in sorted(picture.health.items())
        ],
    }


def _alert(alert: Alert, now_ms: int) -> dict[str, Any]:
    mark, severity = _SEVERITIES[alert.trouble.severity]
    end_ms = alert.cleared_ms or now_ms
    return {
        "key": alert.trouble.key,
        "mark": mark,
        "severity": severity,
        "words": alert.trouble.words,
        "advice": alert.trouble.advice,
        "link": alert.trouble.link,
        "began_ms": alert.began_ms,
        "cleared_ms": alert.cleared_ms,
        "lasted": words.duration((end_ms - alert.began_ms) / 1000),
    }


def _busiest(picture: Picture) -> list[dict[str, Any]]:
    ranked = sorted(
        picture.flows.items(), key=lambda item: (-item[1].rate, -item[1].count, item[0])
    )[:_TOP]
    most = max((series.rate for _, series in ranked), default=0.0)
    return [
        {
            "subject": subject,
            "rate": words.rate(series.rate),
            "count": words.number(series.count),
            "share": round(100 * series.rate / most) if most > 0 else 0,
            "spark": spark(series.rates),
        }
        for subject, series in ranked
    ]


@dataclass(slots=True)
class Branch:
    """One step of the subject tree."""

    token: str
    subject: str
    depth: int
    rate_per_s: float = 0.0
    total: int = 0
    series: Series | None = None
    below: dict[str, Branch] = field(default_factory=dict)

    @property
    def rate(self) -> str:
        """A second, everything below included."""
        return words.rate(self.rate_per_s)

    @property
    def count(self) -> str:
        """Events, everything below included."""
        return words.number(self.total)

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is below."""
        return not self.below

    @property
    def spark(self) -> str:
        """Of a leaf."""
        return spark(self.series.rates) if self.series is not None else ""

    @property
    def branches(self) -> list[Branch]:
        """What is below, by name."""
        return [self.below[key] for key in sorted(self.below)]


def subjects(picture: Picture, *, wanted: str = "") -> dict[str, Any]:
    """The tree of subjects; `wanted`: only those that contain it."""
    root = Branch("", "", 0)
    every = sorted(picture.flows.items())
    chosen = [(name, series) for name, series in every if wanted.lower() in name]
    for name, series in chosen[:_MAX_SUBJECTS]:
        branch = root
        steps = name.split(".")
        for at, step in enumerate(steps):
            inner = branch.below.get(step)
            if inner is None:
                inner = Branch(step, ".".join(steps[: at + 1]), at)
                branch.below[step] = inner
            inner.rate_per_s += series.rate
            inner.total += series.count
            branch = inner
        branch.series = series
    return {
        "tree": root.branches,
        "shown": min(len(chosen), _MAX_SUBJECTS),
        "total": len(every),
        "wanted": wanted,
        "rate": words.rate(sum(series.rate for _, series in chosen)),
    }


def services(picture: Picture, *, now_s: float) -> dict[str, Any]:
    """Services with their instances."""
    left = _MAX_INSTANCES
    found = []
    for name in sorted(picture.services):
        group = sorted(picture.services[name], key=lambda one: one.instance.id)[: max(0, left)]
        left -= len(group)
        if not group:
            continue
        healthy = sum(one.health is Health.HEALTHY for one in group)
        found.append(
            {
                "name": name,
                "versions": ", ".join(sorted({one.instance.version for one in group})),
                "healthy": healthy,
                "count": len(group),
                "mark": GOOD if healthy == len(group) else (FAIR if healthy else BAD),
                "rate": words.rate(sum(_series(picture, one).rate for one in group)),
                "methods": sorted({m for one in group for m in one.instance.methods}),
                "instances": [_instance(picture, one, now_s) for one in group],
            }
        )
    return {"services": found, "total": sum(len(one) for one in picture.services.values())}


def _series(picture: Picture, seen: Seen) -> Series:
    return picture.answered.get(seen.instance.id) or Series()


def _instance(picture: Picture, seen: Seen, now_s: float) -> dict[str, Any]:
    instance, load = seen.instance, seen.load
    series = _series(picture, seen)
    timings = picture.timings.get(instance.id, ())
    requests = sum(one.requests for one in timings)
    errors = sum(one.errors for one in timings)
    spent_ms = sum(one.average_ms * one.requests for one in timings)
    return {
        "id": instance.id,
        "version": instance.version,
        "place": f"{instance.site}/{instance.zone}" if instance.zone else instance.site,
        "mark": _HEALTHS[seen.health],
        "health": seen.health.value,
        "reason": words.reason(seen.reason) if seen.reason else "",
        "in_flight": load.in_flight,
        "limit": load.limit,
        "load": min(100, round(100 * load.in_flight / load.limit)) if load.limit else 0,
        "oldest": words.duration(load.oldest_s) if load.oldest_s >= 1 else "",
        "answered": words.number(load.answered),
        "rate": words.rate(series.rate),
        "spark": spark(series.rates),
        "latency": words.milliseconds(spent_ms / requests) if requests else "",
        "errors": words.number(errors),
        "has_errors": errors > 0,
        "heard": words.duration(max(0.0, now_s - seen.heard_s)) if seen.heard_s else "",
        "methods": [
            {
                "name": one.method,
                "requests": words.number(one.requests),
                "errors": words.number(one.errors),
                "latency": words.milliseconds(one.average_ms) if one.requests else "",
                "last_error": one.last_error,
            }
            for one in timings
        ],
    }


def consumers(picture: Picture, *, now_ms: int, stalled_after_s: float) -> dict[str, Any]:
    """Destinations and what waits for each."""
    most = max((one.waiting for one in picture.places), default=0)
    rows = []
    for place in sorted(picture.places, key=lambda one: (-one.waiting, one.name)):
        still_s = (now_ms - picture.moved_ms.get(place.name, now_ms)) / 1000
        is_stalled = bool(place.waiting) and still_s >= stalled_after_s
        mark, state = GOOD, "up to date"
        if is_stalled:
            mark, state = BAD, f"finishes nothing for {words.duration(still_s)}"
        elif place.waiting:
            mark, state = IDLE, "working"
        age_s = (now_ms - place.oldest_ms) / 1000 if place.oldest_ms and place.waiting else 0.0
        rows.append(
            {
                "name": place.name,
                "kind": place.kind,
                "mark": mark,
                "state": state,
                "waiting": words.number(place.waiting),
                "share": round(100 * place.waiting / most) if most else 0,
                "in_hand": words.number(place.in_hand),
                "oldest": (
                    ("at most " if place.is_upper_bound else "") + words.duration(age_s)
                    if age_s
                    else ""
                ),
                "spark": spark(picture.place_waits.get(place.name, ())),
                "subjects": place.subjects,
                "letters": sum(one.consumer == place.name for one in picture.letters.values()),
            }
        )
    return {"places": rows}


def dead_letters(picture: Picture, *, now_ms: int) -> dict[str, Any]:
    """Dead letters by cause."""
    groups = causes(picture.letters.values())
    firsts = {cause.consumer: cause.key for cause in reversed(groups)}
    return {
        "causes": [
            {
                "key": cause.key,
                "anchor": f"consumer-{cause.consumer}"
                if firsts[cause.consumer] == cause.key
                else f"cause-{number}",
                "consumer": cause.consumer,
                "reason": cause.reason,
                "reason_words": words.reason(cause.reason),
                "detail": cause.detail,
                "count": len(cause.letters),
                "oldest_ms": cause.oldest_ms,
                "newest_ms": cause.newest_ms,
                "letters": [letter_row(one) for one in cause.letters],
            }
            for number, cause in enumerate(groups)
        ],
        "listed": len(picture.letters),
        "total": picture.letters_total,
        "now_ms": now_ms,
    }


def letter_row(letter: Letter) -> Mapping[str, Any]:
    """One dead letter in a list. One that cannot be opened shows where it lies and why."""
    message_id = getattr(letter, "message_id", b"")
    return {
        "seq": letter.seq,
        "consumer": letter.consumer,
        "reason": letter.reason,
        "is_readable": hasattr(letter, "subject"),
        "subject": getattr(letter, "subject", ""),
        "detail": getattr(letter, "detail", ""),
        "attempts": getattr(letter, "attempts", 0),
        "last_ms": getattr(letter, "last_attempt_ms", 0),
        "message_id": message_id.hex(),
    }


__all__ = [
    "BAD",
    "FAIR",
    "GOOD",
    "IDLE",
    "Branch",
    "consumers",
    "dead_letters",
    "letter_row",
    "now",
    "services",
    "status",
    "subjects",
]
