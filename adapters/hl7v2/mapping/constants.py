"""Constants of tables, checked against FHIR's elements."""

from __future__ import annotations

from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.shapes import PRIMITIVES, Shapes

_INTEGERS: Final = frozenset({"integer", "positiveInt", "unsignedInt"})


def check_constant(value: object, kind: str, shapes: Shapes, where: str) -> None:
    """Refuse a constant that the type cannot hold. Raises `TablesError`."""
    if kind in PRIMITIVES:
        _check_primitive(value, kind, where)
        return
    if not isinstance(value, dict) or not value:
        raise TablesError(f"{where}: {value!r:.60}; {kind} is a mapping of its elements")
    elements = shapes.types.get(kind, {})
    for name, inner in value.items():
        element = elements.get(str(name))
        if element is None and _is_primitive_extension(str(name), inner, shapes, kind):
            for one in inner["extension"]:
                check_constant(one, "Extension", shapes, f"{where}: {name}")
            continue
        if element is None:
            raise TablesError(
                f"{where}: {kind} has no element {name!r}{nearest(str(name), elements)}"
            )
        if element.is_list != isinstance(inner, list) or inner == []:
            expected = "a list with a value" if element.is_list else "no list"
            raise TablesError(f"{where}: {kind}.{name} is {expected}")
        for one in inner if isinstance(inner, list) else [inner]:
            check_constant(one, element.type, shapes, f"{where}: {name}")
            if element.codes is not None and element.is_primitive and one not in element.codes:
                allowed = ", ".join(sorted(element.codes))
                raise TablesError(f"{where}: {kind}.{name}: {one!r}; one of {allowed} is allowed")


def _is_primitive_extension(name: str, value: object, shapes: Shapes, kind: str) -> bool:
    """Whether it is `{extension: [...]}` of a single primitive element, under its name with `_`."""
    element = shapes.types.get(kind, {}).get(name[1:]) if name.startswith("_") else None
    if element is None or not element.is_primitive or element.is_list:
        return False
    return (
        isinstance(value, dict)
        and value.keys() == {"extension"}
        and isinstance(value["extension"], list)
        and bool(value["extension"])
    )


def _check_primitive(value: object, kind: str, where: str) -> None:
    if kind == "boolean":
        fits = isinstance(value, bool)
    elif kind in _INTEGERS:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind == "decimal":
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, str) and bool(value) and value == value.strip()
    if not fits:
        raise TablesError(
            f"{where}: {value!r:.60} is no {kind} (texts in quotes, true and false without)"
        )


__all__ = ["check_constant"]
