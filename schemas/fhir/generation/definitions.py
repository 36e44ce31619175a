"""The front end for HL7's own StructureDefinitions (JSON, snapshot form; CC0)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from schemas.fhir.generation.model import Field, Model

_ABSTRACT: Final = ("Resource", "DomainResource")
_BACKBONE: Final = ("BackboneElement", "Element")
_FHIRPATH: Final = "http://hl7.org/fhirpath/System."

Definition = Mapping[str, Any]


def model_of(definitions: Iterable[Definition]) -> Model:
    """The types that StructureDefinitions define; profiles, primitives and logical models are passed over."""
    types: dict[str, tuple[Field, ...]] = {}
    resources = set()
    for definition in definitions:
        if definition.get("derivation") == "constraint":
            continue
        if definition["kind"] not in ("complex-type", "resource"):
            continue
        name = definition["type"]
        if definition["kind"] == "resource" and not definition.get("abstract"):
            resources.add(name)
        if name not in _ABSTRACT:
            types.update(_types_of(name, definition["snapshot"]["element"]))
    return Model(dict(sorted(types.items())), frozenset(resources))


def _types_of(root: str, elements: list[Definition]) -> dict[str, tuple[Field, ...]]:
    """The type itself and its nested ones, which get flattened names: `Patient.contact` is `PatientContact`."""
    paths = [element["path"] for element in elements]
    names = {root: root}
    for element in elements:
        path = element["path"]
        nested = any(other.startswith(path + ".") for other in paths)
        codes = [kind["code"] for kind in element.get("type", ())]
        if path != root and nested and codes and codes[0] in _BACKBONE:
            names[path] = "".join(part[0].upper() + part[1:] for part in path.split("."))
    fields: dict[str, list[Field]] = {name: [] for name in names.values()}
    for element in elements:
        parent = element["path"].rpartition(".")[0]
        if parent in names:
            fields[names[parent]].extend(_fields_of(element, names))
    return {name: tuple(found) for name, found in fields.items()}


def _fields_of(element: Definition, names: Mapping[str, str]) -> Iterator[Field]:
    path = element["path"]
    leaf = path.rpartition(".")[2]
    repeated = element.get("max") != "1"
    if "contentReference" in element:
        yield Field(leaf, names[element["contentReference"].partition("#")[2]], repeated)
        return
    if path in names:
        yield Field(leaf, names[path], repeated)
        return
    for kind in element["type"]:
        code = kind["code"]
        bare = code.startswith(_FHIRPATH)
        code = "string" if bare else code
        if not leaf.endswith("[x]"):
            yield Field(leaf, code, repeated, bare)
            return
        yield Field(leaf[:-3] + code[0].upper() + code[1:], code, repeated)


__all__ = ["Definition", "model_of"]
