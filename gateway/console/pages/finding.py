"""*Find a message*, and the way of one message through the site."""

from __future__ import annotations

from typing import Any, Final

from bus.transport.protocol import NotFound
from gateway.access.protocol import Deed
from gateway.console import words
from gateway.console.desk import Desk
from gateway.console.pages import contents
from gateway.console.sources import Journey, Kind, Step
from gateway.console.views import BAD, FAIR, GOOD, IDLE
from gateway.console.web import Reply, Route, Visit
from gateway.http.exchange import Refused
from gateway.http.problems import Problem
from schemas.errors import MeshError

KINDS: Final = (
    ("any", "any identifier"),
    ("message", "message id"),
    ("control", "control id (MSH-10)"),
    ("patient", "patient identifier"),
    ("order", "order number"),
    ("visit", "visit number"),
)
_LIMIT: Final = 100
_LONGEST: Final = 200
_ID_CHARS: Final = 32
_STEPS: Final = {
    "received": "received by",
    "converted": "converted by",
    "finished": "finished by",
    "delivered": "delivered by",
    "waiting": "waits for",
    "given_up": "given up by",
    "retried": "tried again by",
    "replayed": "ordered again by",
}
_FAIR_STEPS: Final = frozenset({"retried", "interrupted", "filtered", "lossy"})


class Finding:
    """The pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> tuple[Route, ...]:
        """Their addresses. What is looked for comes in a form: identifiers must stand in no address and no log."""
        return (
            Route("GET", "find", "find", self.form),
            Route("POST", "find", "find", self.find),
            Route("GET", "messages/{}", "find", self.message),
            Route("POST", "messages/{}", "unmask", self.unmask),
        )

    async def form(self, visit: Visit) -> Reply:
        """An empty form."""
        return self._show(visit)

    async def find(self, visit: Visit) -> Reply:
        """What was found."""
        text, told = visit.field("text"), visit.field("kind") or "any"
        try:
            kind = Kind(told)
        except ValueError:
            return self._show(visit, problem="Choose what kind of identifier it is.", status=400)
        if not text or len(text) > _LONGEST:
            problem = f"Write an identifier of at most {_LONGEST} characters."
            return self._show(visit, kind=told, problem=problem, status=400)
        desk = self._desk
        await desk.record(
            visit.request, visit.client, Deed.SEARCH, f"console: messages by {kind.value}",
            details={"identifier": text},
        )  # fmt: skip
        try:
            found = await desk.sources.finder.find(kind, text, limit=_LIMIT + 1)
        except MeshError as error:
            desk.runtime.counters.add("console_failed", who="console", reason=error.code)
            problem = f"The index cannot be asked now ({error.code}). Try again in a moment."
            return self._show(visit, kind=told, text=text, problem=problem, status=503)
        return self._show(
            visit, kind=told, text=text, found=list(found[:_LIMIT]), is_more=len(found) > _LIMIT
        )

    def _show(self, visit: Visit, *, status: int = 200, kind: str = "any", **more: object) -> Reply:
        context: dict[str, Any] = {
            "text": "",
            "found": None,
            "is_more": False,
            "problem": "",
            **more,
        }
        return self._desk.page(
            visit, "find", status=status, kinds=KINDS, kind=kind,
            kind_words=dict(KINDS).get(kind, ""), **context,
        )  # fmt: skip

    async def message(self, visit: Visit) -> Reply:
        """The way of one message, and what may be seen of its content."""
        journey = await self._journey(visit)
        content = await contents.masked(self._desk, visit, journey.subject, journey.seq)
        return self._page(visit, journey, content)

    async def unmask(self, visit: Visit) -> Reply:
        """The same with its content readable."""
        journey = await self._journey(visit)
        content = await contents.revealed(self._desk, visit, journey.subject, journey.seq)
        return self._page(visit, journey, content)

    async def _journey(self, visit: Visit) -> Journey:
        text = visit.parts[0]
        try:
            message_id = bytes.fromhex(text) if len(text) == _ID_CHARS else b""
        except ValueError:
            message_id = b""
        if not message_id:
            raise Refused(_no_such("That is no message id: it has 32 hexadecimal digits."))
        try:
            return await self._desk.sources.finder.journey(message_id)
        except NotFound:
            raise Refused(_no_such("No message with that id is kept or remembered.")) from None

    def _page(self, visit: Visit, journey: Journey, content: dict[str, Any]) -> Reply:
        return self._desk.page(
            visit, "message", journey=journey, steps=steps(journey), content=content
        )


def steps(journey: Journey) -> list[dict[str, Any]]:
    """The steps in words, with the time since the first."""
    begun_ms = next((one.at_ms for one in journey.steps if one.at_ms), 0)
    found = []
    for step in journey.steps:
        passed_ms = step.at_ms - begun_ms if step.at_ms else 0
        found.append(
            {
                "mark": _mark(step),
                "what": _STEPS.get(step.what) or words.reason(step.what),
                "who": step.who,
                "words": step.words,
                "at_ms": step.at_ms,
                "after": words.gap(passed_ms) if passed_ms > 0 else "",
                "subject": step.subject,
                "message_id": step.message_id.hex()
                if step.message_id != journey.message_id
                else "",
                "dead_letter": step.dead_letter,
            }
        )
    return found


def _mark(step: Step) -> str:
    if step.is_bad:
        return BAD
    if step.is_pending:
        return IDLE
    return FAIR if step.what in _FAIR_STEPS else GOOD


def _no_such(detail: str) -> Problem:
    return Problem(status=404, code="not_found", detail=detail)


__all__ = ["KINDS", "Finding", "steps"]
