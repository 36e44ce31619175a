"""Compiled paths: what users call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from schemas.fhirpath.check import check
from schemas.fhirpath.compare import system
from schemas.fhirpath.compiler import Compiler
from schemas.fhirpath.environment import Environment, Expression
from schemas.fhirpath.errors import Failure, PathFailed
from schemas.fhirpath.functions.conversions import to_text
from schemas.fhirpath.navigate import typed_root
from schemas.fhirpath.parser import parse
from schemas.fhirpath.types import TypeModel
from schemas.fhirpath.values import Items, Json, plain, to_json

MAX_STEPS: Final = 1_000_000
"""Items that one evaluation may touch: a bundle of 10 000 resources fits, a hostile path over it does not."""


class Path:
    """A compiled path. Immutable, and safe to share between threads.

    Each call takes a resource as plain JSON values (never changed) and returns what the path finds. It raises only
    `PathFailed`: for what the specification calls an error, for a variable or clock that the caller did not give, and
    for work beyond `MAX_STEPS`.
    """

    __slots__ = ("_is_typed", "_run", "_steps", "needs_clock", "source", "variables")

    def __init__(self, source: str, run: Expression, compiler: Compiler, steps: int) -> None:
        self.source = source
        """The path's text."""
        self.variables = frozenset(compiler.variables)
        """Names of the variables that the caller has to give."""
        self.needs_clock = compiler.asks_clock
        """Whether it asks for the present (`now()`), which the caller has to give."""
        self._run = run
        self._is_typed = compiler.is_typed
        self._steps = steps

    def __repr__(self) -> str:
        return f"Path({self.source!r})"

    def __call__(
        self,
        resource: Mapping[str, object],
        variables: Mapping[str, object] | None = None,
        *,
        now: datetime | None = None,
    ) -> list[Json]:
        """What the path finds, as JSON values. An element without a value (only extensions) is left out.

        Dates come as their text, calculated quantities as FHIR Quantity, calculated numbers as `int` or `Decimal`.
        """
        found = [to_json(item) for item in self._items(resource, variables, now)]
        return [value for value in found if value is not None]

    def test(
        self,
        resource: Mapping[str, object],
        variables: Mapping[str, object] | None = None,
        *,
        now: datetime | None = None,
    ) -> bool:
        """Whether a filter lets a resource pass: the one boolean found, or else whether anything was found."""
        items = self._items(resource, variables, now)
        if len(items) != 1:
            if any(type(plain(item)) is bool for item in items):
                raise PathFailed(Failure.SINGLETON, "a filter", "several booleans")
            return bool(items)
        value = plain(items[0])
        return value if isinstance(value, bool) else True

    def text(
        self,
        resource: Mapping[str, object],
        variables: Mapping[str, object] | None = None,
        *,
        now: datetime | None = None,
    ) -> str | None:
        """The text of the first item with a simple value, or None. Numbers keep the text the resource has for them."""
        for item in self._items(resource, variables, now):
            value = plain(item)
            if isinstance(value, str):
                return str(value)
            found = None if isinstance(value, dict) else to_text(system(value))
            if found is not None:
                return found
        return None

    def _items(
        self,
        resource: Mapping[str, object],
        variables: Mapping[str, object] | None,
        now: datetime | None,
    ) -> Items:
        plain_resource = resource if type(resource) is dict else dict(resource)
        root: Items = [typed_root(plain_resource) if self._is_typed else plain_resource]
        given = {name: _collection(value) for name, value in variables.items()} if variables else {}
        return self._run(Environment(root, given, now, self._steps))


def compile_path(
    text: str,
    *,
    model: TypeModel | None = None,
    context: str | None = None,
    steps: int = MAX_STEPS,
) -> Path:
    """Compile a path of the subset (docs/how-to/fhirpath.md). Raises `FhirPathError`, which shows the place.

    `model`: the elements of a release. With it, types are known exactly, and names are checked where the type of what
    they stand on is known: from `context`, a resource type, or from a type that begins the path.
    `steps`: items that one evaluation may touch.
    """
    tree = parse(text)
    compiler = Compiler(text, tree, model)
    run = compiler.compile()
    if model is not None:
        check(text, tree, model, context)
    return Path(text, run, compiler, steps)


def _collection(value: object) -> Items:
    if value is None:
        return []
    return [one for one in value if one is not None] if isinstance(value, list) else [value]


__all__ = ["MAX_STEPS", "Path", "compile_path"]
