"""What a resource is found by: rows for the index tables. Pure.

Tokens hold codes, identifiers, references (system: the type) and URIs. A code without a system of its own (`status`)
has the system `*`: its value set implies one, so it fits every system that is asked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, NamedTuple

from adapters.fhir.store.times import EARLIEST, LATEST, Span, span_of
from schemas.fhir.searching import Kind, Parameter, Parameters, key_of
from schemas.fhirpath import PathFailed

IMPLIED: Final = "*"
BY_IDENTIFIER: Final = ":identifier"
"""Added to a reference parameter's name in the key under which its logical references are kept."""
MAX_ROWS: Final = 4000
"""Rows of one resource; further values are not found by."""
_MAX_TOKEN: Final = 240
_MAX_TEXT: Final = 200
_REFERENCE: Final = re.compile(
    r"(?:(?P<base>https?://[^?#]+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?\Z"
)
_NAME_PARTS: Final = ("text", "family", "given", "prefix", "suffix")
_ADDRESS_PARTS: Final = ("text", "line", "city", "district", "state", "postalCode", "country")


class Token(NamedTuple):
    """A row of `fhir_token`."""

    key: int
    system: str
    code: str


class Text(NamedTuple):
    """A row of `fhir_string`."""

    key: int
    folded: str
    exact: str


class Range(NamedTuple):
    """A row of `fhir_range`: a number, a quantity, or milliseconds."""

    key: int
    low: float
    high: float
    system: str
    code: str


@dataclass(slots=True)
class Rows:
    """Each row once, in the order found."""

    tokens: dict[Token, None] = field(default_factory=dict)
    texts: dict[Text, None] = field(default_factory=dict)
    ranges: dict[Range, None] = field(default_factory=dict)
    is_cut: bool = False
    """Whether `MAX_ROWS` left something out, or a path could not be evaluated."""

    def _is_full(self) -> bool:
        if len(self.tokens) + len(self.texts) + len(self.ranges) < MAX_ROWS:
            return False
        self.is_cut = True
        return True

    def token(self, key: int, system: str, code: str) -> None:
        """Add one; empty codes are none."""
        if code and not self._is_full():
            self.tokens[Token(key, short(system), short(code))] = None

    def text(self, key: int, value: str) -> None:
        """Add one."""
        shown = folded(value)
        if shown and not self._is_full():
            self.texts[Text(key, shown, short(value))] = None

    def range(self, key: int, low: float, high: float, system: str = "", code: str = "") -> None:
        """Add one."""
        if not self._is_full():
            self.ranges[Range(key, low, high, short(system), short(code))] = None


def folded(text: str) -> str:
    """Lower case, without accents and double blanks, cut to what the index holds."""
    flat = unicodedata.normalize("NFKD", text.replace("\0", " "))
    bare = "".join(one for one in flat if not unicodedata.combining(one))
    return " ".join(bare.casefold().split())[:_MAX_TEXT]


def short(text: str) -> str:
    """A text that fits an index: a longer one ends with its hash."""
    text = text.replace("\0", " ")
    if len(text) <= _MAX_TOKEN:
        return text
    return f"{text[: _MAX_TOKEN - 64]}{sha256(text.encode()).hexdigest()}"


def local_reference(text: str, base: str = "") -> tuple[str, str]:
    """Type and id of a reference to a resource here; ("", the text) for any other."""
    match = _REFERENCE.match(text)
    if match is None or (match["base"] and match["base"] != base):
        return "", text
    return match["type"], match["id"]


def extract(resource: dict[str, Any], parameters: Parameters, *, base: str = "") -> Rows:
    """All rows of a resource. `base`: our own address, by which absolute references to us are told from others."""
    rows = Rows()
    for parameter in parameters.fitting(str(resource.get("resourceType")), tuple(resource)):
        add = _ADD.get(parameter.kind)
        if add is None or parameter.code in _OF_THE_ROW:
            continue
        try:
            found = parameter.path(resource)
        except PathFailed:
            rows.is_cut = True
            continue
        for value in found:
            add(rows, parameter, value, base)
    return rows


_OF_THE_ROW: Final = frozenset({"_id", "_lastUpdated"})
"""What is asked of the resource's own row."""


def _add_token(rows: Rows, parameter: Parameter, value: object, _base: str) -> None:
    for system, code in tokens_of(value):
        rows.token(parameter.key, system, code)


def tokens_of(value: object) -> Iterator[tuple[str, str]]:
    """Systems and codes of a coding, concept, identifier, contact or simple value."""
    if isinstance(value, bool):
        yield IMPLIED, "true" if value else "false"
    elif isinstance(value, str):
        yield IMPLIED, value
    elif isinstance(value, dict):
        yield from _tokens_of_object(value)


def _tokens_of_object(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "coding" in value:
        for coding in _listed(value["coding"]):
            yield from tokens_of(coding)
    elif "concept" in value:
        yield from tokens_of(value["concept"])
    elif "value" in value or "code" in value:
        found = value.get("code") if "code" in value else value.get("value")
        if isinstance(found, str):
            yield _text(value.get("system")), found


def _add_text(rows: Rows, parameter: Parameter, value: object, _base: str) -> None:
    for text in texts_of(value):
        rows.text(parameter.key, text)


def texts_of(value: object) -> Iterator[str]:
    """The texts of a name, an address, or a simple value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        names = _NAME_PARTS if not (value.keys() & set(_ADDRESS_PARTS[1:])) else _ADDRESS_PARTS
        for name in names:
            yield from (part for part in _listed(value.get(name)) if isinstance(part, str))


def _add_date(rows: Rows, parameter: Parameter, value: object, _base: str) -> None:
    for span in spans_of(value):
        rows.range(parameter.key, span.low, span.high)


def spans_of(value: object) -> Iterator[Span]:
    """The spans of a date, a Period or a Timing."""
    if isinstance(value, str):
        span = span_of(value)
        if span is not None:
            yield span
    elif isinstance(value, dict):
        if "event" in value or "repeat" in value:
            for event in _listed(value.get("event")):
                yield from spans_of(event)
            repeat = value.get("repeat")
            if isinstance(repeat, dict) and "boundsPeriod" in repeat:
                yield from spans_of(repeat["boundsPeriod"])
        elif value.keys() & {"start", "end"}:
            start, end = span_of(_text(value.get("start"))), span_of(_text(value.get("end")))
            yield Span(start.low if start else EARLIEST, end.high if end else LATEST)


def _add_reference(rows: Rows, parameter: Parameter, value: object, base: str) -> None:
    if isinstance(value, dict) and isinstance(value.get("reference"), dict):
        value = value["reference"]  # R5's CodeableReference
    if isinstance(value, str):
        rows.token(parameter.key, *local_reference(value, base))
        return
    if not isinstance(value, dict):
        return
    reference = _text(value.get("reference"))
    kind, identity = local_reference(reference, base)
    named = kind or _text(value.get("type"))
    if parameter.targets and named and named not in parameter.targets:
        return
    if reference and not reference.startswith("#"):
        rows.token(parameter.key, kind, identity)
    identifier = value.get("identifier")
    if isinstance(identifier, dict):
        key = key_of(parameter.owner, parameter.code + BY_IDENTIFIER)
        rows.token(key, _text(identifier.get("system")), _text(identifier.get("value")))


def _add_number(rows: Rows, parameter: Parameter, value: object, _base: str) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        rows.range(parameter.key, float(value), float(value))
    elif isinstance(value, dict):
        _add_quantity(rows, parameter, value, _base)


def _add_quantity(rows: Rows, parameter: Parameter, value: object, _base: str) -> None:
    if not isinstance(value, dict):
        return
    if value.keys() & {"low", "high"}:
        low, high = value.get("low") or {}, value.get("high") or {}
        unit = low if isinstance(low, dict) and low else high
        if isinstance(unit, dict):
            _quantity_rows(rows, parameter, _number(low, -_FAR), _number(high, _FAR), unit)
        return
    number = value.get("value")
    if not isinstance(number, int | float) or isinstance(number, bool):
        return
    low_open, high_open = _OPEN.get(_text(value.get("comparator")), (False, False))
    _quantity_rows(
        rows,
        parameter,
        -_FAR if low_open else float(number),
        _FAR if high_open else float(number),
        value,
    )


_FAR: Final = 1e300
_OPEN: Final = {"<": (True, False), "<=": (True, False), ">": (False, True), ">=": (False, True)}


def _quantity_rows(
    rows: Rows, parameter: Parameter, low: float, high: float, unit: Mapping[str, Any]
) -> None:
    system = _text(unit.get("system")) or ("urn:iso:std:iso:4217" if "currency" in unit else "")
    code, name = _text(unit.get("code")) or _text(unit.get("currency")), _text(unit.get("unit"))
    rows.range(parameter.key, low, high, system, code or name)
    if name and name != code and code:
        rows.range(parameter.key, low, high, "", name)


def _number(value: object, otherwise: float) -> float:
    found = value.get("value") if isinstance(value, dict) else None
    usable = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if usable and found is not None else otherwise


def _add_uri(rows: Rows, parameter: Parameter, value: object, _base: str) -> None:
    if isinstance(value, str):
        rows.token(parameter.key, "", value)


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else () if value is None else (value,)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


_ADD: Final[Mapping[Kind, Callable[[Rows, Parameter, object, str], None]]] = {
    Kind.TOKEN: _add_token,
    Kind.STRING: _add_text,
    Kind.DATE: _add_date,
    Kind.REFERENCE: _add_reference,
    Kind.NUMBER: _add_number,
    Kind.QUANTITY: _add_quantity,
    Kind.URI: _add_uri,
}

__all__ = [
    "BY_IDENTIFIER",
    "IMPLIED",
    "Range",
    "Rows",
    "Text",
    "Token",
    "extract",
    "folded",
    "local_reference",
    "short",
    "spans_of",
    "texts_of",
    "tokens_of",
]
