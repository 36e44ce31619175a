"""Whether an instance that is listed may be asked: late heartbeats, or heartbeats without answers. Pure."""

from __future__ import annotations

from typing import Final

from bus.services.discovery.settings import DiscoverySettings
from bus.services.protocol import Load
from bus.telemetry.phi import PhiDetector

LATE: Final = "heartbeat_late"
WEDGED: Final = "wedged"


class Suspicion:
    """What is thought of one instance, from its heartbeats and its answers."""

    __slots__ = (
        "_begins",
        "_detector",
        "_settings",
        "_wedged",
        "answered",
        "due_s",
        "still_since_s",
    )

    def __init__(self, settings: DiscoverySettings, *, now_s: float) -> None:
        self._settings = settings
        self._detector = PhiDetector(settings.rhythm, now_s=now_s)
        self._begins = True
        """The next heartbeat ends an interval that did not begin with one."""
        self._wedged = False
        self.answered = -1
        """Its count of answers, as last told."""
        self.still_since_s = now_s
        """Since when it has answered nothing, or had nothing to do."""
        self.due_s = self._detector.due_s(settings.phi)
        """When its silence becomes suspect."""

    def beat(self, load: Load, now_s: float) -> None:
        """A heartbeat came."""
        if self._begins or now_s > self.due_s:
            self._detector.resume(now_s)  # a suspect pause is not learnt: the next is no less so
            self._begins = False
        else:
            self._detector.arrived(now_s)
        self.due_s = self._detector.due_s(self._settings.phi)
        self._judge(load, now_s)

    def resume(self, now_s: float, *, patience_s: float = 0.0) -> None:
        """Begin to wait anew: the silence so far was ours, and it may last for `patience_s` more.

        One that is wedged stays so: its next heartbeat tells whether it has answered meanwhile.
        """
        self._detector.resume(now_s)
        self._begins = True
        self.due_s = self._detector.due_s(self._settings.phi) + patience_s

    def answered_now(self, load: Load, now_s: float) -> None:
        """A response came: it answers."""
        self.answered = max(self.answered, load.answered)
        self.still_since_s = now_s
        self._wedged = False

    def verdict(self, now_s: float) -> str:
        """Why it is suspect now; empty when it is not."""
        if self._wedged:
            return WEDGED
        return LATE if now_s > self.due_s else ""

    def _judge(self, load: Load, now_s: float) -> None:
        if load.answered != self.answered or not load.in_flight:
            self.answered = load.answered
            self.still_since_s = now_s
        bound_s = self._settings.wedged_after_s
        self._wedged = now_s - self.still_since_s >= bound_s and load.oldest_s >= bound_s


__all__ = ["LATE", "WEDGED", "Suspicion"]
