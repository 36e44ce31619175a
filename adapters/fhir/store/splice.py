"""Sets id, meta.versionId and meta.lastUpdated in a resource's JSON text; every other byte stays as it came. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from adapters.fhir.store.refusals import invalid

_KEY: Final = re.compile(rb'[\s,{]*"((?:[^"\\]|\\.)*)"\s*:\s*')
_KEYS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Span(NamedTuple):
    """Where a value stands."""

    start: int
    end: int


class _Edit(NamedTuple):
    start: int
    end: int
    text: bytes


def stamped(body: bytes, *, id: str, version: int, last_updated: str) -> bytes:
    """The resource as it is stored. `body` is a JSON object without duplicate keys. Raises `Refusal`."""
    spans = _spans(body)
    edits: list[_Edit] = []
    if "id" in spans:
        edits.append(_Edit(*spans["id"], _quoted(id)))
    stamp = {"versionId": _quoted(str(version)), "lastUpdated": _quoted(last_updated)}
    if "meta" in spans:
        edits += _meta_edits(body, spans["meta"], stamp)
    missing = b"" if "id" in spans else b',"id":' + _quoted(id)
    if "meta" not in spans:
        missing += b',"meta":' + _object(stamp)
    if missing:
        after = spans["id" if "id" in spans else "resourceType"].end
        edits.append(_Edit(after, after, missing))
    return _edited(body, edits)


def _meta_edits(body: bytes, span: _Span, stamp: dict[str, bytes]) -> list[_Edit]:
    if body[span.start : span.start + 1] != b"{":
        raise invalid("meta is no object", expression="meta", code="structure")
    inner = _spans(body[span.start : span.end], span.start)
    found = [_Edit(*inner[name], value) for name, value in stamp.items() if name in inner]
    absent = [_quoted(name) + b":" + value for name, value in stamp.items() if name not in inner]
    if absent:
        start = span.start + 1
        found.append(_Edit(start, start, b",".join(absent) + (b"," if inner else b"")))
    return found


def _spans(text: bytes, offset: int = 0) -> dict[str, _Span]:
    """Where each value of the object `text` stands, in a text that holds it at `offset`."""
    found: dict[str, _Span] = {}
    place = text.index(b"{") + 1
    for name, value in _KEYS.decode(text).items():
        match = _KEY.match(text, place)
        if match is None:
            raise invalid("an object has a key twice", code="structure")
        place = match.end() + len(bytes(value))
        found[name] = _Span(offset + match.end(), offset + place)
    return found


def _edited(body: bytes, edits: list[_Edit]) -> bytes:
    parts: list[bytes] = []
    place = 0
    for edit in sorted(edits):
        parts += (body[place : edit.start], edit.text)
        place = edit.end
    return b"".join((*parts, body[place:]))


def _quoted(text: str) -> bytes:
    return b'"' + text.encode() + b'"'


def _object(values: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(_quoted(name) + b":" + value for name, value in values.items()) + b"}"


__all__ = ["stamped"]
