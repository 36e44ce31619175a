"""FHIR's JSON as text: numbers keep theirs, and what is no JSON is refused."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from typing import Final, TypeAlias

import msgspec
import orjson

from schemas.fhir.errors import MalformedFhir

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"
"""A parsed document. Numbers with a fraction or an exponent are `Number`, a `str` with their text."""


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NEGATIVE_ZERO: Final = re.compile(rb"-0\s*[,}\]]")
_INT64: Final = range(-(2**63), 2**63)

_any: Final = msgspec.json.Decoder(float_hook=Number)


def parse(raw: bytes) -> Json:
    """A JSON text with its numbers' text kept. Raises `MalformedFhir`, whose message holds no content."""
    try:
        parsed: Json = _any.decode(raw)
    except RecursionError:
        raise MalformedFhir("the JSON is nested deeper than about 1000 levels") from None
    except UnicodeDecodeError as error:
        raise MalformedFhir(f"the JSON is not UTF-8 (byte {error.start} of a string)") from None
    except msgspec.DecodeError as error:
        if raw.startswith(BOM_UTF8):
            raise MalformedFhir(
                "the JSON begins with a byte order mark, which JSON lacks"
            ) from None
        raise MalformedFhir(str(error)) from None
    return parsed


def parse_object(raw: bytes) -> dict[str, Json]:
    """`parse`, for what must be an object."""
    parsed = parse(raw)
    if not isinstance(parsed, dict):
        raise MalformedFhir("the JSON is no object, and a FHIR resource is one")
    return parsed


def write(value: Json) -> bytes:
    """JSON with the text of its numbers. Raises `RecursionError` beyond the depth that orjson writes."""
    try:
        return orjson.dumps(_writable(value))
    except orjson.JSONEncodeError as error:
        raise RecursionError(str(error)) from None


def _writable(value: Json) -> object:
    if isinstance(value, dict):
        return {key: _writable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each) for each in value]
    if isinstance(value, Number) or (type(value) is int and value not in _INT64):
        return orjson.Fragment(str(value))
    return value


def may_hold_negative_zero(raw: bytes) -> bool:
    """Whether the integer -0, which parses as 0, may occur; true for some strings that look like it, too."""
    return _NEGATIVE_ZERO.search(raw) is not None


def canonical(raw: bytes) -> object:
    """What two texts of the same JSON have in common: all but white space, escapes and the order of keys.

    Numbers count by their text. Raises `ValueError` when an object has a key twice.
    """

    def number(text: str) -> tuple[str, str]:
        return "number", text

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("an object has a key twice")
        return found

    return json.loads(raw, parse_float=number, parse_int=number, object_pairs_hook=once)


__all__ = [
    "NUMBER",
    "Json",
    "Number",
    "canonical",
    "may_hold_negative_zero",
    "parse",
    "parse_object",
    "write",
]
