"""Documents that come as text: the lines of a field, or of several OBX, as the bytes of an attachment."""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from adapters.hl7v2.codec.message import Component
from adapters.hl7v2.mapping.frames import Frame, View, leaf, spot
from adapters.hl7v2.mapping.protocol import Json
from schemas.errors import MeshError

_TYPE: Final = 2
_CODE: Final = 3
_TEXTS: Final = ("TX", "FT")
CONTENT_TYPE: Final = "text/plain; charset=utf-8"


def text_attachment(frame: Frame) -> Json:
    """The text of a field as an attachment: its repetitions are lines, its bytes UTF-8 whatever the message's are.

    Of an OBX-5 the text goes on in the OBX of texts that follow with the same OBX-3: they are lines of one text, and
    give none of their own.
    """
    views = list(_run(frame)) if frame.view.name == "OBX" else [frame.view]
    shown = [line for view in views for line in _lines(view, frame.field)]
    text = "\n".join(shown).strip("\r\n")
    if not text:
        return None
    return {
        "contentType": CONTENT_TYPE,
        "data": base64.b64encode(text.encode("utf-8", "replace")).decode("ascii"),
    }


def _run(frame: Frame) -> Iterator[View]:
    """The OBX whose lines are one text with this one; nothing when an earlier one has them all."""
    env, view = frame.env, frame.view
    views, positions = env.views["OBX"], env.positions["OBX"]
    at = bisect_right(positions, view.position) - 1
    if at and _continues(frame, views[at - 1], view):
        return
    yield view
    for following in views[at + 1 :]:
        if not _continues(frame, view, following):
            return
        yield following
        view = following


def _continues(frame: Frame, before: View, after: View) -> bool:
    """Whether an OBX goes on with the text of the one before it."""
    return (
        _first(before, _TYPE) in _TEXTS
        and _first(after, _TYPE) in _TEXTS
        and before.repetitions(_CODE) == after.repetitions(_CODE)
        and not _has_between(frame.env.positions.get("TXA", []), before, after)
    )


def _has_between(positions: list[int], before: View, after: View) -> bool:
    at = bisect_right(positions, before.position)
    return at < len(positions) and positions[at] < after.position


def _first(view: View, field: int) -> str:
    found = view.repetitions(field)
    return leaf(found[0], 1, 1) if found else ""


def _lines(view: View, field: int) -> Iterator[str]:
    """A line for each repetition, an empty one too; spaces at its start are kept."""
    try:
        every = view.env.message.parts(view.segment, field)
    except MeshError:
        every = view.repetitions(field)
    separator = view.env.message.delimiters.component.decode("ascii")
    for number, parts in enumerate(every or [[""]], 1):
        for component, part in enumerate(parts, 1):
            for subcomponent in range(1, 2 if isinstance(part, str) else len(part) + 1):
                view.read.add(spot(field, number, component, subcomponent))
        text = separator.join(map(_written, parts))
        yield "" if text == '""' else text.rstrip()


def _written(part: Component) -> str:
    return part if isinstance(part, str) else "&".join(part)


__all__ = ["CONTENT_TYPE", "text_attachment"]
