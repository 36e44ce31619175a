"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) over JSON whose numbers keep their text. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

from adapters.fhir.store.checking import parse_object
from adapters.fhir.store.refusals import Refusal, invalid
from schemas.fhir.errors import MalformedFhir
from schemas.fhir.text import Json, Number, parse, write

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
MAX_OPERATIONS: Final = 1000
_INDEX: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_TILDE: Final = re.compile(r"~(?![01])")
_MAX_BYTES: Final = 64 << 20

_Holder: TypeAlias = "dict[str, Json] | list[Json]"


def patched(body: bytes, patch: bytes, kind: str) -> bytes:
    """The resource after a patch; `kind` is its media type. Raises `Refusal`: 400 unreadable, 422 does not fit."""
    document = _read(body)
    if kind == MERGE_PATCH:
        parse_object(patch)
        result = _merged(document, _read(patch))
    elif kind == JSON_PATCH:
        result = _walked(document, _operations(patch))
    else:
        raise Refusal(415, "not-supported", f"a patch is {JSON_PATCH} or {MERGE_PATCH}")
    if not isinstance(result, dict):
        raise _does_not_fit("the patch leaves no resource")
    written = write(result)
    if len(written) > _MAX_BYTES:
        raise Refusal(413, "too-long", "the patched resource is too large")
    return written


def _read(text: bytes) -> Json:
    try:
        return parse(text)
    except MalformedFhir as error:
        raise invalid(f"the patch is not JSON: {error}", code="structure") from None


def _merged(target: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    base: dict[str, Json] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            base.pop(name, None)
        else:
            base[name] = _merged(base.get(name), value)
    return base


def _operations(patch: bytes) -> list[dict[str, Json]]:
    found = _read(patch)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid("a JSON Patch is a list of operations", code="structure")
    if len(found) > MAX_OPERATIONS:
        raise Refusal(413, "too-costly", f"a patch has at most {MAX_OPERATIONS} operations")
    return cast("list[dict[str, Json]]", found)


def _walked(document: Json, operations: list[dict[str, Json]]) -> Json:
    for place, operation in enumerate(operations):
        run = _RUN.get(str(operation.get("op")))
        if run is None:
            raise invalid(f"operation {place}: op is one of {', '.join(_RUN)}", code="value")
        try:
            document = run(document, operation)
        except _Misfit as error:
            raise _does_not_fit(f"operation {place}: {error}") from None
    return document


class _Misfit(LookupError):
    """The document has no such place, or another value there."""


def _does_not_fit(text: str) -> Refusal:
    return Refusal(422, "processing", text)


def _pointer(operation: Mapping[str, Json], name: str = "path") -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")) or _TILDE.search(text):
        raise invalid(f"{name} is a JSON pointer (RFC 6901)", code="value")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _value(operation: Mapping[str, Json]) -> Json:
    if "value" not in operation:
        raise invalid("the operation has no value", code="required")
    return copy.deepcopy(operation["value"])


def _index(part: str, holder: list[Json], *, beyond: bool = False) -> int:
    if beyond and part == "-":
        return len(holder)
    if not _INDEX.match(part) or int(part) >= len(holder) + beyond:
        raise _Misfit("there is no such place in the list")
    return int(part)


def _inside(value: Json, part: str) -> Json:
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list):
        return value[_index(part, value)]
    raise _Misfit("there is no such place")


def _at(document: Json, path: list[str]) -> Json:
    for part in path:
        document = _inside(document, part)
    return document


def _holder(document: Json, path: list[str]) -> _Holder:
    found = _at(document, path[:-1])
    if not isinstance(found, dict | list):
        raise _Misfit("there is no such place")
    return found


def _put(document: Json, path: list[str], value: Json) -> Json:
    if not path:
        return value
    holder = _holder(document, path)
    if isinstance(holder, dict):
        holder[path[-1]] = value
    else:
        holder.insert(_index(path[-1], holder, beyond=True), value)
    return document


def _take(document: Json, path: list[str]) -> tuple[Json, Json]:
    if not path:
        raise _Misfit("the whole resource cannot be removed")
    holder = _holder(document, path)
    taken = _inside(holder, path[-1])
    if isinstance(holder, dict):
        del holder[path[-1]]
    else:
        del holder[int(path[-1])]
    return document, taken


def _add(document: Json, operation: dict[str, Json]) -> Json:
    return _put(document, _pointer(operation), _value(operation))


def _remove(document: Json, operation: dict[str, Json]) -> Json:
    return _take(document, _pointer(operation))[0]


def _replace(document: Json, operation: dict[str, Json]) -> Json:
    path = _pointer(operation)
    if not path:
        return _value(operation)
    holder = _holder(document, path)
    _inside(holder, path[-1])
    if isinstance(holder, dict):
        holder[path[-1]] = _value(operation)
    else:
        holder[int(path[-1])] = _value(operation)
    return document


def _move(document: Json, operation: dict[str, Json]) -> Json:
    source, target = _pointer(operation, "from"), _pointer(operation)
    if target[: len(source)] == source and target != source:
        raise _Misfit("a value cannot move into itself")
    document, taken = _take(document, source)
    return _put(document, target, taken)


def _copy(document: Json, operation: dict[str, Json]) -> Json:
    return _put(
        document, _pointer(operation), copy.deepcopy(_at(document, _pointer(operation, "from")))
    )


def _test(document: Json, operation: dict[str, Json]) -> Json:
    if not _same(_at(document, _pointer(operation)), _value(operation)):
        raise _Misfit("the value is another one")
    return document


def _same(one: Json, other: Json) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Number | int) and isinstance(other, Number | int):
        return float(one) == float(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


_RUN: Final[Mapping[str, Callable[[Json, dict[str, Json]], Json]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}

__all__ = ["JSON_PATCH", "MERGE_PATCH", "patched"]
