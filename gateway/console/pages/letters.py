"""Dead letters: view one, order a replay of one, of all with one cause, or to one destination; each order once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from bus.events.replays import DeadLetterSummary, UnreadableDeadLetter
from bus.transport.protocol import NotFound
from gateway.access.protocol import Deed
from gateway.console import views, words
from gateway.console.desk import Desk
from gateway.console.orders import Order, Orders, is_number
from gateway.console.pages import contents
from gateway.console.picture import causes
from gateway.console.sources import Letter
from gateway.console.web import ROOT, Reply, Route, Visit, query, redirect
from gateway.http.exchange import Refused
from gateway.http.problems import Problem
from gateway.http.request import bad_request
from schemas import subjects
from schemas.errors import SubjectError

MAX_ORDERED: Final = 500
"""Dead letters of one order: what one form holds, and what an operator can look through."""
_LONGEST_NUMBER: Final = 18
_SHORTEST_REASON: Final = 3
_LONGEST_REASON: Final = 300
_FOLLOWED: Final = 10
_NUMBER_BYTES: Final = 16


class LetterPages:
    """The pages."""

    def __init__(self, desk: Desk, orders: Orders) -> None:
        self._desk = desk
        self._orders = orders

    def routes(self) -> tuple[Route, ...]:
        """Their addresses."""
        return (
            Route("GET", "dead-letters/replay", "replay", self.confirm),
            Route("POST", "dead-letters/replay", "replay", self.order),
            Route("GET", "dead-letters/orders/{}", "replay", self.ordered),
            Route("GET", "dead-letters/{}", "view", self.letter),
            Route("POST", "dead-letters/{}", "unmask", self.unmask),
        )

    # one letter

    async def letter(self, visit: Visit) -> Reply:
        """All that is known of one, and what may be seen of its content."""
        letter = await self._letter(visit)
        more: dict[str, object] = {}
        if "find" in visit.rights and isinstance(letter, DeadLetterSummary):
            more["content"] = await contents.masked(
                self._desk, visit, letter.subject, letter.stream_seq
            )
        if "content" in more:
            return self._desk.page(visit, "letter", letter=_facts(letter), content=more["content"])
        return self._desk.page(visit, "letter", letter=_facts(letter))

    async def unmask(self, visit: Visit) -> Reply:
        """The same with its content readable."""
        letter = await self._letter(visit)
        if not isinstance(letter, DeadLetterSummary):
            raise Refused(_gone())
        content = await contents.revealed(self._desk, visit, letter.subject, letter.stream_seq)
        return self._desk.page(visit, "letter", letter=_facts(letter), content=content)

    async def _letter(self, visit: Visit) -> Letter:
        try:
            return await self._desk.sources.letters.show(_number(visit.parts[0]))
        except NotFound:
            raise Refused(_gone()) from None

    # replay

    async def confirm(self, visit: Visit) -> Reply:
        """What would be sent: a dry run, and the form that orders it."""
        asked = query(visit.request)
        chosen = await self._chosen(asked.get("seq", ()), visit.field("cause"))
        return self._confirm(visit, chosen)

    def _confirm(
        self, visit: Visit, chosen: list[DeadLetterSummary], *, reason: str = "", problem: str = "",
        number: str = "", status: int = 200,
    ) -> Reply:  # fmt: skip
        some = chosen[:MAX_ORDERED]
        destinations = sorted({one.consumer for one in some})
        return self._desk.page(
            visit,
            "replay",
            status=status,
            letters=[views.letter_row(one) for one in some],
            left_out=len(chosen) - len(some),
            destinations=destinations,
            others=self._others(some, destinations),
            form_id=number or secrets.token_urlsafe(_NUMBER_BYTES),
            reason=reason,
            problem=problem,
        )

    def _others(self, chosen: list[DeadLetterSummary], destinations: list[str]) -> list[str]:
        """Who else reads all of these subjects, as far as that is known."""
        wanted = {one.subject for one in chosen}
        return sorted(
            place.name
            for place in self._desk.watch.picture.places
            if [place.name] != destinations
            and (
                not place.subjects
                or all(any(subjects.matches(p, s) for p in place.subjects) for s in wanted)
            )
        )

    async def _chosen(self, told: Sequence[str], cause: str) -> list[DeadLetterSummary]:
        picture = self._desk.watch.picture
        letters: list[Letter] = []
        if cause:
            group = next(
                (one for one in causes(picture.letters.values()) if one.key == cause), None
            )
            letters = list(group.letters) if group is not None else []
        for one in told[:MAX_ORDERED]:
            try:
                letters.append(await self._desk.sources.letters.show(_number(one)))
            except NotFound:
                continue  # the page says that it is gone
        found = {one.seq: one for one in letters if isinstance(one, DeadLetterSummary)}
        return [found[seq] for seq in sorted(found)]

    async def order(self, visit: Visit) -> Reply:
        """Take the order of a form, once, and do it."""
        desk = self._desk
        number, reason, to = visit.field("form"), visit.field("reason"), visit.field("to")
        seqs = tuple(dict.fromkeys(_number(one) for one in visit.form.get("seq", ())))
        if not is_number(number) or not 0 < len(seqs) <= MAX_ORDERED:
            raise Refused(bad_request("form", "That form is not complete: begin again."))
        if to:
            _destination(to)
        if not _SHORTEST_REASON <= len(reason) <= _LONGEST_REASON:
            chosen = await self._chosen([str(seq) for seq in seqs], "")
            problem = f"Say why, in {_SHORTEST_REASON} to {_LONGEST_REASON} characters."
            return self._confirm(
                visit, chosen, reason=reason, problem=problem, number=number, status=400
            )
        there = redirect(f"{ROOT}/dead-letters/orders/{number}")
        order = Order(
            at_ms=desk.runtime.clock.now_ms(), by=visit.client.name, to=to, asked=len(seqs)
        )
        messages = await self._messages(seqs)
        await desk.record(
            visit.request, visit.client, Deed.REPLAY, f"console: {len(seqs)} dead letters",
            details={"reason": reason, "to": to, "numbers": " ".join(map(str, seqs))},
        )  # fmt: skip
        if not await self._orders.begin(number, order):
            desk.runtime.counters.add("console_order_repeated", who="console")
            return there
        done = await desk.sources.letters.replay(
            seqs, reason=f"{visit.client.name}: {reason}", to=to
        )
        sent = tuple(messages[seq] for seq in done.ordered if messages.get(seq))
        await self._orders.end(number, order.ended(done, sent[:_FOLLOWED]))
        return there

    async def _messages(self, seqs: tuple[int, ...]) -> dict[int, str]:
        """Ids of the first few, to follow them."""
        found = {}
        for seq in seqs[:_FOLLOWED]:
            try:
                letter = await self._desk.sources.letters.show(seq)
            except NotFound:
                continue
            found[seq] = letter.message_id.hex() if isinstance(letter, DeadLetterSummary) else ""
        return found

    async def ordered(self, visit: Visit) -> Reply:
        """What came of an order."""
        order = await self._orders.read(visit.parts[0])
        if order is None:
            detail = "There is no such order, or it is older than a day."
            raise Refused(Problem(status=404, code="not_found", detail=detail))
        return self._desk.page(visit, "ordered", order=order)


def _facts(letter: Letter) -> dict[str, Any]:
    row = dict(views.letter_row(letter)) | {"reason_words": words.reason(letter.reason)}
    if isinstance(letter, UnreadableDeadLetter):
        return row
    return row | {
        "first_ms": letter.first_attempt_ms,
        "reported_by": letter.reported_by,
        "stored_ms": letter.stored_ms,
        "size": words.size(letter.envelope_bytes),
        "stack": letter.stack,
    }


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER or not int(text):
        raise Refused(_gone())
    return int(text)


def _destination(name: str) -> None:
    try:
        subjects.token(name, what="consumer")
    except SubjectError:
        raise Refused(bad_request("to", "That is no destination.")) from None


def _gone() -> Problem:
    detail = "There is no such dead letter (any more): it was replayed or deleted."
    return Problem(status=404, code="not_found", detail=detail)


__all__ = ["MAX_ORDERED", "LetterPages"]
