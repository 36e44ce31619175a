"""What a message holds, on the pages that show one: masked, or unmasked for a reason that is written down first."""

from __future__ import annotations

from typing import Any, Final

from bus.transport.protocol import NotFound
from gateway.access.protocol import Deed
from gateway.console.desk import Desk
from gateway.console.masking import Masked
from gateway.console.sources import ContentClosed
from gateway.console.web import Visit

_SHORTEST_REASON: Final = 8
_LONGEST_REASON: Final = 300


async def masked(
    desk: Desk, visit: Visit, subject: str, seq: int, *, problem: str = ""
) -> dict[str, Any]:
    """The content as everybody may see it who may find messages. Raises `Refused`, `MeshError`."""
    await desk.record(
        visit.request,
        visit.client,
        Deed.READ,
        f"console: {subject} {seq}",
        details={"masked": "yes"},
    )
    try:
        shown = await desk.sources.contents.masked(subject, seq)
    except ContentClosed as error:
        return _closed(str(error))
    except NotFound:
        return _closed("It is not kept any more.")
    return _open(visit, shown, is_revealed=False, problem=problem)


async def revealed(desk: Desk, visit: Visit, subject: str, seq: int) -> dict[str, Any]:
    """All of it, if the form gives a reason. Raises `Refused` where that cannot be written down, `MeshError`."""
    reason = visit.field("reason")
    if not _SHORTEST_REASON <= len(reason) <= _LONGEST_REASON:
        problem = f"Say why, in {_SHORTEST_REASON} to {_LONGEST_REASON} characters."
        return await masked(desk, visit, subject, seq, problem=problem)
    await desk.record(
        visit.request,
        visit.client,
        Deed.UNMASK,
        f"console: {subject} {seq}",
        details={"reason": reason},
    )
    try:
        shown = await desk.sources.contents.revealed(subject, seq)
    except ContentClosed as error:
        return _closed(str(error))
    except NotFound:
        return _closed("It is not kept any more.")
    desk.runtime.counters.add("content_unmasked", who=visit.client.name)
    return _open(visit, shown, is_revealed=True)


def _closed(words: str) -> dict[str, Any]:
    return {"closed": words}


def _open(visit: Visit, shown: Masked, *, is_revealed: bool, problem: str = "") -> dict[str, Any]:
    return {
        "closed": "",
        "masked": shown,
        "is_revealed": is_revealed,
        "action": visit.request.path,
        "problem": problem,
    }


__all__ = ["masked", "revealed"]
