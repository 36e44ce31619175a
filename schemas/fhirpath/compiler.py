"""A path's tree to closures. Whatever can be decided from the text alone is decided here, once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Final

from schemas.fhirpath import navigate, operators
from schemas.fhirpath.environment import Environment, Expression, Step, Truth
from schemas.fhirpath.errors import Failure, FhirPathError, PathFailed
from schemas.fhirpath.functions import FUNCTIONS
from schemas.fhirpath.functions.elements import filter_step, is_step
from schemas.fhirpath.functions.registry import NOTHING, boolean, integer
from schemas.fhirpath.functions.sets import distinct
from schemas.fhirpath.shape import asks_types, height, literal_texts, member_of_focus
from schemas.fhirpath.tree import (
    Binary,
    Call,
    Chain,
    Index,
    Literal,
    Member,
    Negative,
    Node,
    Several,
    Special,
    TypeTest,
    Variable,
)
from schemas.fhirpath.tree import Step as Part
from schemas.fhirpath.types import FHIR_TYPES, SYSTEM_TYPES, TypeModel, choice_of
from schemas.fhirpath.values import Items

MAX_HEIGHT: Final = 64
_ROOTS: Final = frozenset(("resource", "rootResource", "context"))
_CONSTANTS: Final = {
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "ucum": "http://unitsofmeasure.org",
}
_PREFIXES: Final = {
    "vs-": "http://hl7.org/fhir/ValueSet/",
    "ext-": "http://hl7.org/fhir/StructureDefinition/",
}


class Compiler:
    """Compiles one tree. Implements the `Scope` that functions compile their arguments by."""

    def __init__(self, text: str, tree: Node, model: TypeModel | None) -> None:
        self._text = text
        self._model = model
        self._tree = tree
        self.is_typed = model is not None or asks_types(tree)
        self.variables: set[str] = set()
        self.asks_clock = False

    @property
    def model(self) -> TypeModel | None:
        """The release's elements, where the caller gave them."""
        return self._model

    def needs_clock(self) -> None:
        """Note that the path asks for the present."""
        self.asks_clock = True

    def error(self, detail: str, position: int) -> FhirPathError:
        """An error that shows a place."""
        return FhirPathError(detail, self._text, position)

    def compile(self) -> Expression:
        """The whole path. Raises `FhirPathError`."""
        if height(self._tree) > MAX_HEIGHT:
            raise self.error(f"parts are nested deeper than {MAX_HEIGHT}", 0)
        return self.expression(self._tree)

    def expression(self, node: Node) -> Expression:
        """Compile to a function that gives a collection."""
        match node:
            case Literal(value):
                fixed: Items = [] if value is None else [value]
                return lambda env: fixed
            case Variable():
                return self._variable(node)
            case Special(name):
                return _SPECIALS[name]
            case Chain():
                return self._chain(node)
            case Negative(operand):
                return operators.negative(self.expression(operand))
            case Several("|", parts):
                return self._union(parts)
            case TypeTest(operator, operand, type_name, position):
                return self._type_test(operator, operand, type_name, position)
            case Binary(operator) if operator in operators.VALUES:
                left, right = self.expression(node.left), self.expression(node.right)
                return operators.VALUES[operator](left, right)
            case _:
                test = self.truth(node)
                return lambda env: boolean(test(env))

    def truth(self, node: Node, *, strictly: bool = False) -> Truth:
        """Compile to a function that gives true, false or None. `strictly`: only booleans, no other single item."""
        match node:
            case Several("and", parts):
                return operators.every([self.truth(part) for part in parts])
            case Several("or", parts):
                return operators.some([self.truth(part) for part in parts])
            case Binary(("xor" | "implies") as operator):
                left_truth, right_truth = self.truth(node.left), self.truth(node.right)
                return operators.LOGIC[operator](left_truth, right_truth)
            case Binary("=" | "!="):
                test = self._equality(node)
                return operators.negated(test) if node.operator == "!=" else test
            case Binary(operator) if operator in operators.TESTS:
                return self._test(node)
            case _:
                return operators.truth(self.expression(node), strictly=strictly)

    def _test(self, node: Binary) -> Truth:
        left, right = self.expression(node.left), self.expression(node.right)
        test = operators.TESTS[node.operator](left, right)
        texts = literal_texts(node.right)
        return (
            test
            if node.operator != "in" or texts is None
            else operators.in_texts(left, texts, test)
        )

    def _equality(self, node: Binary) -> Truth:
        """`=`; a text beside an element of the focus, the commonest filter, is compared at once."""
        left, right = node.left, node.right
        if isinstance(left, Literal) and not isinstance(right, Literal):
            left, right = right, left
        general = operators.equals(self.expression(left), self.expression(right))
        if not isinstance(right, Literal) or not isinstance(right.value, str):
            return general
        name = member_of_focus(left)
        if name is not None and not self.is_typed and choice_of(name) is None:
            return operators.focus_equals(name, right.value, general)
        return operators.equals_text(self.expression(left), right.value)

    def _variable(self, node: Variable) -> Expression:
        name = node.name
        if name in _ROOTS:
            return lambda env: env.root
        constant = _CONSTANTS.get(name)
        for prefix, base in _PREFIXES.items():
            if name.startswith(prefix):
                constant = base + name.removeprefix(prefix)
        if constant is not None:
            fixed: Items = [constant]
            return lambda env: fixed
        self.variables.add(name)

        def found(env: Environment) -> Items:
            value = env.variables.get(name)
            if value is None:
                raise PathFailed(Failure.VARIABLE, f"%{name}", "the caller gave no such variable")
            return value

        return found

    def _union(self, parts: Iterable[Node]) -> Expression:
        bodies = [self.expression(part) for part in parts]

        def union(env: Environment) -> Items:
            together: Items = []
            for body in bodies:
                together.extend(body(env))
            return distinct(together, env)

        if all(isinstance(part, Literal) for part in parts):
            fixed = union(Environment([], {}, None, 10_000))
            return lambda env: fixed
        return union

    def _chain(self, chain: Chain) -> Expression:
        start = self.expression(chain.start) if chain.start is not None else None
        steps = []
        for at, part in enumerate(_fused(chain.steps)):
            steps.append(self._step(part, is_first=at == 0 and start is None))
        if len(steps) == 1 and start is None:
            only = steps[0]
            return lambda env: only(env.this, env)

        def run(env: Environment) -> Items:
            items = env.this if start is None else start(env)
            for step in steps:
                items = step(items, env)
            return items

        return run

    def _step(self, part: Part, *, is_first: bool) -> Step:
        match part:
            case Member(name, position):
                return self._member(name, position, is_first=is_first)
            case Call():
                return self._call(part)
            case Index(index, _):
                return _indexed(self.expression(index))

    def _member(self, name: str, position: int, *, is_first: bool) -> Step:
        if is_first and name[:1].isupper():
            if name not in FHIR_TYPES:
                raise self.error(_unknown("type", name, FHIR_TYPES), position)
            return navigate.type_filter(name)
        choice = choice_of(name)
        if choice is not None:
            detail = f"{name!r} is how JSON writes a choice; write {choice[0]}.ofType({choice[1]})"
            raise self.error(detail, position)
        return navigate.typed_member(name, self._model) if self.is_typed else navigate.member(name)

    def _call(self, call: Call) -> Step:
        function = FUNCTIONS.get(call.name)
        if function is None:
            raise self.error(_unknown("function", f"{call.name}()", _CALLS), call.position)
        if not function.least <= len(call.arguments) <= function.most:
            allowed = f"{function.least} to {function.most}"
            if function.least == function.most:
                allowed = f"{function.least}"
            detail = f"{call.name}() takes {allowed} arguments, not {len(call.arguments)}"
            raise self.error(detail, call.position)
        return function.build(self, call)

    def _type_test(self, operator: str, operand: Node, name: str, position: int) -> Expression:
        body = self.expression(operand)
        namespace, name = self._checked_type(name, position)
        step = (
            is_step(namespace, name)
            if operator == "is"
            else filter_step(namespace, name, single_only=True)
        )
        return lambda env: step(body(env), env)

    def type_name(self, node: Node) -> tuple[str, str]:
        """Namespace and name of a type that an argument names. Raises `FhirPathError`."""
        if isinstance(node, Chain) and node.start is None:
            members = [step for step in node.steps if isinstance(step, Member)]
            if len(members) == len(node.steps):
                name = ".".join(member.name for member in members)
                return self._checked_type(name, members[0].position)
        raise self.error("a type's name is expected as the argument", 0)

    def _checked_type(self, name: str, position: int) -> tuple[str, str]:
        namespace, _, plain = name.rpartition(".")
        known = {
            "": FHIR_TYPES | SYSTEM_TYPES,
            "FHIR": FHIR_TYPES,
            "System": SYSTEM_TYPES | FHIR_TYPES,
        }.get(namespace)
        if known is None or plain not in known:
            raise self.error(_unknown("type", plain, FHIR_TYPES | SYSTEM_TYPES), position)
        return namespace, plain


_CALLS: Final = [f"{name}()" for name in FUNCTIONS]
_SPECIALS: Final[dict[str, Callable[[Environment], Items]]] = {
    "$this": lambda env: env.this,
    "$index": lambda env: [env.index],
    "$total": lambda env: env.total,
}


def _fused(steps: tuple[Part, ...]) -> list[Part]:
    """`where(x).exists()` as `exists(x)`, which stops at the first item that fits."""
    out: list[Part] = []
    for step in steps:
        last = out[-1] if out else None
        is_plain_exists = isinstance(step, Call) and step.name == "exists" and not step.arguments
        if is_plain_exists and isinstance(last, Call) and last.name == "where":
            out[-1] = Call("exists", last.arguments, last.position)
        else:
            out.append(step)
    return out


def _indexed(index: Expression) -> Step:
    def step(items: Items, env: Environment) -> Items:
        at = integer(index(env), "[]")
        return NOTHING if at is None or not 0 <= at < len(items) else [items[at]]

    return step


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:80], sorted(known), 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{what} {name[:80]} is not in the subset{hint}"


__all__ = ["Compiler"]
