"""Search parameters as SQL: each one a condition on a row of `fhir_resource`. Pure.

Every value travels as an argument; the text of a statement is made of our own words alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.fhir.codec.partial import is_id
from adapters.fhir.store.extraction import BY_IDENTIFIER, local_reference, short
from adapters.fhir.store.matching import MATCH, Condition, either, every, in_span, token
from adapters.fhir.store.refusals import Refusal, invalid
from adapters.fhir.store.values import split, unescaped
from bus.transactions.database import places
from schemas.fhir.searching import Kind, Parameter, Parameters, key_of

MAX_VALUES: Final = 500
"""Values of one search, over all of its parameters."""
MAX_CHAIN: Final = 3
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
        make = MATCH[parameter.kind]
        alternatives = [make(parameter.code, modifier, part, self.now_ms) for part in parts]
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
            return _found_in(Kind.TOKEN, key, [token(part) for part in parts], alias)
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
        updated = f"{alias}.updated_ms"
        each = [in_span(part, code, updated, updated, self.now_ms) for part in parts]
        return either(each)

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
        is_not,
    )


def _is_type(text: str) -> bool:
    return text[:1].isupper() and text.isalpha()


def _not_supported(code: str, text: str) -> Refusal:
    return Refusal(400, "not-supported", text, expression=f"http.{code}")


__all__ = ["MAX_CHAIN", "MAX_VALUES", "Conditions", "UnknownParameter"]
