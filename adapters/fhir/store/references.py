"""References in a resource's JSON text: found and replaced where they stand, every other byte untouched. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import orjson

_REFERENCE: Final = re.compile(rb'"reference"(\s*:\s*)("(?:[^"\\]|\\.)*")')
"""Never matches inside of a string: a quote there stands behind a backslash."""


def references_in(body: bytes) -> Iterator[str]:
    """The text of each `reference` in a JSON text, whatever holds it."""
    for match in _REFERENCE.finditer(body):
        yield orjson.loads(match[2])


def replaced(body: bytes, member: Callable[[str], bytes | None]) -> bytes:
    """With other members in the place of `"reference": "…"`; None leaves one as it is."""

    def swap(match: re.Match[bytes]) -> bytes:
        found = member(orjson.loads(match[2]))
        return match[0] if found is None else found

    return _REFERENCE.sub(swap, body)


def reference_member(text: str) -> bytes:
    """`"reference":"Patient/1"`."""
    return b'"reference":' + orjson.dumps(text)


def identifier_member(system: str, value: str) -> bytes:
    """`"identifier":{…}`: a logical reference, where nothing literal is known."""
    made = {"system": system, "value": value} if system else {"value": value}
    return b'"identifier":' + orjson.dumps(made)


__all__ = ["identifier_member", "reference_member", "references_in", "replaced"]
