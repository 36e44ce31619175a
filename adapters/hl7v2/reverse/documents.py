"""Segment and data type documents of the way to HL7 v2: YAML to rules, layer over layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import Place, Unmapped
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.reading import Reader
from adapters.hl7v2.reverse.model import Document, Rule
from adapters.hl7v2.reverse.protocol import VERSIONS

NAME: Final = re.compile(
    r"(?P<source>[A-Za-z][A-Za-z.]*)\[(?P<target>[A-Z][A-Z0-9]{1,3})(?:-[\w.-]+)?\]\Z"
)
MAX_RULES: Final = 2_000
_KEYS: Final = frozenset({"segment", "datatype", "rules", "override", "disable", "ignore", "note"})
_RULE_KEYS: Final = frozenset(
    {
        "id", "from", "to", "as", "when", "table", "unmapped", "const", "default", "required", "since", "until",
        "note",
    }
)  # fmt: skip


def read_document(value: Json, place: Place, known: Mapping[str, Document]) -> Document:
    """One document, laid over that of earlier layers. Raises `TablesError`."""
    reader = Reader(value, str(place), _KEYS)
    is_segment = "segment" in reader.value
    name = reader.text("segment" if is_segment else "datatype", required=True)
    found = NAME.match(name)
    if found is None:
        raise TablesError(f"{place}: {name!r}; a name such as Patient[PID] is expected")
    reader.where = f"{place}: {name}"
    earlier = known.get(name)
    if earlier and earlier.is_segment is not is_segment:
        raise TablesError(f"{reader.where}: an earlier layer has it as the other kind of document")
    rules = dict(earlier.rules) if earlier else {}
    _disable(reader, rules)
    _override(reader, rules, place)
    _add(reader, rules, place)
    if len(rules) > MAX_RULES:
        raise TablesError(f"{reader.where}: {len(rules)} rules; {MAX_RULES} are allowed")
    ignored = dict(earlier.ignored) if earlier else {}
    return Document(
        name=name,
        source=found["source"],
        target=found["target"],
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
        const=_fixed(reader, "const"),
        default=_fixed(reader, "default"),
        required=reader.flag("required"),
        since=reader.one_of("since", VERSIONS),
        until=reader.one_of("until", VERSIONS),
    )
    if not rule.sources and rule.const is None:
        raise TablesError(f"{reader.where}: 'from' or 'const' is missing")
    if rule.const is not None and (rule.maker or rule.table or rule.default is not None):
        raise TablesError(
            f"{reader.where}: 'as', 'table' and 'default' need a value from the source"
        )
    if rule.unmapped and not rule.table:
        raise TablesError(f"{reader.where}: 'unmapped' needs a 'table'")
    return rule


def _fixed(reader: Reader, key: str) -> str | None:
    """A text; a number in YAML is its text."""
    value = reader.value.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return reader.text(key) or None


__all__ = ["NAME", "read_document"]
