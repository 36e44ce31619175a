"""Pages that follow the mesh: *Now*, *Subjects*, *Services*, *Consumers*, and the list of dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.console import views, words
from gateway.console.desk import Desk
from gateway.console.web import Reply, Route, Visit
from gateway.http.exchange import Refused
from gateway.http.problems import Problem

REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "now": ("tiles", "alerts", "chart", "flows", "adapters"),
    "subjects": ("tree",),
    "services": ("services",),
    "consumers": ("places",),
    "dead-letters": ("letters",),
}
"""What of each page changes by itself, beside the line on top."""
COMMON: Final = ("status", "badge")
_MAX_FILTER: Final = 128


class Looking:
    """Contexts of the pages that follow the mesh."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._contexts: Mapping[str, Callable[[], dict[str, Any]]] = {
            "now": self._now,
            "subjects": self._subjects,
            "services": self._services,
            "consumers": self._consumers,
            "dead-letters": self._letters,
        }

    def routes(self) -> tuple[Route, ...]:
        """Their addresses."""
        return (
            Route("GET", "", "view", self._page("now", "now")),
            Route("GET", "subjects", "view", self.subjects),
            Route("GET", "services", "view", self._page("services", "services")),
            Route("GET", "consumers", "view", self._page("consumers", "consumers")),
            Route("GET", "dead-letters", "view", self._page("dead-letters", "dead_letters")),
        )

    def context(self, live: str) -> dict[str, Any]:
        """What the regions of a page show now."""
        return self._contexts[live]()

    def _page(self, live: str, template: str) -> Callable[[Visit], Any]:
        async def show(visit: Visit) -> Reply:
            return self._desk.page(visit, template, live=live, **self.context(live))

        return show

    async def subjects(self, visit: Visit) -> Reply:
        """The tree; with `filter` only what contains it, for browsers without scripts."""
        wanted = visit.field("filter")
        if len(wanted) > _MAX_FILTER:
            raise Refused(Problem(status=400, code="filter", detail="The filter is too long."))
        shown = views.subjects(self._desk.watch.picture, wanted=wanted)
        return self._desk.page(visit, "subjects", live="subjects", subjects=shown)

    def _now(self) -> dict[str, Any]:
        desk, picture = self._desk, self._desk.watch.picture
        refresh_s = desk.own.refresh_s
        span_s = max(1, len(picture.stored.rates)) * refresh_s
        shown = views.now(picture, now_ms=self._now_ms(), refresh_s=refresh_s)
        return {"now": shown, "span": words.duration(span_s)}

    def _subjects(self) -> dict[str, Any]:
        return {"subjects": views.subjects(self._desk.watch.picture)}

    def _services(self) -> dict[str, Any]:
        now_s = self._desk.runtime.clock.monotonic_s()
        return {"services": views.services(self._desk.watch.picture, now_s=now_s)}

    def _consumers(self) -> dict[str, Any]:
        shown = views.consumers(
            self._desk.watch.picture,
            now_ms=self._now_ms(),
            stalled_after_s=self._desk.own.stalled_after_s,
        )
        return {"consumers": shown}

    def _letters(self) -> dict[str, Any]:
        return {"letters": views.dead_letters(self._desk.watch.picture, now_ms=self._now_ms())}

    def _now_ms(self) -> int:
        return self._desk.runtime.clock.now_ms()


__all__ = ["COMMON", "REGIONS", "Looking"]
