"""Target paths: parsed against FHIR's elements when tables are loaded, walked when a value is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.frames import Env, Frame
from adapters.hl7v2.mapping.protocol import IssueCode, Json, Severity
from adapters.hl7v2.mapping.shapes import Element, Shapes

THIS: Final = "$this"
VALUE: Final = ""
"""The key under which a document of a primitive type keeps its value."""
MAX_INDEX: Final = 99
_PART: Final = re.compile(
    r"(?P<name>_?[A-Za-z]\w*)(?:\[(?:(?P<each>)|(?P<index>\d{1,2})|(?P<label>[a-z][a-z0-9_-]*)"
    r"|url=(?P<url>[^\s\[\]]+))\])?(?:\.|\Z)"
)
_PRIMITIVE_EXTENSION: Final = Element(
    name="extension", type="Extension", is_list=True, is_required=False
)
Key = tuple[int, ...] | None
Object = dict[str, Json]
Choices = Mapping[str, frozenset[str]]
"""Of the elements of a type that are a choice: those that must give way to them."""


def merge(into: Object, more: Object, env: Env) -> None:
    """Lay an object over another: objects merge, lists grow, of values the later one stays."""
    for name, value in more.items():
        old = into.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            env.moved[id(value)] = (value, old)
            merge(old, value, env)
        elif isinstance(old, list) and isinstance(value, list):
            old.extend(value)
        else:
            if old is not None and old != value:
                env.discard(old)
            into[name] = value


def _lay(into: Object, more: Object, frame: Frame, choices: Choices) -> None:
    """Merge, and let a choice element that comes take the place of its other types."""
    if choices:
        for name in more.keys() & choices.keys():
            _clear(into, choices[name], frame)
    merge(into, more, frame.env)


def copied(value: Json) -> Json:
    """A copy that shares no object or list."""
    if isinstance(value, dict):
        return {
            name: copied(one) if isinstance(one, dict | list) else one
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [copied(one) if isinstance(one, dict | list) else one for one in value]
    return value


@dataclass(frozen=True, slots=True)
class KeyWay:
    """An element that is no list."""

    name: str
    others: frozenset[str]
    choices: Choices = field(default_factory=dict, compare=False)
    """Those of the objects that it takes."""

    def enter(self, into: Object, frame: Frame, key: Key) -> Object:
        """The object at this step of a path; made where there is none. `key` tells source repetitions apart."""
        if self.others and not self.others.isdisjoint(into):
            _clear(into, self.others, frame)
        inner = into.get(self.name)
        if inner is None:
            inner = into[self.name] = {}
        return inner  # type: ignore[return-value]  # the path was checked: an element with parts

    def put(self, into: Object, value: Json, frame: Frame, key: Key) -> Json:
        """Put a value at the end of a path; returns what stands there then."""
        if self.others and not self.others.isdisjoint(into):
            _clear(into, self.others, frame)
        old = into.get(self.name)
        if isinstance(old, dict) and isinstance(value, dict):
            _lay(old, value, frame, self.choices)
            return old
        if old is not None and old != value:
            frame.env.discard(old)
        into[self.name] = value
        return value


@dataclass(frozen=True, slots=True)
class Labelled:
    """A list's element for each source repetition (no label) or for each run of the document."""

    name: str
    prefix: str
    label: str
    choices: Choices = field(default_factory=dict, compare=False)
    """Those of the objects that it takes."""

    def enter(self, into: Object, frame: Frame, key: Key) -> Object:
        """The object at this step of a path; made where there is none. `key` tells source repetitions apart."""
        labels = frame.labels
        if labels is None:
            labels = frame.labels = {}
        place = (self.prefix, self.label or key, id(into))
        inner = labels.get(place)
        if inner is None:
            inner = labels[place] = {}
            _list(into, self.name).append(inner)
        return inner

    def put(self, into: Object, value: Json, frame: Frame, key: Key) -> Json:
        """Put a value at the end of a path; returns what stands there then."""
        if isinstance(value, list):
            _list(into, self.name).extend(value)
            return value
        if not isinstance(value, dict):
            _list(into, self.name).append(value)
            return value
        labels = frame.labels
        if labels is None:
            labels = frame.labels = {}
        place = (self.prefix, self.label or key, id(into))
        old = labels.get(place)
        if old is None:
            labels[place] = value
            _list(into, self.name).append(value)
            return value
        _lay(old, value, frame, self.choices)
        return old


@dataclass(frozen=True, slots=True)
class Indexed:
    """A list's element at a fixed place."""

    name: str
    index: int
    choices: Choices = field(default_factory=dict, compare=False)
    """Those of the objects that it takes."""

    def enter(self, into: Object, frame: Frame, key: Key) -> Object:
        """The object at this step of a path; made where there is none. `key` tells source repetitions apart."""
        found = self._padded(into, frame)
        inner = found[self.index]
        if inner is None:
            inner = found[self.index] = {}
        return inner  # type: ignore[return-value]  # the path was checked: an element with parts

    def put(self, into: Object, value: Json, frame: Frame, key: Key) -> Json:
        """Put a value at the end of a path; returns what stands there then."""
        found = self._padded(into, frame)
        old = found[self.index]
        if isinstance(old, dict) and isinstance(value, dict):
            _lay(old, value, frame, self.choices)
            return old
        if old is not None and old != value:
            frame.env.discard(old)
        found[self.index] = value
        return value

    def _padded(self, into: Object, frame: Frame) -> list[Json]:
        found = _list(into, self.name)
        missing = self.index + 1 - len(found)
        if missing > 0:
            found.extend([None] * missing)
            if missing > 1:
                frame.env.has_gaps = True
        return found


@dataclass(frozen=True, slots=True)
class ExtensionWay:
    """The extension with an url."""

    name: str
    url: str
    choices: Choices = field(default_factory=dict, compare=False)
    """Those of the objects that it takes."""

    def enter(self, into: Object, frame: Frame, key: Key) -> Object:
        """The object at this step of a path; made where there is none. `key` tells source repetitions apart."""
        found = _list(into, self.name)
        for one in found:
            if isinstance(one, dict) and one.get("url") == self.url:
                return one
        made: Object = {"url": self.url}
        found.append(made)
        return made

    def put(self, into: Object, value: Json, frame: Frame, key: Key) -> Json:
        """Put a value at the end of a path; returns what stands there then."""
        inner = self.enter(into, frame, key)
        if isinstance(value, dict):
            _lay(inner, value, frame, self.choices)
        return inner


@dataclass(frozen=True, slots=True)
class This:
    """The filled object itself."""

    others: Choices

    def enter(self, into: Object, frame: Frame, key: Key) -> Object:
        """The object at this step of a path; made where there is none. `key` tells source repetitions apart."""
        return into

    def put(self, into: Object, value: Json, frame: Frame, key: Key) -> Json:
        """Put a value at the end of a path; returns what stands there then."""
        if isinstance(value, dict):
            _lay(into, value, frame, self.others)
            return into
        into[VALUE] = value
        return value


Way = KeyWay | Labelled | Indexed | ExtensionWay | This


def _list(into: Object, name: str) -> list[Json]:
    found = into.get(name)
    if found is None:
        found = into[name] = []
    return found  # type: ignore[return-value]  # the path was checked: a list


def _clear(into: Object, others: frozenset[str], frame: Frame) -> None:
    for name in sorted(others):
        if name in into:
            old = into.pop(name)
            frame.env.discard(old)
            frame.env.issue(
                Severity.WARNING,
                IssueCode.AMBIGUOUS,
                frame.address,
                detail=f"{name} gives way to another type of value",
            )


class Target:
    """A compiled path. `element` is what it ends at; None for `$this`."""

    __slots__ = ("element", "inner", "is_list", "last", "last_owner", "needs_key", "owner", "text")

    def __init__(self, text: str, owner: str, element: Element | None, steps: list[Way]) -> None:
        self.text = text
        self.owner = owner
        self.last_owner = owner
        """The type that has the last element."""
        self.element = element
        self.inner = tuple(steps[:-1])
        self.last = steps[-1]
        self.needs_key = any(isinstance(one, Labelled) and not one.label for one in steps)
        self.is_list = isinstance(self.last, Labelled)

    @property
    def type(self) -> str:
        """The FHIR type of the values that it takes."""
        return self.element.type if self.element else self.owner

    def write(self, frame: Frame, value: Json, key: Key) -> tuple[object, object, Json]:
        """Put a value in its place; returns the container that has it then, the key in it, and the object there."""
        into, last = frame.out, self.last
        for step in self.inner:
            into = step.enter(into, frame, key)
        placed = last.put(into, value, frame, key)
        if placed is not value and isinstance(value, dict):
            frame.env.moved[id(value)] = (value, placed)
        if isinstance(last, This):
            return into, VALUE if placed is value else "", placed
        if isinstance(last, KeyWay):
            return into, last.name, placed
        found = into[last.name]
        return found, index_of(placed, found), placed


def index_of(placed: object, found: object) -> int:
    """Where in a list an object stands, the last place first."""
    if isinstance(found, list):
        for i in range(len(found) - 1, -1, -1):
            if found[i] is placed:
                return i
    return 0


def compile_target(text: str, owner: str, shapes: Shapes, where: str) -> Target:
    """Check a path against the elements of a type. Raises `TablesError`, which names the elements that there are."""
    if text == THIS:
        return Target(text, owner, None, [This(shapes.choices(owner))])
    steps: list[Way] = []
    kind, last_owner, at, element = owner, owner, 0, None
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise TablesError(
                f"{where}: to: {text!r}; a path such as name[].given[] or extension[url=…].valueCode is expected"
            )
        element = _element(kind, found["name"], shapes, f"{where}: to: {text!r}")
        steps.append(
            _step(
                found,
                element,
                kind,
                text[: found.end()].rstrip("."),
                shapes,
                f"{where}: to: {text!r}",
            )
        )
        last_owner, kind, at = kind, element.type, found.end()
    if element is None or text.endswith("."):
        raise TablesError(f"{where}: to: {text!r}; the path ends without an element")
    target = Target(text, owner, element, steps)
    target.last_owner = last_owner
    return target


def _element(kind: str, name: str, shapes: Shapes, where: str) -> Element:
    if kind == "_":
        if name == "extension":
            return _PRIMITIVE_EXTENSION
        raise TablesError(f"{where}: a primitive has only 'extension'")
    elements = shapes.types.get(kind)
    if elements is None:
        raise TablesError(f"{where}: {kind!r} has no elements{nearest(kind, shapes.types)}")
    plain = name.removeprefix("_")
    element = elements.get(plain)
    if element is None:
        hint = nearest(plain, elements) or f" (it has {', '.join(sorted(elements))})"
        raise TablesError(f"{where}: {kind} has no element {plain!r}{hint}")
    if name == plain:
        return element
    if not element.is_primitive or element.is_list:
        raise TablesError(f"{where}: {name}: only single primitives are written with '_'")
    return Element(name=name, type="_", is_list=False, is_required=False)


def _step(
    found: re.Match[str], element: Element, kind: str, prefix: str, shapes: Shapes, where: str
) -> Way:
    name = element.name
    has_index = "[" in found[0]
    if element.is_list and not has_index:
        raise TablesError(f"{where}: {name} is a list: write {name}[], {name}[0] or {name}[label]")
    if has_index and not element.is_list:
        raise TablesError(f"{where}: {name} is no list: leave out the index")
    choices = shapes.choices(element.type)
    if not has_index:
        return KeyWay(name, shapes.others(kind, element), choices)
    if found["url"] is not None:
        if element.type != "Extension":
            raise TablesError(f"{where}: only extensions are found by url")
        return ExtensionWay(name, found["url"], choices)
    if found["index"] is not None:
        return Indexed(name, int(found["index"]), choices)
    return Labelled(name, prefix, found["label"] or "", choices)


__all__ = [
    "THIS",
    "VALUE",
    "ExtensionWay",
    "Indexed",
    "Key",
    "KeyWay",
    "Labelled",
    "Object",
    "Target",
    "This",
    "Way",
    "compile_target",
    "copied",
    "index_of",
    "merge",
]
