"""Functions of texts (FHIRPath 2.0 §5.6)."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from typing import Final

from schemas.fhirpath.environment import Environment, Step
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.registry import (
    MAX_TEXT,
    Function,
    Scope,
    boolean,
    bounded,
    integer,
    text,
    whole,
)
from schemas.fhirpath.regex import Pattern, compile_pattern
from schemas.fhirpath.tree import Call, Literal
from schemas.fhirpath.values import Items

_Change = Callable[[str, list[str], Environment], Items]


def _of_texts(name: str, arguments: int, change: _Change) -> Function:
    """A function of a text and of text arguments; empty when one of them is."""

    def build(scope: Scope, call: Call) -> Step:
        bodies = [scope.expression(argument) for argument in call.arguments]

        def step(items: Items, env: Environment) -> Items:
            value = text(items, f"{name}()")
            given = [text(body(env), f"{name}()") for body in bodies]
            present = [one for one in given if one is not None]
            if value is None or len(present) != len(given):
                return []
            env.spend(len(value) // 64)
            return change(value, present, env)

        return step

    return Function(arguments, arguments, build)


def _replace(value: str, given: list[str], env: Environment) -> Items:
    old, new = given
    pieces = value.count(old)
    if len(value) + pieces * len(new) > MAX_TEXT:
        raise PathFailed(Failure.SIZE, "replace()", f"at most {MAX_TEXT} characters")
    return bounded(value.replace(old, new), env, "replace()")


def _split(value: str, given: list[str], env: Environment) -> Items:
    found: Items = list(value.split(given[0]) if given[0] else value)
    env.spend(len(found))
    return found


def _to_chars(items: Items, env: Environment) -> Items:
    value = text(items, "toChars()")
    env.spend(len(value or ""))
    return list(value or "")


def _length(items: Items, env: Environment) -> Items:
    value = text(items, "length()")
    return [] if value is None else [len(value)]


def _substring(scope: Scope, call: Call) -> Step:
    start = scope.expression(call.arguments[0])
    length = scope.expression(call.arguments[1]) if len(call.arguments) > 1 else None

    def step(items: Items, env: Environment) -> Items:
        value = text(items, "substring()")
        at = integer(start(env), "substring()")
        if value is None or at is None or not 0 <= at < len(value):
            return []
        count = integer(length(env), "substring()") if length else None
        return [value[at:] if count is None else value[at : at + max(count, 0)]]

    return step


def _join(scope: Scope, call: Call) -> Step:
    separator = scope.expression(call.arguments[0]) if call.arguments else None

    def step(items: Items, env: Environment) -> Items:
        between = (text(separator(env), "join()") if separator else "") or ""
        parts = [part for part in (text([item], "join()") for item in items) if part is not None]
        if sum(map(len, parts)) + len(between) * len(parts) > MAX_TEXT:
            raise PathFailed(Failure.SIZE, "join()", f"at most {MAX_TEXT} characters")
        return bounded(between.join(parts), env, "join()") if items else []

    return step


def _pattern(scope: Scope, call: Call) -> Callable[[Environment], Pattern | None]:
    """The pattern of a call: compiled at once when it is written in the path."""
    node = call.arguments[0]
    if isinstance(node, Literal) and isinstance(node.value, str):
        try:
            fixed = compile_pattern(node.value)
        except ValueError as err:
            raise scope.error(str(err), call.position) from None
        return lambda env: fixed
    body = scope.expression(node)

    def found(env: Environment) -> Pattern | None:
        value = text(body(env), f"{call.name}()")
        try:
            return None if value is None else compile_pattern(value)
        except ValueError:
            raise PathFailed(Failure.TYPE, f"{call.name}()", "the pattern is not allowed") from None

    return found


def _matches(whole_text: bool) -> Function:
    def build(scope: Scope, call: Call) -> Step:
        pattern_of = _pattern(scope, call)

        def step(items: Items, env: Environment) -> Items:
            value = text(items, f"{call.name}()")
            pattern = pattern_of(env)
            if value is None or pattern is None:
                return []
            env.spend(len(value) * pattern.size // 8 + 1)
            return boolean(pattern.fits(value) if whole_text else pattern.occurs(value))

        return step

    return Function(1, 1, build)


def _replace_matches(scope: Scope, call: Call) -> Step:
    pattern_of = _pattern(scope, call)
    new = scope.expression(call.arguments[1])

    def step(items: Items, env: Environment) -> Items:
        value = text(items, "replaceMatches()")
        pattern, replacement = pattern_of(env), text(new(env), "replaceMatches()")
        if value is None or pattern is None or replacement is None:
            return []
        env.spend(len(value) * pattern.size // 8 + 1)
        if len(value) * (len(replacement) + 1) > MAX_TEXT:
            raise PathFailed(Failure.SIZE, "replaceMatches()", f"at most {MAX_TEXT} characters")
        return bounded(pattern.replace(value, replacement, env.spend), env, "replaceMatches()")

    return step


def _coded(name: str, forms: dict[str, Callable[[str], str]]) -> Function:
    def change(value: str, given: list[str], env: Environment) -> Items:
        form = forms.get(given[0])
        try:
            return [] if form is None else bounded(form(value), env, f"{name}()")
        except (ValueError, binascii.Error):
            return []

    return _of_texts(name, 1, change)


_JSON_ESCAPE: Final = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\/bfnrt])')


def _from_json(value: str) -> str:
    return _JSON_ESCAPE.sub(lambda found: str(json.loads(f'"{found[0]}"')), value)


_ENCODE: Final[dict[str, Callable[[str], str]]] = {
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "urlbase64": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "hex": lambda value: value.encode().hex(),
}
_DECODE: Final[dict[str, Callable[[str], str]]] = {
    "base64": lambda value: base64.b64decode(value, validate=True).decode(),
    "urlbase64": lambda value: base64.b64decode(value, b"-_", validate=True).decode(),
    "hex": lambda value: bytes.fromhex(value).decode(),
}

TEXTS: Final[dict[str, Function]] = {
    "startsWith": _of_texts("startsWith", 1, lambda v, a, env: boolean(v.startswith(a[0]))),
    "endsWith": _of_texts("endsWith", 1, lambda v, a, env: boolean(v.endswith(a[0]))),
    "contains": _of_texts("contains", 1, lambda v, a, env: boolean(a[0] in v)),
    "indexOf": _of_texts("indexOf", 1, lambda v, a, env: [v.find(a[0])]),
    "lastIndexOf": _of_texts("lastIndexOf", 1, lambda v, a, env: [v.rfind(a[0])]),
    "upper": _of_texts("upper", 0, lambda v, a, env: bounded(v.upper(), env, "upper()")),
    "lower": _of_texts("lower", 0, lambda v, a, env: bounded(v.lower(), env, "lower()")),
    "trim": _of_texts("trim", 0, lambda v, a, env: [v.strip()]),
    "replace": _of_texts("replace", 2, _replace),
    "split": _of_texts("split", 1, _split),
    "encode": _coded("encode", _ENCODE),
    "decode": _coded("decode", _DECODE),
    "escape": _coded("escape", {"html": html.escape, "json": lambda v: json.dumps(v)[1:-1]}),
    "unescape": _coded("unescape", {"html": html.unescape, "json": _from_json}),
    "toChars": whole(_to_chars),
    "length": whole(_length),
    "substring": Function(1, 2, _substring),
    "join": Function(0, 1, _join),
    "matches": _matches(whole_text=False),
    "matchesFull": _matches(whole_text=True),
    "replaceMatches": Function(2, 2, _replace_matches),
}


__all__ = ["TEXTS"]
