"""Segment and data type documents: YAML to rules, layer over layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import Document, Place, Rule, Unmapped
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.reading import Reader

NAME: Final = re.compile(
    r"(?P<source>[A-Z][A-Z0-9]{1,3})\[(?P<target>[A-Za-z][\w.]*)(?:-[\w.-]+)?\]\Z"
)
MAX_RULES: Final = 2_000
_KEYS: Final = frozenset(
    {"segment", "datatype", "target", "rules", "override", "disable", "ignore", "note"}
)
_RULE_KEYS: Final = frozenset(
    [
        "id",
        "from",
        "to",
        "as",
        "when",
        "table",
        "unmapped",
        "original",
        "system",
        "const",
        "default",
        "ref",
        "create",
        "ig",
        "note",
    ]
)


def read_document(value: Json, place: Place, known: Mapping[str, Document]) -> Document:
    """One document, laid over that of earlier layers. Raises `TablesError`."""
    reader = Reader(value, str(place), _KEYS)
    is_segment = "segment" in reader.value
    name = reader.text("segment" if is_segment else "datatype", required=True)
    found = NAME.match(name)
    if found is None:
        raise TablesError(f"{place}: {name!r}; a name such as PID[Patient] is expected")
    reader.where = f"{place}: {name}"
    earlier = known.get(name)
    rules = dict(earlier.rules) if earlier else {}
    _disable(reader, rules)
    _override(reader, rules, place)
    _add(reader, rules, place)
    if len(rules) > MAX_RULES:
        raise TablesError(f"{reader.where}: {len(rules)} rules; {MAX_RULES} are allowed")
    target = reader.text("target") or (earlier.target if earlier else found["target"])
    ignored = dict(earlier.ignored) if earlier else {}
    return Document(
        name=name,
        source=found["source"],
        target=target,
        is_segment=is_segment,
        place=place,
        rules=rules,
        ignored=ignored | reader.pairs("ignore"),
    )


def _disable(reader: Reader, rules: dict[str, Rule]) -> None:
    for one in reader.texts("disable"):
        if one not in rules:
            raise TablesError(
                f"{reader.where}: disable: no earlier layer has the rule {one!r}{nearest(one, rules)}"
            )
        del rules[one]


def _override(reader: Reader, rules: dict[str, Rule], place: Place) -> None:
    seen = set()
    for value in reader.items("override"):
        rule = _rule(value, reader.where, place)
        if rule.id not in rules:
            raise TablesError(
                f"{reader.where}: override: no earlier layer has the rule {rule.id!r}"
                f"{nearest(rule.id, rules)}"
            )
        if rule.id in seen:
            raise TablesError(f"{reader.where}: override: the rule {rule.id!r} stands twice")
        seen.add(rule.id)
        rules[rule.id] = rule


def _add(reader: Reader, rules: dict[str, Rule], place: Place) -> None:
    for value in reader.items("rules"):
        rule = _rule(value, reader.where, place)
        if rule.id in rules:
            raise TablesError(
                f"{reader.where}: rules: the id {rule.id!r} is taken; "
                "write it under 'override' to replace the rule"
            )
        rules[rule.id] = rule


def _rule(value: Json, where: str, place: Place) -> Rule:
    reader = Reader(value, f"{where}: rule", _RULE_KEYS)
    name = reader.name("id")
    reader.where = f"{where}: rule {name}"
    unmapped = reader.one_of("unmapped", ("keep", "omit", "fail"))
    rule = Rule(
        id=name,
        place=place,
        to=reader.text("to", required=True),
        sources=reader.texts("from"),
        maker=reader.text("as"),
        when=reader.text("when"),
        table=reader.text("table"),
        unmapped=Unmapped(unmapped) if unmapped else None,
        original=reader.flag("original"),
        system=reader.text("system"),
        const=reader.value.get("const"),
        default=reader.value.get("default"),
        ref=reader.text("ref"),
        create=reader.text("create"),
        ig=reader.texts("ig"),
    )
    _check(rule, reader)
    return rule


def _check(rule: Rule, reader: Reader) -> None:
    has_const = rule.const is not None
    if has_const + bool(rule.ref) + bool(rule.create) > 1:
        raise TablesError(f"{reader.where}: 'const', 'ref' and 'create' exclude each other")
    if not (has_const or rule.ref or rule.sources):
        raise TablesError(f"{reader.where}: 'from', 'const' or 'ref' is missing")
    if rule.create and not (rule.sources and rule.maker):
        raise TablesError(f"{reader.where}: 'create' needs 'from' and 'as'")
    if (has_const or rule.ref) and (rule.maker or rule.table or rule.default is not None):
        raise TablesError(
            f"{reader.where}: 'as', 'table' and 'default' need a value from the source"
        )
    if (rule.unmapped or rule.original) and not rule.table:
        raise TablesError(f"{reader.where}: 'unmapped' and 'original' need a 'table'")


__all__ = ["read_document"]
