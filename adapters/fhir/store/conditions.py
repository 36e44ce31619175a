"""Search parameters as SQL: each one a condition on a row of `fhir_resource`. Pure.

Every value travels as an argument; the text of a statement is made of our own words alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from adapters.fhir.codec.partial import is_id
from adapters.fhir.store.extraction import BY_IDENTIFIER, IMPLIED, folded, local_reference, short
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.times import EARLIEST, LATEST, Span, span_of
from adapters.fhir.store.values import Prefix, bounds_of, prefixed, split, unescaped
from bus.transactions.database import Value, places
from schemas.fhir.searching import Kind, Parameter, Parameters, key_of

MAX_VALUES: Final = 500
"""Values of one search, over all of its parameters."""
MAX_CHAIN: Final = 3
_APPROXIMATELY: Final = 0.1
_LAST_LETTER: Final = "\U0010ffff"
_TABLES: Final = {
    Kind.TOKEN: "fhir_token",
    Kind.REFERENCE: "fhir_token",
    Kind.URI: "fhir_token",
    Kind.STRING: "fhir_string",
    Kind.DATE: "fhir_range",
    Kind.NUMBER: "fhir_range",
    Kind.QUANTITY: "fhir_range",
}
_MODIFIERS: Final = {
    Kind.TOKEN: frozenset({"", "not", "missing"}),
    Kind.STRING: frozenset({"", "exact", "contains", "missing"}),
    Kind.DATE: frozenset({"", "missing"}),
    Kind.NUMBER: frozenset({"", "missing"}),
    Kind.QUANTITY: frozenset({"", "missing"}),
    Kind.URI: frozenset({"", "below", "missing"}),
}


class UnknownParameter(Refusal):
    """The type has no such parameter: refused with handling=strict, otherwise left out and told."""

    def __init__(self, name: str) -> None:
        super().__init__(
            400, "not-supported", "there is no such search parameter", expression=f"http.{name}"
        )


class Condition(NamedTuple):
    """A part of a `where`, and the arguments of its places."""

    sql: str
    arguments: tuple[Value, ...] = ()
    rows: str = ""
    """Of one that looks into an index: `<table> t where …`, with the same arguments, whose `t.rid` it asks for."""
    for_each: str = ""
    """The same, asked for one row at a time: cheaper where most rows of the index fit."""


@dataclass(slots=True)
class Conditions:
    """Makes conditions for one search; counts its values."""

    parameters: Parameters
    base: str
    now_ms: int
    may_search: Callable[[str], bool]
    """Whether the requester may search a type: a chain looks into others."""
    inside: Callable[[str, str], Condition | None]
    """What confines rows of a type, by an alias, to what the requester may see; None where nothing does."""
    values: int = 0
    aliases: int = field(default=0)

    def condition(
        self, resource_type: str, name: str, text: str, alias: str = "r", depth: int = 0
    ) -> Condition:
        """The condition of `name=text` on `alias`. Raises `UnknownParameter`, `Refusal`."""
        if name.startswith("_has:"):
            return self._has(resource_type, name, text, alias, depth)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        if code in ("_id", "_lastUpdated") and not dot:
            return self._of_the_row(code, modifier, text, alias)
        parameter = self.parameters.of(resource_type).get(code)
        if parameter is None:
            raise UnknownParameter(code)
        if parameter.kind is Kind.COMPOSITE:
            raise _not_supported(
                code, "composite parameters are not supported: use those it is made of"
            )
        if dot:
            return self._chain(parameter, modifier, rest, text, alias, depth)
        return self._plain(parameter, modifier, text, alias)

    # ── one parameter

    def _plain(self, parameter: Parameter, modifier: str, text: str, alias: str) -> Condition:
        if modifier == "missing":
            return self._missing(parameter, text, alias)
        parts = self._parts(text, parameter.code)
        if parameter.kind is Kind.REFERENCE:
            return self._reference(parameter, modifier, parts, alias)
        if modifier not in _MODIFIERS[parameter.kind]:
            raise _not_supported(parameter.code, f"the modifier :{modifier} is not supported")
        make = _MATCH[parameter.kind]
        alternatives = [make(self, parameter, modifier, part) for part in parts]
        is_not = modifier == "not"
        return _found_in(parameter.kind, parameter.key, alternatives, alias, is_not=is_not)

    def _missing(self, parameter: Parameter, text: str, alias: str) -> Condition:
        if text not in ("true", "false"):
            raise invalid(
                ":missing is true or false", expression=f"http.{parameter.code}", code="value"
            )
        keys = [parameter.key]
        if parameter.kind is Kind.REFERENCE:
            keys.append(key_of(parameter.owner, parameter.code + BY_IDENTIFIER))
        word = "not exists" if text == "true" else "exists"
        table = _TABLES[parameter.kind]
        return Condition(
            f"{word} (select 1 from {table} t where t.rid = {alias}.rid and t.param in ({places(len(keys))}))",  # noqa: S608
            tuple(keys),
        )

    def _reference(
        self, parameter: Parameter, modifier: str, parts: Sequence[str], alias: str
    ) -> Condition:
        if modifier == "identifier":
            key = key_of(parameter.owner, parameter.code + BY_IDENTIFIER)
            return _found_in(Kind.TOKEN, key, [_token(part) for part in parts], alias)
        if modifier and not _is_type(modifier):
            raise _not_supported(parameter.code, f"the modifier :{modifier} is not supported")
        alternatives = [self._referred(parameter, modifier, unescaped(part)) for part in parts]
        return _found_in(Kind.TOKEN, parameter.key, alternatives, alias)

    def _referred(self, parameter: Parameter, wanted: str, text: str) -> Condition:
        kind, identity = local_reference(text, self.base)
        if kind:
            return Condition("(t.code = ? and t.system = ?)", (identity, kind))
        if not is_id(text):
            return Condition("(t.code = ? and t.system = '')", (short(text),))
        if wanted:
            return Condition("(t.code = ? and t.system = ?)", (text, wanted))
        return Condition("(t.code = ? and t.system <> '')", (text,))

    def _of_the_row(self, code: str, modifier: str, text: str, alias: str) -> Condition:
        if modifier:
            raise _not_supported(code, f"the modifier :{modifier} is not supported")
        parts = self._parts(text, code)
        if code == "_id":
            ids = [unescaped(part) for part in parts]
            return Condition(f"{alias}.id in ({places(len(ids))})", tuple(ids))
        each = [
            self._span(part, code, f"{alias}.updated_ms", f"{alias}.updated_ms") for part in parts
        ]
        return either(each)

    # ── dates, numbers, quantities

    def _span(self, text: str, code: str, low: str, high: str) -> Condition:
        prefix, shown = prefixed(unescaped(text))
        span = span_of(shown)
        if span is None:
            raise invalid(
                "a date is expected, e.g. 2026, 2026-03 or ge2026-03-01T10:00:00Z",
                expression=f"http.{code}",
                code="value",
            )
        if prefix is Prefix.AP:
            span = self._around(span)
        return _compared(prefix, low, high, span.low, span.high)

    def _around(self, span: Span) -> Span:
        far = round(abs(self.now_ms - (span.low + span.high) // 2) * _APPROXIMATELY)
        return Span(max(span.low - far, EARLIEST), min(span.high + far, LATEST))

    # ── other resources

    def _chain(
        self, parameter: Parameter, wanted: str, rest: str, text: str, alias: str, depth: int
    ) -> Condition:
        if parameter.kind is not Kind.REFERENCE:
            raise invalid("only a reference can be followed", expression=f"http.{parameter.code}")
        self._check_depth(parameter.code, depth)
        code = rest.partition(".")[0].partition(":")[0]
        names = (wanted,) if wanted else parameter.targets
        targets = [one for one in names if code.startswith("_") or code in self.parameters.of(one)]
        if not targets or len(targets) > MAX_VALUES:
            raise UnknownParameter(f"{parameter.code}.{code}")
        inner = self._alias()
        each: list[Condition] = []
        for target in targets:
            if not self.may_search(target):
                continue
            found = self._visible(target, rest, text, inner, depth)
            each.append(
                Condition(
                    f"(t.system = ? and t.code in (select {inner}.id from fhir_resource {inner}"  # noqa: S608
                    f" where {inner}.type = ? and {inner}.deleted = 0 and {found.sql}))",
                    (target, target, *found.arguments),
                )
            )
        if not each:
            raise Refusal(403, "forbidden", "the types that the chain leads to may not be searched")
        return _found_in(Kind.REFERENCE, parameter.key, each, alias)

    def _has(self, resource_type: str, name: str, text: str, alias: str, depth: int) -> Condition:
        parts = name.split(":", 3)
        if len(parts) != 4 or not all(parts):
            raise invalid("_has is written _has:Type:reference:parameter", expression="http._has")
        _, other, code, rest = parts
        self._check_depth("_has", depth)
        parameter = self.parameters.of(other).get(code)
        if parameter is None or parameter.kind is not Kind.REFERENCE:
            raise UnknownParameter(f"_has:{other}:{code}")
        if not self.may_search(other):
            raise Refusal(403, "forbidden", "the type that _has looks at may not be searched")
        inner = self._alias()
        found = self._visible(other, rest, text, inner, depth)
        return Condition(
            f"{alias}.id in (select h.code from fhir_resource {inner} join fhir_token h on h.rid = {inner}.rid"  # noqa: S608
            f" and h.param = ? and h.system = ? where {inner}.type = ? and {inner}.deleted = 0 and {found.sql})",
            (parameter.key, resource_type, other, *found.arguments),
        )

    def _visible(self, other: str, rest: str, text: str, alias: str, depth: int) -> Condition:
        """A condition on a row of another type that the requester may see."""
        found = self.condition(other, rest, text, alias, depth + 1)
        confined = self.inside(other, alias)
        return found if confined is None else every([found, confined])

    def _check_depth(self, code: str, depth: int) -> None:
        if depth >= MAX_CHAIN:
            raise Refusal(
                400,
                "too-costly",
                f"a chain has at most {MAX_CHAIN} links",
                expression=f"http.{code}",
            )

    def _alias(self) -> str:
        self.aliases += 1
        return f"r{self.aliases}"

    def _parts(self, text: str, code: str) -> list[str]:
        parts = [part for part in split(text, ",") if part]
        if not parts:
            raise invalid("a value is missing", expression=f"http.{code}", code="value")
        self.values += len(parts)
        if self.values > MAX_VALUES:
            raise Refusal(400, "too-costly", f"a search has at most {MAX_VALUES} values")
        return parts


def _found_in(
    kind: Kind, key: int, alternatives: Sequence[Condition], alias: str, *, is_not: bool = False
) -> Condition:
    any_of = either(alternatives)
    no = "not " if is_not else ""
    rows = f"{_TABLES[kind]} t where t.param = ? and {any_of.sql}"
    return Condition(
        f"{alias}.rid {no}in (select t.rid from {rows})",  # noqa: S608
        (key, *any_of.arguments),
        rows,
        f"{no}exists (select 1 from {rows} and t.rid = {alias}.rid)",  # noqa: S608
    )


def either(alternatives: Sequence[Condition]) -> Condition:
    """One of them holds."""
    return _joined(" or ", alternatives)


def every(conditions: Sequence[Condition]) -> Condition:
    """All of them hold."""
    return _joined(" and ", conditions) if conditions else Condition("1 = 1")


def _joined(word: str, conditions: Iterable[Condition]) -> Condition:
    several = list(conditions)
    arguments = tuple(argument for one in several for argument in one.arguments)
    return Condition(f"({word.join(one.sql for one in several)})", arguments)


def _match_token(_all: Conditions, _parameter: Parameter, _modifier: str, text: str) -> Condition:
    return _token(text)


def _token(text: str) -> Condition:
    parts = [short(unescaped(part)) for part in split(text, "|")]
    if len(parts) == 1:
        return Condition("t.code = ?", (parts[0],))
    system, code = parts[0], parts[1]
    if not code:
        return Condition("t.system = ?", (system,))
    return Condition("(t.code = ? and t.system in (?, ?))", (code, system, IMPLIED))


def _match_string(_all: Conditions, parameter: Parameter, modifier: str, text: str) -> Condition:
    plain = unescaped(text)
    start = folded(plain)
    if not start:
        raise invalid("a value is missing", expression=f"http.{parameter.code}", code="value")
    if modifier == "exact":
        return Condition("(t.folded = ? and t.exact = ?)", (start, short(plain)))
    if modifier == "contains":
        return Condition("replace(t.folded, ?, '') <> t.folded", (start,))
    return _begins("t.folded", start)


def _begins(column: str, start: str) -> Condition:
    return Condition(f"({column} >= ? and {column} < ?)", (start, start + _LAST_LETTER))


def _match_uri(_all: Conditions, _parameter: Parameter, modifier: str, text: str) -> Condition:
    wanted = short(unescaped(text))
    if modifier == "below":
        return _begins("t.code", wanted)
    return Condition("t.code = ?", (wanted,))


def _match_date(
    conditions: Conditions, parameter: Parameter, _modifier: str, text: str
) -> Condition:
    return conditions._span(text, parameter.code, "t.low", "t.high")


def _match_number(_all: Conditions, parameter: Parameter, _modifier: str, text: str) -> Condition:
    return _numeric(unescaped(text), parameter.code)


def _match_quantity(_all: Conditions, parameter: Parameter, _modifier: str, text: str) -> Condition:
    parts = [unescaped(part) for part in split(text, "|")]
    found = [_numeric(parts[0], parameter.code)]
    system, code = [*parts[1:], "", ""][:2]
    if code:
        found.append(Condition("t.code = ?", (short(code),)))
    if system:
        found.append(Condition("t.system = ?", (short(system),)))
    return every(found)


def _numeric(text: str, code: str) -> Condition:
    prefix, shown = prefixed(text)
    bounds = bounds_of(shown, code)
    match prefix:
        case Prefix.EQ:
            return Condition("(t.low >= ? and t.high < ?)", (bounds.low, bounds.high))
        case Prefix.NE:
            return Condition("(t.low < ? or t.high >= ?)", (bounds.low, bounds.high))
        case Prefix.AP:
            far = abs(bounds.exact) * _APPROXIMATELY
            return Condition("(t.high >= ? and t.low <= ?)", (bounds.low - far, bounds.high + far))
        case _:
            return _compared(prefix, "t.low", "t.high", bounds.exact, bounds.exact)


def _compared(prefix: Prefix, low: str, high: str, first: float, last: float) -> Condition:
    """How a row's span lies to the span of a value (FHIR R4 §3.1.1.4.6)."""
    match prefix:
        case Prefix.EQ:
            return Condition(f"({low} >= ? and {high} <= ?)", (first, last))
        case Prefix.NE:
            return Condition(f"({low} < ? or {high} > ?)", (first, last))
        case Prefix.GT:
            return Condition(f"{high} > ?", (last,))
        case Prefix.LT:
            return Condition(f"{low} < ?", (first,))
        case Prefix.GE:
            return Condition(f"({high} > ? or ({low} >= ? and {high} <= ?))", (last, first, last))
        case Prefix.LE:
            return Condition(f"({low} < ? or ({low} >= ? and {high} <= ?))", (first, first, last))
        case Prefix.SA:
            return Condition(f"{low} > ?", (last,))
        case Prefix.EB:
            return Condition(f"{high} < ?", (first,))
        case Prefix.AP:
            return Condition(f"({high} >= ? and {low} <= ?)", (first, last))


_MATCH: Final[Mapping[Kind, Callable[[Conditions, Parameter, str, str], Condition]]] = {
    Kind.TOKEN: _match_token,
    Kind.STRING: _match_string,
    Kind.URI: _match_uri,
    Kind.DATE: _match_date,
    Kind.NUMBER: _match_number,
    Kind.QUANTITY: _match_quantity,
}


def _is_type(text: str) -> bool:
    return text[:1].isupper() and text.isalpha()


def _not_supported(code: str, text: str) -> Refusal:
    return Refusal(400, "not-supported", text, expression=f"http.{code}")


__all__ = [
    "MAX_CHAIN",
    "MAX_VALUES",
    "Condition",
    "Conditions",
    "UnknownParameter",
    "either",
    "every",
]
