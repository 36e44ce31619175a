"""One value of a search parameter as a condition on a row `t` of its index. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from adapters.fhir.store.extraction import IMPLIED, folded, short
from adapters.fhir.store.refusals import invalid
from adapters.fhir.store.times import EARLIEST, LATEST, Span, span_of
from adapters.fhir.store.values import Prefix, bounds_of, prefixed, split, unescaped
from bus.transactions.database import Value
from schemas.fhir.searching import Kind

_APPROXIMATELY: Final = 0.1
_LAST_LETTER: Final = "\U0010ffff"


class Condition(NamedTuple):
    """A part of a `where`, and the arguments of its places."""

    sql: str
    arguments: tuple[Value, ...] = ()
    rows: str = ""
    """Of one that looks into an index: `<table> t where …`, with the same arguments, whose `t.rid` it asks for."""
    for_each: str = ""
    """The same, asked for one row at a time: cheaper where most rows of the index fit."""
    is_negative: bool = False
    """Whether it asks for what those rows do not name."""


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


def _match_token(_code: str, _modifier: str, text: str, _now_ms: int) -> Condition:
    return token(text)


def token(text: str) -> Condition:
    """`code`, `system|code`, `|code` or `system|`."""
    parts = [short(unescaped(part)) for part in split(text, "|")]
    if len(parts) == 1:
        return Condition("t.code = ?", (parts[0],))
    system, code = parts[0], parts[1]
    if not code:
        return Condition("t.system = ?", (system,))
    return Condition("(t.code = ? and t.system in (?, ?))", (code, system, IMPLIED))


def _match_string(code: str, modifier: str, text: str, _now_ms: int) -> Condition:
    plain = unescaped(text)
    start = folded(plain)
    if not start:
        raise invalid("a value is missing", expression=f"http.{code}", code="value")
    if modifier == "exact":
        return Condition("(t.folded = ? and t.exact = ?)", (start, short(plain)))
    if modifier == "contains":
        return Condition("replace(t.folded, ?, '') <> t.folded", (start,))
    return _begins("t.folded", start)


def _begins(column: str, start: str) -> Condition:
    return Condition(f"({column} >= ? and {column} < ?)", (start, start + _LAST_LETTER))


def _match_uri(_code: str, modifier: str, text: str, _now_ms: int) -> Condition:
    wanted = short(unescaped(text))
    if modifier == "below":
        return _begins("t.code", wanted)
    return Condition("t.code = ?", (wanted,))


def _match_date(code: str, _modifier: str, text: str, now_ms: int) -> Condition:
    return in_span(text, code, "t.low", "t.high", now_ms)


def in_span(text: str, code: str, low: str, high: str, now_ms: int) -> Condition:
    """How the span between two columns lies to a date. Raises `Refusal`."""
    prefix, shown = prefixed(unescaped(text))
    span = span_of(shown)
    if span is None:
        raise invalid(
            "a date is expected, e.g. 2026, 2026-03 or ge2026-03-01T10:00:00Z",
            expression=f"http.{code}",
            code="value",
        )
    if prefix is Prefix.AP:
        span = _around(span, now_ms)
    return _compared(prefix, low, high, span.low, span.high)


def _around(span: Span, now_ms: int) -> Span:
    far = round(abs(now_ms - (span.low + span.high) // 2) * _APPROXIMATELY)
    return Span(max(span.low - far, EARLIEST), min(span.high + far, LATEST))


def _match_number(code: str, _modifier: str, text: str, _now_ms: int) -> Condition:
    return _numeric(unescaped(text), code)


def _match_quantity(code: str, _modifier: str, text: str, _now_ms: int) -> Condition:
    parts = [unescaped(part) for part in split(text, "|")]
    found = [_numeric(parts[0], code)]
    system, unit = [*parts[1:], "", ""][:2]
    if unit:
        found.append(Condition("t.code = ?", (short(unit),)))
    if system:
        found.append(Condition("t.system = ?", (short(system),)))
    return every(found)


def _numeric(text: str, code: str) -> Condition:
    prefix, shown = prefixed(text)
    bounds = bounds_of(shown, code)
    match prefix:
        case Prefix.EQ:
            return Condition(
                "(t.low >= ? and t.low < ? and t.high < ?)", (bounds.low, bounds.high, bounds.high)
            )
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
            # no row begins behind its end: said twice, the index knows where to stop
            return Condition(f"({low} >= ? and {low} <= ? and {high} <= ?)", (first, last, last))
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


MATCH: Final[Mapping[Kind, Callable[[str, str, str, int], Condition]]] = {
    Kind.TOKEN: _match_token,
    Kind.STRING: _match_string,
    Kind.URI: _match_uri,
    Kind.DATE: _match_date,
    Kind.NUMBER: _match_number,
    Kind.QUANTITY: _match_quantity,
}
"""By kind: name, modifier, one value and the present, to a condition on a row of its index."""

__all__ = ["MATCH", "Condition", "either", "every", "in_span", "token"]
