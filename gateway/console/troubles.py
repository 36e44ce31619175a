"""What is wrong with a site, from how it looks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from adapters.contract import Condition
from bus.services.protocol import Health
from gateway.console.alerts import Severity, Trouble
from gateway.console.picture import Picture, causes


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From when on something is trouble."""

    stalled_after_s: float
    oldest_s: float


def troubles(picture: Picture, thresholds: Thresholds, *, now_ms: int) -> tuple[Trouble, ...]:
    """Everything that is wrong now."""
    if not picture.is_connected:
        return (
            Trouble(
                key="carrier_away",
                severity=Severity.CRITICAL,
                words="The mesh cannot be reached from this gateway.",
                advice="Look whether nats-server runs and whether this machine reaches it: medmesh doctor.",
            ),
        )
    return (
        *_adapters(picture),
        *_services(picture),
        *_places(picture, thresholds, now_ms),
        *_letters(picture),
        *_storage(picture),
    )


def _adapters(picture: Picture) -> Iterator[Trouble]:
    for name, health in picture.health.items():
        if health.condition in (Condition.DEGRADED, Condition.STOPPED):
            is_stopped = health.condition is Condition.STOPPED
            yield Trouble(
                key=f"adapter:{name}",
                severity=Severity.CRITICAL if is_stopped else Severity.WARNING,
                words=f"Adapter {name} is {health.condition.value}"
                + (f": {health.detail}" if health.detail else "."),
                advice="What it has to take waits, in order, and is not lost.",
            )


def _services(picture: Picture) -> Iterator[Trouble]:
    for name, group in picture.services.items():
        sick = [one for one in group if one.health in (Health.SUSPECT, Health.EJECTED)]
        able = [one for one in group if one.health is Health.HEALTHY]
        if sick:
            reasons = ", ".join(sorted({one.reason or one.health.value for one in sick}))
            yield Trouble(
                key=f"service:{name}",
                severity=Severity.WARNING if able else Severity.CRITICAL,
                words=f"Service {name}: {len(sick)} of {len(group)} instances are left out ({reasons}).",
                advice="" if able else "No healthy instance is left: calls fail or wait.",
                link=f"/services#service-{name}",
            )


def _places(picture: Picture, thresholds: Thresholds, now_ms: int) -> Iterator[Trouble]:
    for place in picture.places:
        still_s = (now_ms - picture.moved_ms.get(place.name, now_ms)) / 1000
        age_s = (now_ms - place.oldest_ms) / 1000 if place.oldest_ms else 0.0
        if place.waiting and still_s >= thresholds.stalled_after_s:
            yield Trouble(
                key=f"consumer_stalled:{place.name}",
                severity=Severity.CRITICAL,
                words=f"{place.name} finishes nothing: {_events(place.waiting)} wait.",
                advice="Is the destination up? Its events are kept for it and go on as soon as it answers.",
                link="/consumers",
            )
        elif place.waiting and age_s >= thresholds.oldest_s and not place.is_upper_bound:
            yield Trouble(
                key=f"consumer_late:{place.name}",
                severity=Severity.WARNING,
                words=f"{place.name} is late: {_events(place.waiting)} wait, the oldest for longer than "
                f"{thresholds.oldest_s:g} s.",
                link="/consumers",
            )


def _letters(picture: Picture) -> Iterator[Trouble]:
    by_consumer: dict[str, int] = {}
    for cause in causes(picture.letters.values()):
        by_consumer[cause.consumer] = by_consumer.get(cause.consumer, 0) + len(cause.letters)
    for consumer, count in by_consumer.items():
        yield Trouble(
            key=f"dead_letters:{consumer}",
            severity=Severity.WARNING,
            words=f"{consumer} could not take {count} message{'s' * (count != 1)}.",
            advice="See why, mend the cause, then replay.",
            link="/dead-letters",
        )


def _storage(picture: Picture) -> Iterator[Trouble]:
    for stream in picture.streams:
        if stream.is_synced is False:
            yield Trouble(
                key=f"not_synced:{stream.name}",
                severity=Severity.WARNING,
                words="The server acknowledges events before they are on disk (sync_interval is not always).",
                advice="A power failure can lose events that were acknowledged: docs/how-to/operate.md.",
            )
            return


def _events(count: int) -> str:
    return f"{count} event{'s' * (count != 1)}"


__all__ = ["Thresholds", "troubles"]
