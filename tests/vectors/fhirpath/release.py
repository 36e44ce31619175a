"""The elements of FHIR R4B as `fhir.resources` knows them: a type model of other hands, and XML read by it."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from functools import cache
from xml.etree import ElementTree

import fhir.resources.R4B

_NAMESPACE = "{http://hl7.org/fhir}"
_PRIMITIVES = {"encodedBytes": "base64Binary", "uuidVersion": "uuid"}
_PYTHON = {"bool": "boolean", "int": "integer", "Decimal": "decimal", "str": "string"}


@cache
def _modules() -> dict[str, str]:
    return {
        module.name.lower(): module.name
        for module in pkgutil.iter_modules(fhir.resources.R4B.__path__)
    }


@cache
def _fields(type_name: str) -> dict[str, tuple[str, ...]]:
    """Elements of a type and their types; choices by their own name."""
    if type_name[:1].islower():
        return {"id": ("string",), "extension": ("Extension",)}
    model = _model(type_name)
    found: dict[str, tuple[str, ...]] = {}
    for name, field in getattr(model, "model_fields", {}).items():
        alias = field.alias or name
        if alias.startswith("_") or alias in ("fhir_comments", "resource_type"):
            continue
        kind = _type_of(field.annotation)
        extra = field.json_schema_extra or {}
        choice = extra.get("one_of_many")
        if choice:
            found[choice] = (*found.get(choice, ()), kind)
        elif kind:
            found[alias] = (kind,)
    return found


@cache
def _model(type_name: str) -> object:
    for length in range(len(type_name), 0, -1):
        module = _modules().get(type_name[:length].lower())
        if module:
            loaded = importlib.import_module(f"fhir.resources.R4B.{module}")
            found = getattr(loaded, type_name, None)
            if found is not None:
                return found
    return None


def _type_of(annotation: object) -> str:
    text = str(annotation)
    for part in ("abc.", "fhirtypes."):
        if part in text:
            name = text.split(part)[1].split("Type")[0].split("]")[0].split(" ")[0]
            return {"FHIRPrimitiveExtension": "Element"}.get(name, name)
    for found in _metadata(annotation):
        name = type(found).__name__
        name = name[0].lower() + name[1:]
        return _PRIMITIVES.get(name, name)
    for python, kind in _PYTHON.items():
        if python in text:
            return kind
    return ""


def _metadata(annotation: object) -> list[object]:
    found = list(getattr(annotation, "__metadata__", ()))
    for argument in typing.get_args(annotation):
        found += [] if found else _metadata(argument)
    return [one for one in found if not isinstance(one, str | int)]


class Release:
    """R4B's elements as a `TypeModel`."""

    def element(self, type_name: str, element: str) -> tuple[str, ...] | None:
        return _fields(type_name).get(element)

    def elements(self, type_name: str) -> tuple[str, ...]:
        return tuple(_fields(type_name))


def from_xml(text: bytes) -> dict[str, object]:
    """A resource in XML as its JSON values."""
    found, _ = _value(ElementTree.fromstring(text), "")
    assert isinstance(found, dict)
    return found


def _value(node: ElementTree.Element, kind: str) -> tuple[object, object]:
    """The value and the `_name` part of an element."""
    name = node.tag.removeprefix(_NAMESPACE)
    if "}div" in node.tag:
        return ElementTree.tostring(node, encoding="unicode"), None
    children = _children(node, kind or name)
    if node.get("id"):
        children["id"] = node.get("id")
    if node.get("url"):
        children["url"] = node.get("url")
    text = node.get("value")
    if text is None:
        return ({"resourceType": name, **children} if not kind else children), None
    return _primitive(text, kind), children or None


def _children(node: ElementTree.Element, owner: str) -> dict[str, object]:
    out: dict[str, object] = {}
    for child in node:
        name = child.tag.rpartition("}")[2]
        if name == "div":
            out["div"] = _value(child, "xhtml")[0]
            continue
        kind = _kind(owner, name)
        is_wrapper = kind == "Resource"
        value, extra = _value(child[0], "") if is_wrapper else _value(child, kind)
        if name in out or f"_{name}" in out:
            _append(out, name, value, extra)
        else:
            out[name] = value
            if extra is not None:
                out[f"_{name}"] = extra
    return out


def _append(out: dict[str, object], name: str, value: object, extra: object) -> None:
    values = out[name] if isinstance(out[name], list) else [out[name]]
    assert isinstance(values, list)
    out[name] = [*values, value]
    assert extra is None


def _kind(owner: str, name: str) -> str:
    kinds = _fields(owner).get(name)
    if kinds:
        return kinds[0]
    for choice, several in _fields(owner).items():
        for kind in several:
            if name == f"{choice}{kind[0].upper()}{kind[1:]}":
                return kind
    raise AssertionError(f"{owner}.{name} is not in R4B")


def _primitive(text: str, kind: str) -> object:
    if kind == "boolean":
        return text == "true"
    if kind in ("integer", "positiveInt", "unsignedInt"):
        return int(text)
    if kind == "decimal":
        return float(text)
    return text
