"""The elements of FHIR R4: what a table may write to, and what a resource must have.

The table is generated from the official definitions by `scripts/generate_fhir_shapes.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Final

_TEXT: Final = re.compile(
    r"(?P<type>[\w.]+)(?:\((?P<targets>[\w|]+)\))?(?P<list>\*)?(?P<required>!)?(?:~(?P<choice>\w+))?(?:#(?P<codes>\S+))?\Z"
)
PRIMITIVES: Final = frozenset(
    {"base64Binary", "boolean", "canonical", "code", "date", "dateTime", "decimal", "id", "instant"}
    | {
        "integer",
        "markdown",
        "oid",
        "positiveInt",
        "string",
        "time",
        "unsignedInt",
        "uri",
        "url",
        "uuid",
    }
)

QUANTITIES: Final = frozenset(
    {"Quantity", "Age", "Count", "Distance", "Duration", "MoneyQuantity", "SimpleQuantity"}
)
"""Quantity and the types that narrow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a type. `type` is a primitive, a data type, or the path of a part (`Patient.contact`)."""

    name: str
    type: str
    is_list: bool
    is_required: bool
    choice: str = ""
    """The name without its type: `value` of `valueQuantity`."""
    codes: frozenset[str] | None = None
    """The codes of a required value set."""
    targets: frozenset[str] = frozenset()
    """What a reference may refer to; empty for anything."""

    @property
    def is_primitive(self) -> bool:
        """Whether its value is a text, a number or a boolean."""
        return self.type in PRIMITIVES


_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Shapes:
    """All types by name, their elements by name."""

    types: Mapping[str, Mapping[str, Element]]
    _choices: dict[str, Mapping[str, frozenset[str]]] = field(default_factory=dict, compare=False)

    def others(self, owner: str, element: Element) -> frozenset[str]:
        """The other elements of the same choice."""
        return self.choices(owner).get(element.name, _NONE) if element.choice else _NONE

    def choices(self, owner: str) -> Mapping[str, frozenset[str]]:
        """Of a type's elements that are a choice: the others of it. Asked for by every path: found once."""
        found = self._choices.get(owner)
        if found is None:
            together: dict[str, list[str]] = {}
            for one in self.types.get(owner, {}).values():
                if one.choice:
                    together.setdefault(one.choice, []).append(one.name)
            found = self._choices[owner] = {
                name: frozenset(names) - {name} for names in together.values() for name in names
            }
        return found

    def is_resource(self, name: str) -> bool:
        """Whether the type is a resource."""
        return "implicitRules" in self.types.get(name, ())


def _element(name: str, text: str, codes: Mapping[str, frozenset[str]]) -> Element:
    found = _TEXT.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no element")
    targets = found["targets"]
    return Element(
        name=name,
        type=found["type"],
        is_list=found["list"] is not None,
        is_required=found["required"] is not None,
        choice=found["choice"] or "",
        codes=codes[found["codes"]] if found["codes"] else None,
        targets=frozenset(targets.split("|")) if targets else frozenset(),
    )


@lru_cache(maxsize=1)
def load_shapes() -> Shapes:
    """Read the table of the package, once."""
    table = json.loads(files(__package__).joinpath("shapes.json").read_bytes())
    codes = {name: frozenset(found) for name, found in table["codes"].items()}
    return Shapes(
        {
            owner: {name: _element(name, text, codes) for name, text in elements.items()}
            for owner, elements in table["elements"].items()
        }
    )


__all__ = ["PRIMITIVES", "QUANTITIES", "Element", "Shapes", "load_shapes"]
