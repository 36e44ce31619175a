"""msgspec structs of FHIR types, made when they are needed from the shapes that also drive the codec."""

from __future__ import annotations

import itertools
import keyword
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Final

import msgspec

from schemas.fhir.catalogue import Catalogue
from schemas.fhir.shapes import Kind, Slot

Annotation = Callable[[Slot], str | None]
"""What a slot's values are, as the text of a type that the family's namespace resolves; None leaves the key out."""


_numbers: Final = itertools.count(1)


class Family:
    """Structs of one release and one purpose. They lie in a module of their own, where they find each other by name.

    `annotate` says what a slot holds. FHIR types are named with a leading `T_`, so that they cannot meet other names.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        purpose: str,
        annotate: Annotation,
        namespace: Mapping[str, object],
        *,
        strict: bool,
    ) -> None:
        self._catalogue = catalogue
        self._annotate = annotate
        self._strict = strict
        name = f"schemas.fhir.made.{catalogue.release.value}.{purpose}_{next(_numbers)}"
        self._module = ModuleType(name)
        vars(self._module).update(namespace)
        sys.modules[self._module.__name__] = self._module

    def struct(self, name: str) -> type[msgspec.Struct]:
        """The struct of a FHIR type, made with all that it refers to when it is asked for first."""
        known = vars(self._module)
        waiting = {name}
        while waiting:
            each = waiting.pop()
            if struct_name(each) not in known:
                self._make(each)
                waiting |= {slot.type for slot in self._catalogue.shape(each) if slot.type}
        struct: type[msgspec.Struct] = known[struct_name(name)]
        return struct

    def _make(self, name: str) -> None:
        fields: list[tuple[str, object, object]] = []
        keys = {}
        for slot in self._catalogue.shape(name):
            annotation = self._annotate(slot)
            if annotation is not None:
                attribute = attribute_name(slot)
                keys[attribute] = slot.key
                fields.append((attribute, f"{annotation} | UnsetType", msgspec.UNSET))
        resource = name in self._catalogue.resources
        struct = msgspec.defstruct(
            struct_name(name),
            fields,
            module=self._module.__name__,
            rename=keys,
            kw_only=True,
            gc=False,  # trees without cycles
            forbid_unknown_fields=self._strict,
            tag_field="resourceType" if resource else None,
            tag=name if resource else None,
        )
        setattr(self._module, struct_name(name), struct)


def struct_name(fhir_type: str) -> str:
    """The name of a type's struct."""
    return "T_" + fhir_type


def attribute_name(slot: Slot) -> str:
    """FHIR's own key; `birthDate_ext` for `_birthDate`, and `class_` for a key that Python keeps for itself."""
    if slot.kind is Kind.SIBLING:
        return slot.key[1:] + "_ext"
    return slot.key + "_" if keyword.iskeyword(slot.key) else slot.key


NAMESPACE: Final = {"UnsetType": msgspec.UnsetType, "Raw": msgspec.Raw}

__all__ = ["NAMESPACE", "Family", "attribute_name", "struct_name"]
