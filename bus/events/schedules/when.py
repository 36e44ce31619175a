"""When an event is due. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from schemas.errors import ConfigurationError

LEAST_PERIOD_S = 1.0
_MOST_YEARS_MS = 100 * 366 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Once at `at_ms`, every `every_s` seconds from then on, or by a cron expression in a time zone."""

    at_ms: int = 0
    """Milliseconds since 1970: when it is due, or due first. 0: now, or with `every_s` after one period."""
    every_s: float = 0.0
    cron: str = ""
    """Five fields: minute, hour, day of month, month, day of week."""
    time_zone: str = "UTC"
    """IANA name of the zone in which `cron` is meant; changes of daylight saving are followed."""

    def __post_init__(self) -> None:
        """Check it. Raises `ConfigurationError`."""
        if not 0 <= self.at_ms < _MOST_YEARS_MS:
            raise ConfigurationError(f"at_ms {self.at_ms} is no time in milliseconds since 1970")
        if self.every_s and self.every_s < LEAST_PERIOD_S:
            raise ConfigurationError(
                f"every_s {self.every_s} is not allowed: at least {LEAST_PERIOD_S}"
            )
        if self.cron and self.every_s:
            raise ConfigurationError("every_s and cron exclude each other: give one of them")
        if self.cron:
            self._ticks(datetime.fromtimestamp(0, UTC))

    @property
    def is_periodic(self) -> bool:
        """Whether it comes again."""
        return bool(self.every_s or self.cron)

    def first_ms(self, now_ms: int) -> int:
        """When it is due for the first time."""
        if self.cron:
            return self.next_ms(max(self.at_ms, now_ms), now_ms)
        return self.at_ms or now_ms + round(self.every_s * 1000)

    def next_ms(self, due_ms: int, now_ms: int) -> int:
        """When it is due again after `due_ms`; what was missed meanwhile is left out, so it is after `now_ms`."""
        if self.cron:
            after = datetime.fromtimestamp(max(due_ms, now_ms) / 1000, self._zone())
            return round(next(self._ticks(after)).timestamp() * 1000)
        period_ms = round(self.every_s * 1000)
        missed = max(0, now_ms - due_ms) // period_ms
        return due_ms + (missed + 1) * period_ms

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise ConfigurationError(
                f"time_zone {self.time_zone!r} is not known here: use an IANA name, e.g. Europe/Berlin"
            ) from None

    def _ticks(self, after: datetime) -> CronSim:
        try:
            ticks = CronSim(self.cron, after.astimezone(self._zone()))
        except CronSimError as error:
            raise ConfigurationError(
                f"cron {self.cron!r} is not understood ({error}): five fields, e.g. '0 6 * * *'"
            ) from None
        return ticks


__all__ = ["LEAST_PERIOD_S", "When"]
