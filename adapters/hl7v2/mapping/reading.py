"""A YAML mapping, read key by key: what is missing, unknown or of a wrong kind is an error that names its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

import yaml

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import Place
from adapters.hl7v2.mapping.plain_yaml import LOADER, read_plain
from adapters.hl7v2.mapping.protocol import Json

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 16
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


_ALIAS: Final = re.compile(rb"(?:^|[\s\[{,:-])\*\w", re.MULTILINE)


class _Loader(LOADER):  # type: ignore[misc,valid-type]  # the C loader, where libyaml is there
    """The safe loader, without keys that stand twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        found: dict[object, object] = super().construct_mapping(node, deep=deep)
        return found


# only what looks like JSON is no text: `no`, `010`, `.1` and 2026-11-22 are codes and sources here
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"(?:true|false)\Z", "tf"),
    ("int", r"-?(?:0|[1-9]\d{0,15})\Z", "-0123456789"),
    ("float", r"-?(?:0|[1-9]\d{0,15})\.\d{1,15}\Z", "-0123456789"),
    ("null", r"(?:null|~|)\Z", ["n", "~", ""]),
    ("merge", r"<<\Z", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def read_yaml(raw: bytes, place: Place) -> list[Json]:
    """The documents of a file. Raises `TablesError`."""
    if len(raw) > MAX_FILE_BYTES:
        raise TablesError(f"{place}: {len(raw)} bytes; {MAX_FILE_BYTES} are allowed")
    found = read_plain(raw)
    if found is None:
        found = _read_nodes(raw, place)
    for one in found:
        _check(one, place, 0)
    return cast("list[Json]", [one for one in found if one is not None])


def _read_nodes(raw: bytes, place: Place) -> list[object]:
    """The documents of a file in which there is more than plain values, or what is wrong with it."""
    try:
        if _ALIAS.search(raw) and any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(raw, Loader=LOADER)
        ):
            raise TablesError(
                f"{place}: anchors and aliases are not allowed"
            )  # small files that grow large
        return list(yaml.load_all(raw, Loader=_Loader))  # a safe loader
    except (yaml.YAMLError, UnicodeError, RecursionError) as err:
        raise TablesError(f"{place}: no YAML: {err}") from None


def _check(value: object, place: Place, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TablesError(f"{place}: more than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TablesError(f"{place}: the key {key!r} is no text; put it in quotes")
            _check(inner, place, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, place, depth + 1)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise TablesError(f"{place}: {value!r} is of a kind that tables do not have")


class Reader:
    """The keys of one mapping."""

    def __init__(self, value: Json, where: str, allowed: Iterable[str]) -> None:
        if not isinstance(value, dict):
            raise TablesError(f"{where}: a mapping of keys is expected, not {value!r:.60}")
        self.where = where
        self.value: Mapping[str, Json] = value
        known = frozenset(allowed)
        for key in value:
            if key not in known:
                raise TablesError(
                    f"{where}: the key {key!r} is unknown{nearest(key, known)}"
                    f" (allowed: {', '.join(sorted(known))})"
                )

    def error(self, key: str, expected: str) -> TablesError:
        """What was seen at a key and what was expected."""
        return TablesError(f"{self.where}: {key}: {self.value.get(key)!r:.80}; {expected}")

    def text(self, key: str, *, required: bool = False) -> str:
        """A text; empty when it is missing and may be."""
        value = self.value.get(key)
        if value is None and not required and key not in self.value:
            return ""
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, "a text is expected")
        return value.strip()

    def name(self, key: str) -> str:
        """A required name of letters, digits, `.`, `_`, `-`."""
        value = self.text(key, required=True)
        if not ID.match(value):
            raise self.error(key, "letters, digits, '.', '_' and '-' are expected")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one text."""
        value = self.value.get(key)
        if value is None and key not in self.value:
            return ()
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one.strip() for one in found):
            raise self.error(key, "a text or a list of texts is expected")
        return tuple(str(one).strip() for one in found)

    def flag(self, key: str) -> bool:
        """`true` or `false`; false when it is missing."""
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "true or false is expected")
        return value

    def items(self, key: str) -> list[Json]:
        """A list; empty when it is missing."""
        value = self.value.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, "a list is expected")
        return value

    def pairs(self, key: str) -> dict[str, str]:
        """A mapping of texts; empty when it is missing."""
        value = self.value.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise self.error(key, "a mapping of texts is expected")
        return {name: str(one).strip() for name, one in value.items()}

    def one_of(self, key: str, allowed: Iterable[str]) -> str:
        """One of several words; empty when it is missing."""
        value, known = self.text(key), tuple(allowed)
        if value and value not in known:
            raise self.error(key, f"one of {', '.join(known)} is expected{nearest(value, known)}")
        return value


__all__ = ["ID", "MAX_FILE_BYTES", "Reader", "read_yaml"]
