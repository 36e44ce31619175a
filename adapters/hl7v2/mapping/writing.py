"""Resources to JSON bytes, decimals as they were written."""

from __future__ import annotations

import orjson

from adapters.hl7v2.mapping.numbers import DecimalText
from adapters.hl7v2.mapping.protocol import Json


def _other(value: object) -> object:
    if isinstance(value, DecimalText):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} is no JSON")


def to_json(value: Json, *, indent: bool = False, sort: bool = False) -> bytes:
    """JSON in UTF-8. Use it instead of another writer, which would write `1.10` as `1.1`."""
    options = (orjson.OPT_INDENT_2 if indent else 0) | (orjson.OPT_SORT_KEYS if sort else 0)
    return orjson.dumps(value, default=_other, option=options)


__all__ = ["to_json"]
