"""Steps from an element to its children, in plain JSON: choices, extensions of primitives, types where they matter."""

from __future__ import annotations

from typing import Final

from schemas.fhirpath.environment import Environment, Step
from schemas.fhirpath.quantity import Quantity
from schemas.fhirpath.temporal import Temporal
from schemas.fhirpath.types import (
    FHIR_TYPES,
    PRIMITIVES,
    TypeModel,
    choice_keys,
    choice_like,
    choice_of,
    is_a,
)
from schemas.fhirpath.values import Element, Items

_MOST_NAMES: Final = 1_024


def member(name: str) -> Step:
    """The step to an element where no type is asked for. Items stay plain JSON, but for choices and extensions."""
    under = f"_{name}"
    choices = choice_keys(name)

    def step(items: Items, env: Environment) -> Items:
        out: Items = []
        for item in items:
            holder = item if type(item) is dict else _holder(item, name)
            if holder is None:
                continue
            value = holder.get(name)
            if type(value) is dict:
                out.append(value)
            elif type(value) is list and under not in holder:
                out.extend([one for one in value if one is not None and type(one) is not list])
            elif value is None or under in holder:
                _found(holder, name, choices, out)
            else:
                out.append(value)
        env.left -= len(out) + len(items)
        if env.left < 0:
            env.spend(0)
        return out

    return step


def _found(item: dict[str, object], name: str, choices: dict[str, str] | None, out: Items) -> None:
    """An element that has extensions, or that is a choice."""
    extra = item.get(f"_{name}")
    if name in item or extra is not None:
        _with_extras(item.get(name), extra, None, out)
    elif choices is not None:
        json_name = _chosen(item, choices)
        if json_name is not None:
            kind = choices[json_name]
            _with_extras(item.get(json_name), item.get(f"_{json_name}"), kind, out)


def _chosen(item: dict[str, object], choices: dict[str, str]) -> str | None:
    """The JSON name of the choice that is there; the first by name should there be several."""
    found = choices.keys() & item.keys()
    if not found:
        found = {key[1:] for key in item if key[:1] == "_" and key[1:] in choices}
    return min(found, default=None)


def _holder(item: object, name: str) -> dict[str, object] | None:
    """The JSON object in which an element's child would stand."""
    if type(item) is not Element:
        return item if isinstance(item, dict) else None
    if isinstance(item.value, dict):
        return item.value
    return item.extra if name in ("extension", "id") else None


def _with_extras(value: object, extra: object, kind: str | None, out: Items) -> None:
    """Append a value or list of values, each with its `_name` part."""
    if extra is None and type(value) is not list:
        if value is not None:
            out.append(Element(value, _type_of_value(value) or kind))
        return
    values = value if isinstance(value, list) else [value]
    extras = extra if isinstance(extra, list) else [extra]
    for at in range(max(len(values), len(extras))):
        one = values[at] if at < len(values) else None
        beside = extras[at] if at < len(extras) else None
        beside = beside if isinstance(beside, dict) else None
        if (one is not None and not isinstance(one, list)) or beside:
            out.append(Element(one, _type_of_value(one) or kind, beside))


def _type_of_value(value: object) -> str | None:
    """A resource says itself what it is."""
    if isinstance(value, dict):
        name = value.get("resourceType")
        return name if isinstance(name, str) else None
    return None


def typed_member(name: str, model: TypeModel | None) -> Step:
    """The step to an element where types are asked for: each item found knows its type as far as it can be known."""
    choices = choice_keys(name)

    def step(items: Items, env: Environment) -> Items:
        out: Items = []
        for item in items:
            element = item if type(item) is Element else Element(item, _type_of_value(item))
            holder = _holder(element, name)
            if holder is None:
                continue
            known = model.element(element.type, name) if model and element.type else None
            kind = known[0] if known and len(known) == 1 else None
            value, extra = holder.get(name), holder.get(f"_{name}")
            if value is not None or extra is not None:
                _with_extras(value, extra, kind or _guessed(name), out)
            elif known is None or len(known) > 1:
                _found(holder, name, choices, out)
        env.spend(len(out) + len(items))
        return out

    return step


def _guessed(name: str) -> str | None:
    return "Extension" if name in ("extension", "modifierExtension") else None


def typed_root(resource: object) -> Element:
    """A resource with its type."""
    return Element(resource, _type_of_value(resource))


def children(model: TypeModel | None) -> Step:
    """All children of all items, with their types."""
    steps: dict[str, Step] = {}

    def step(items: Items, env: Environment) -> Items:
        out: Items = []
        for item in items:
            element = item if type(item) is Element else Element(item, _type_of_value(item))
            holder = element.value if isinstance(element.value, dict) else element.extra
            if not isinstance(holder, dict):
                continue
            env.spend(len(holder))
            for name in _child_names(holder, element.type, model):
                found = steps.get(name)
                if found is None:
                    found = typed_member(name, model)
                    if len(steps) < _MOST_NAMES:
                        steps[name] = found
                out.extend(found([element], env))
        return out

    return step


def _child_names(
    holder: dict[str, object], type_name: str | None, model: TypeModel | None
) -> list[str]:
    """The element names behind JSON names: `_birthDate` is `birthDate`, `valueString` is `value`."""
    names: dict[str, None] = {}
    known = model.elements(type_name) if model and type_name else ()
    for json_name in holder:
        name = json_name.removeprefix("_")
        if name != "resourceType":
            names[_element_name(name, holder, known)] = None
    return list(names)


def _element_name(name: str, holder: dict[str, object], known: tuple[str, ...]) -> str:
    if name in known:
        return name
    choice = choice_like(name)
    if choice is None or choice[0] in holder or (known and choice[0] not in known):
        return name
    is_sure = bool(known) or choice[1] not in PRIMITIVES or choice_of(name) is not None
    return choice[0] if is_sure else name


def type_of(item: object) -> tuple[str, str] | None:
    """Namespace and name of an item's type; None when nothing tells it."""
    if type(item) is not Element:
        return _system_type(item)
    if item.type is not None:
        return ("FHIR", item.type)
    found = _system_type(item.value)
    if found is None or isinstance(item.value, dict):
        return None
    return ("FHIR", found[1].lower())


def _system_type(value: object) -> tuple[str, str] | None:
    if isinstance(value, dict):
        name = _type_of_value(value)
        return ("FHIR", name) if name else None
    if isinstance(value, Temporal):
        return ("System", value.kind)
    if isinstance(value, Quantity):
        return ("System", "Quantity")
    if type(value) is str:
        return ("System", "String")
    if isinstance(value, bool):
        return ("System", "Boolean")
    if value is None:
        return None
    return ("System", "Integer" if isinstance(value, int) else "Decimal")


def has_type(item: object, namespace: str, name: str, *, exactly: bool) -> bool:
    """Whether an item is of a type. `exactly`: a primitive's descendants do not count, as for `as` and `ofType`."""
    found = type_of(item)
    if found is None:
        return False
    if found[0] == "System" or namespace == "System":
        return found == ("System", name) and namespace in ("", "System")
    if exactly and name in PRIMITIVES:
        return found[1] == name
    return name in FHIR_TYPES and is_a(found[1], name)


def type_filter(name: str) -> Step:
    """The first name of a path when it is a type: keeps the items of that type."""

    def step(items: Items, env: Environment) -> Items:
        out: Items = []
        for item in items:
            element = item if type(item) is Element else None
            kind = _type_of_value(item) if element is None else element.type
            if kind == name or (kind is not None and is_a(kind, name)):
                out.append(item)
        return out

    return step


__all__ = [
    "children",
    "has_type",
    "member",
    "type_filter",
    "type_of",
    "typed_member",
    "typed_root",
]
