"""Functions of elements: types, children, extensions, references; the clock (FHIRPath 2.0 §5, §6.3; FHIR §2.9)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from schemas.fhirpath import navigate
from schemas.fhirpath.environment import Environment, Step
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.registry import Function, Scope, boolean, single, text, whole
from schemas.fhirpath.quantity import Quantity, common, quantity_of
from schemas.fhirpath.temporal import Temporal, parse_date_time
from schemas.fhirpath.tree import Call
from schemas.fhirpath.values import Element, Items, plain


def _type_test(exactly: bool) -> Function:
    def build(scope: Scope, call: Call) -> Step:
        namespace, name = scope.type_name(call.arguments[0])
        return filter_step(namespace, name, single_only=exactly)

    return Function(1, 1, build)


def filter_step(namespace: str, name: str, *, single_only: bool) -> Step:
    """Keeps the items of a type; `single_only` (`as`) takes one item at most."""

    def step(items: Items, env: Environment) -> Items:
        if single_only and len(items) > 1:
            raise PathFailed(Failure.SINGLETON, "as")
        env.spend(len(items))
        return [item for item in items if navigate.has_type(item, namespace, name, exactly=True)]

    return step


def is_step(namespace: str, name: str) -> Step:
    """Whether the only item is of a type."""

    def step(items: Items, env: Environment) -> Items:
        if len(items) > 1:
            raise PathFailed(Failure.SINGLETON, "is")
        if not items:
            return items
        return boolean(navigate.has_type(items[0], namespace, name, exactly=False))

    return step


def _is(scope: Scope, call: Call) -> Step:
    return is_step(*scope.type_name(call.arguments[0]))


def _type(items: Items, env: Environment) -> Items:
    found = [navigate.type_of(item) for item in items]
    return [{"namespace": one[0], "name": one[1]} for one in found if one is not None]


def _children(scope: Scope, call: Call) -> Step:
    return navigate.children(scope.model)


def _descendants(scope: Scope, call: Call) -> Step:
    children = navigate.children(scope.model)

    def step(items: Items, env: Environment) -> Items:
        out: Items = []
        pending = items
        while pending:
            pending = children(pending, env)
            out.extend(pending)
        return out

    return step


def _extension(scope: Scope, call: Call) -> Step:
    url_of = scope.expression(call.arguments[0])
    extensions = navigate.typed_member("extension", scope.model)

    def step(items: Items, env: Environment) -> Items:
        url = text(url_of(env), "extension()")
        found = extensions(items, env) if url is not None else []
        return [
            one
            for one in found
            if isinstance(value := plain(one), dict) and value.get("url") == url
        ]

    return step


def _value(items: Items) -> object:
    value = plain(items[0]) if len(items) == 1 else None
    return None if isinstance(value, dict) else value


def _has_value(items: Items, env: Environment) -> Items:
    return boolean(_value(items) is not None)


def _get_value(items: Items, env: Environment) -> Items:
    return items if _value(items) is not None else []


def _comparable(scope: Scope, call: Call) -> Step:
    other = scope.expression(call.arguments[0])

    def quantity(items: Items) -> Quantity | None:
        value = single(items, "comparable()")
        return (
            quantity_of(value)
            if isinstance(value, dict)
            else value
            if isinstance(value, Quantity)
            else None
        )

    def step(items: Items, env: Environment) -> Items:
        left, right = quantity(items), quantity(other(env))
        if left is None or right is None:
            return []
        return boolean(common(left, right) is not None)

    return step


def _resolve(items: Items, env: Environment) -> Items:
    """References to what is contained in the resource, or stands in the bundle; nothing is fetched."""
    out: Items = []
    known: dict[str, Element] | None = None
    for item in items:
        value = plain(item)
        reference = value.get("reference") if isinstance(value, dict) else value
        if isinstance(reference, str):
            known = _targets(env) if known is None else known
            target = known.get(reference)
            if target is not None:
                out.append(target)
    return out


def _targets(env: Environment) -> dict[str, Element]:
    found: dict[str, Element] = {}
    root = plain(env.root[0]) if env.root else None
    if not isinstance(root, dict):
        return found
    for contained in _dicts(root.get("contained")):
        env.spend(1)
        found.setdefault(f"#{contained.get('id')}", navigate.typed_root(contained))
    found["#"] = navigate.typed_root(root)
    for entry in _dicts(root.get("entry")):
        env.spend(1)
        resource = entry.get("resource")
        if isinstance(resource, dict):
            element = navigate.typed_root(resource)
            found.setdefault(f"{resource.get('resourceType')}/{resource.get('id')}", element)
            found.setdefault(str(entry.get("fullUrl")), element)
    return found


def _dicts(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _clock(kind: str) -> Function:
    def build(scope: Scope, call: Call) -> Step:
        scope.needs_clock()

        def step(items: Items, env: Environment) -> Items:
            if env.now is None:
                raise PathFailed(Failure.CLOCK, f"{call.name}()", "the caller gave no time")
            return [_present(env.now, kind)]

        return step

    return Function(0, 0, build)


def _present(now: datetime, kind: str) -> Temporal:
    found = parse_date_time(now.isoformat(timespec="milliseconds"))
    if found is None:
        raise PathFailed(Failure.CLOCK, "now()", "its zone has seconds")
    if kind == "Date":
        return Temporal("Date", found.fields[:3])
    if kind == "Time":
        return Temporal("Time", found.fields[3:], found.fraction)
    return found


ELEMENTS: Final[dict[str, Function]] = {
    "is": Function(1, 1, _is),
    "as": _type_test(exactly=True),
    "ofType": _type_test(exactly=False),
    "type": whole(_type),
    "children": Function(0, 0, _children),
    "descendants": Function(0, 0, _descendants),
    "extension": Function(1, 1, _extension),
    "hasValue": whole(_has_value),
    "getValue": whole(_get_value),
    "comparable": Function(1, 1, _comparable),
    "resolve": whole(_resolve),
    "now": _clock("DateTime"),
    "today": _clock("Date"),
    "timeOfDay": _clock("Time"),
}


__all__ = ["ELEMENTS", "filter_step", "is_step"]
