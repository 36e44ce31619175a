"""Documents that come as text: the lines of a field, or of a document's OBX, as the bytes of an attachment."""

from __future__ import annotations

import base64
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from adapters.hl7v2.mapping.frames import Frame, Parts, View, leaf, spot
from adapters.hl7v2.mapping.protocol import Json
from schemas.errors import MeshError

_TYPE: Final = 2
_CODE: Final = 3
_VALUE: Final = 5
_TEXTS: Final = ("TX", "FT")
CONTENT_TYPE: Final = "text/plain; charset=utf-8"
"""What the message's text becomes: its formatting is resolved, its bytes are UTF-8 whatever the message's were."""


def text_attachment(frame: Frame) -> Json:
    """The text of a field as an attachment: its repetitions are lines."""
    return _attachment(_lines(frame.view, frame.field))


def document_text(frame: Frame) -> Json:
    """The text that follows a TXA in OBX of type TX and FT, as one attachment.

    Each OBX-5, and each repetition of it, is a line. Where the OBX have different OBX-3 each change of it is a section,
    with the name of OBX-3 as its heading.
    """
    views = list(_texts(frame))
    names = [view.repetitions(_CODE) for view in views]
    has_sections = any(name != names[0] for name in names)
    shown: list[str] = []
    for at, view in enumerate(views):
        if has_sections and (at == 0 or names[at] != names[at - 1]):
            shown += [*([""] if at else []), *_heading(view)]
        shown += _lines(view, _VALUE)
    return _attachment(shown)


def _attachment(lines: list[str]) -> Json:
    text = "\n".join(lines).strip("\r\n")
    if not text:
        return None
    data = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return {"contentType": CONTENT_TYPE, "data": data}


def _texts(frame: Frame) -> Iterator[View]:
    """The OBX of texts that are the resource's: in the group of its TXA, or between it and the next one."""
    env, anchor = frame.env, frame.entry.anchor
    positions = env.positions.get("OBX", [])
    documents = env.positions.get("TXA", [])
    following = bisect_right(documents, anchor.position)
    end = documents[following] if following < len(documents) else anchor.scope.last + 1
    start = anchor.position if anchor.scope.parent is None else anchor.scope.first
    for at in range(bisect_left(positions, start), len(positions)):
        if positions[at] >= end:
            return
        view = env.views["OBX"][at]
        if _first(view, _TYPE) in _TEXTS:
            yield view


def _heading(view: View) -> Iterator[str]:
    found = view.repetitions(_CODE)
    for component in (2, 1):
        if found and (text := leaf(found[0], component, 1)):
            view.read.add(spot(_CODE, 1, component))
            yield text
            return


def _first(view: View, field: int) -> str:
    found = view.repetitions(field)
    return leaf(found[0], 1, 1) if found else ""


def _lines(view: View, field: int) -> list[str]:
    """A line for each repetition, an empty one too; spaces at its start are kept. Texts have no components."""
    try:
        every: list[Parts] = view.env.message.parts(view.segment, field)
    except MeshError:
        every = view.repetitions(field)
    every = every or [[""]]
    marks = view.env.message.delimiters
    separators = marks.component.decode("ascii"), marks.subcomponent.decode("ascii")
    found = []
    for number, parts in enumerate(every, 1):
        for component, part in enumerate(parts, 1):
            for subcomponent in range(1, 2 if isinstance(part, str) else len(part) + 1):
                view.read.add(spot(field, number, component, subcomponent))
        text = _joined(parts, *separators)
        found.append("" if text == '""' else text.rstrip())
    return found


def _joined(parts: Parts, outer: str, inner: str) -> str:
    return outer.join(part if isinstance(part, str) else inner.join(part) for part in parts)


__all__ = ["CONTENT_TYPE", "document_text", "text_attachment"]
