"""The type model of a FHIR release: types, their elements (choices expanded), and which types are resources."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

PRIMITIVES: Final = frozenset(
    {
        *("base64Binary", "boolean", "canonical", "code", "date", "dateTime", "decimal", "id"),
        *("instant", "integer", "integer64", "markdown", "oid", "positiveInt", "string", "time"),
        *("unsignedInt", "uri", "url", "uuid", "xhtml"),
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """One element as JSON names it (`valueQuantity`, not `value[x]`)."""

    key: str
    type: str
    """A primitive's code, the name of a complex type, or `Resource` for any resource."""
    repeated: bool
    bare: bool = False
    """Whether it is a primitive without extensions (`Element.id`, `Extension.url`): JSON has no `_key` beside it."""

    @property
    def has_sibling(self) -> bool:
        """Whether JSON may hold `_key`, the id and extensions of a primitive."""
        return self.type in PRIMITIVES and not self.bare

    def __str__(self) -> str:
        return f"{self.key}:{self.type}{'*' if self.repeated else ''}{'!' if self.bare else ''}"

    @classmethod
    def parse(cls, text: str) -> Field:
        """Read what `str` writes: `given:string*`, `id:string!`."""
        key, _, name = text.partition(":")
        return cls(key, name.rstrip("*!"), "*" in name, "!" in name)


@dataclass(frozen=True, slots=True)
class Model:
    """All types of a release, in the order of their names."""

    types: dict[str, tuple[Field, ...]]
    resources: frozenset[str]

    def to_json(self) -> str:
        """One type a line, so that a difference between two models can be read."""
        lines = ",\n".join(
            f"{json.dumps(name)}: {json.dumps(' '.join(map(str, fields)))}"
            for name, fields in sorted(self.types.items())
        )
        resources = json.dumps(" ".join(sorted(self.resources)))
        return f'{{\n"resources": {resources},\n"types": {{\n{lines}\n}}\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> Model:
        """Read what `to_json` writes."""
        document = json.loads(text)
        types = {
            name: tuple(Field.parse(field) for field in fields.split())
            for name, fields in document["types"].items()
        }
        return cls(types, frozenset(document["resources"].split()))


__all__ = ["PRIMITIVES", "Field", "Model"]
