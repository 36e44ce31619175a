"""Documents to programs: every path, name, type and condition is checked here, so that nothing of it can fail later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from adapters.hl7v2.mapping import emitting
from adapters.hl7v2.mapping.coding import Lookup
from adapters.hl7v2.mapping.conditions import (
    FramePaths,
    Test,
    compile_condition,
    constants_of,
    valued_of,
)
from adapters.hl7v2.mapping.constants import check_constant
from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.frames import Frame, Naming, Step
from adapters.hl7v2.mapping.functions import CODED, FUNCTIONS
from adapters.hl7v2.mapping.makers import (
    Maker,
    creating_maker,
    document_maker,
    function_maker,
)
from adapters.hl7v2.mapping.memory import Memory
from adapters.hl7v2.mapping.model import Document, Rule, Tables
from adapters.hl7v2.mapping.rules import (
    always,
    compile_read,
    each,
    each_when,
    emit_const,
    emit_ref,
    guarded,
    maker_emit,
    with_default,
    write_reference,
)
from adapters.hl7v2.mapping.shapes import PRIMITIVES, QUANTITIES, Shapes
from adapters.hl7v2.mapping.sources import Kind, Source, parse_source
from adapters.hl7v2.mapping.steps import Program, Wants
from adapters.hl7v2.mapping.targets import THIS, Target, compile_target

_ZONED: Final = frozenset({"dateTime", "instant"})
_SWITCH_FROM: Final = 3
"""So many rules that test the same field make a look-up worth it."""


class Compiler:
    """Compiles documents of one set of tables, each once."""

    def __init__(self, tables: Tables, shapes: Shapes) -> None:
        self._tables = tables
        self._shapes = shapes
        self._programs: dict[str, Program] = {}
        self._asked: list[str] = []
        self.risky: set[tuple[str, str]] = set()
        """Coded elements that a rule may write any code to."""
        self.deciding: set[tuple[str, int]] = set()
        """Segments and fields that conditions look at."""
        self.constants: set[str | int | float] = set()
        """Values that tables give."""
        self.resource_names = {
            name for message in tables.messages.values() for name in message.resources
        }

    def segment(self, name: str, where: str) -> Program:
        """The program of a segment document. Raises `TablesError`."""
        return self._program(name, self._tables.segments, "segment", where)

    def datatype(self, name: str, where: str) -> Program:
        """The program of a data type document. Raises `TablesError`."""
        return self._program(name, self._tables.datatypes, "data type", where)

    def _program(self, name: str, known: Mapping[str, Document], kind: str, where: str) -> Program:
        program = self._programs.get(name)
        if program is not None:
            return program
        document = known.get(name)
        if document is None:
            raise TablesError(f"{where}: no {kind} document {name!r}{nearest(name, known)}")
        if name in self._asked:
            raise TablesError(f"{where}: {name}: a circle of documents")
        self._asked.append(name)
        program = _DocumentCompiler(self, self._tables, self._shapes, document).compile()
        self._asked.pop()
        self._programs[name] = program
        return program


class _DocumentCompiler:
    def __init__(
        self, compiler: Compiler, tables: Tables, shapes: Shapes, document: Document
    ) -> None:
        self._compiler = compiler
        self._tables = tables
        self._shapes = shapes
        self._document = document
        self._is_open = False
        """Whether the rule that is being compiled depends on more than the value."""

    def compile(self) -> Program:
        document = self._document
        if document.target not in self._shapes.types and document.target not in PRIMITIVES:
            hint = nearest(document.target, self._shapes.types)
            raise TablesError(
                f"{document.place}: {document.name}: no type {document.target!r}{hint}"
            )
        rules = list(document.rules.values())
        makers, is_open = [], []
        for rule in rules:
            self._is_open = False
            makers.append(self._rule(rule))
            is_open.append(self._is_open)
        path = self._switch(rules)
        field = parse_source(path, "").field if path else 0
        needs = [
            constants_of(rule.when).get(path) if path and rule.when else None for rule in rules
        ]
        return Program(
            document,
            makers,
            needs,
            [self._wants(rule) for rule in rules],
            field,
            is_open,
        )

    def _wants(self, rule: Rule) -> Wants:
        """What must be valued for a rule to do anything."""
        found = []
        if rule.sources and rule.default is None:
            places = [self._own_place(text) for text in rule.sources]
            if all(places):
                found.append(frozenset(places))
        paths = [*constants_of(rule.when), *valued_of(rule.when)] if rule.when else []
        found.extend(frozenset((place,)) for one in paths if (place := self._own_place(one)))
        return tuple(found)

    def _own_place(self, text: str) -> int:
        """The field of the document's segment, or the component of its value, that a path is about; 0 for others."""
        if not text.startswith((".", f"{self._document.source}-")):
            return 0
        source = parse_source(text, "")
        if self._document.is_segment:
            return source.field if source.kind is Kind.FIELD else 0
        return source.component if source.kind is Kind.RELATIVE else 0

    def _switch(self, rules: Sequence[Rule]) -> str:
        """The field of the segment that most rules compare with constants, if they are many."""
        if not self._document.is_segment:
            return ""
        start = f"{self._document.source}-"
        paths = Counter(
            path
            for rule in rules
            if rule.when
            for path in constants_of(rule.when)
            if path.startswith(start) and path.removeprefix(start).isdigit()
        )
        path, count = paths.most_common(1)[0] if paths else ("", 0)
        return path if count >= _SWITCH_FROM else ""

    def _rule(self, rule: Rule) -> Callable[[], Step]:
        """Check a rule; returns what makes its step."""
        where = f"{rule.place}: {self._document.name}: rule {rule.id}"
        target = compile_target(rule.to, self._document.target, self._shapes, where)
        self._check_place(target, where)
        naming = Naming(
            rule=f"{self._document.name}/{rule.id}",
            layer=rule.place.layer,
            is_constant=rule.const is not None,
        )
        sources = [self._source(text, where) for text in rule.sources]
        if rule.ref or any(one.kind is not Kind.RELATIVE for one in sources):
            self._is_open = True
        test, paths = compile_condition(rule.when, where) if rule.when else (None, None)
        if paths is not None:
            self._note_condition(paths)
        segment = self._document.source if self._document.is_segment else ""
        if not sources:
            return self._plain(rule, target, naming, test, where)
        is_each = paths is not None and paths.is_relative and self._document.is_segment
        if rule.ref:
            self._check_reference(rule, target, where)
        maker = (
            None if rule.const is not None or rule.ref else self._maker(rule, target, naming, where)
        )
        self._check_given(rule, target, maker, where)
        if maker is not None and maker.takes_all:
            self._is_open = True  # it looks at the whole field
        is_plain = len(sources) == 1 and rule.default is None and not rule.ref
        if is_plain and sources[0].kind is not Kind.PARAMETER and not (maker and maker.takes_all):
            return emitting.Rule(
                segment=segment, target=target, naming=naming, source=sources[0], maker=maker,
                const=rule.const, test=test, is_each=is_each,
            ).made  # fmt: skip
        return lambda: self._general(rule, target, sources, naming, maker, test, is_each=is_each)

    def _check_given(self, rule: Rule, target: Target, maker: Maker | None, where: str) -> None:
        """Check what a rule gives: its constant, its default, or the types of its maker."""
        if rule.const is not None:
            self._check_constant(rule.const, target, f"{where}: const")
        if rule.default is not None:
            self._check_constant(rule.default, target, f"{where}: default")
        if maker is None:
            return
        self._note_risk(rule, target)
        if not rule.create:
            self._check_type(maker, target, rule, where)

    def _general(
        self, rule: Rule, target: Target, sources: list[Source], naming: Naming, maker: Maker | None,
        test: Test | None, *, is_each: bool,
    ) -> Step:  # fmt: skip
        """The step of a rule of several sources, with a default, of a setting or to a resource."""
        if maker is not None:
            emit = maker_emit(maker, target, naming)
        elif rule.ref:
            emit = emit_ref(rule.ref, target, naming)
        else:
            emit = emit_const(rule.const, target, naming)
        compiled = [compile_read(one, self._document.source) for one in sources]
        if test is not None and is_each:
            act, test = each_when(compiled, emit, test), None
        else:
            act = each(compiled, emit, first_only=maker is not None and maker.takes_all)
        if rule.default is not None:
            act = with_default(act, rule.default, target, naming)
        return always(act) if test is None else guarded(test, act)

    def _plain(
        self, rule: Rule, target: Target, naming: Naming, test: Test | None, where: str
    ) -> Callable[[], Step]:
        """A rule without a source: a reference or a constant."""
        if not rule.ref:
            self._check_constant(rule.const, target, f"{where}: const")
            return emitting.Rule(
                segment="", target=target, naming=naming, const=rule.const, test=test
            ).made
        self._check_reference(rule, target, where)
        name = rule.ref

        def act(frame: Frame) -> bool:
            return write_reference(frame, name, target, (), naming, frame.view, 0)

        return lambda: always(act) if test is None else guarded(test, act)

    def _maker(self, rule: Rule, target: Target, naming: Naming, where: str) -> Maker:
        name = rule.maker or target.type
        lookup = self._lookup(rule, naming, where)
        if name in _ZONED:
            self._is_open = True
        if "[" not in name:
            if name not in FUNCTIONS and name not in CODED:
                known = [*FUNCTIONS, *CODED]
                raise TablesError(f"{where}: as: no function {name!r}{nearest(name, known)}")
            return function_maker(name, lookup, rule.system)
        program = self._compiler.datatype(name, f"{where}: as")
        kind = program.document.target
        if rule.create:
            self._check_creation(rule, kind, target, where)
            return creating_maker(program.run, kind, program.created)
        is_primitive = kind in PRIMITIVES
        if (lookup or rule.system) and not (is_primitive or kind in CODED):
            raise TablesError(
                f"{where}: 'table' and 'system' need a code, a Coding or a CodeableConcept, not {kind}"
            )
        return document_maker(
            program.run,
            kind,
            lookup,
            rule.system,
            is_primitive=is_primitive,
            memory=_memory_of(program, lookup, rule),
        )

    def _lookup(self, rule: Rule, naming: Naming, where: str) -> Lookup | None:
        if not rule.table:
            return None
        table = self._tables.codes.get(rule.table)
        if table is None:
            hint = nearest(rule.table, self._tables.codes)
            raise TablesError(f"{where}: table: no code table {rule.table!r}{hint}")
        return Lookup(
            table=table,
            unmapped=rule.unmapped or table.unmapped,
            naming=naming,
            keeps_original=rule.original,
        )

    def _source(self, text: str, where: str) -> Source:
        source = parse_source(text, f"{where}: from")
        if source.kind is Kind.RELATIVE and self._document.is_segment:
            raise TablesError(
                f"{where}: from: {text!r}; in a segment document sources name the field"
            )
        return source

    def _note_risk(self, rule: Rule, target: Target) -> None:
        element = target.element
        if element is None or element.codes is None:
            return
        table = self._tables.codes.get(rule.table)
        if table is not None and not rule.maker and element.is_primitive:
            given = [*table.rows.values(), *([table.fallback] if table.fallback else [])]
            if all(row.omit or row.code in element.codes for row in given):
                return
        self._compiler.risky.add((target.last_owner, element.name))

    def _note_condition(self, paths: FramePaths) -> None:
        self._is_open = self._is_open or paths.looks_around
        for source in paths.sources:
            if source.kind is not Kind.RELATIVE:
                self._is_open = True
            if source.kind is Kind.FIELD:
                self._compiler.deciding.add((source.segment, source.field))

    # checks

    def _check_place(self, target: Target, where: str) -> None:
        is_primitive = self._document.target in PRIMITIVES
        if is_primitive != (target.text == THIS) and is_primitive:
            raise TablesError(f"{where}: to: a document of a primitive type writes to {THIS}")

    def _check_type(self, maker: Maker, target: Target, rule: Rule, where: str) -> None:
        wanted = target.type
        gives = maker.gives
        if maker.is_document:
            (kind,) = gives
            if kind in FUNCTIONS:
                gives = FUNCTIONS[kind].gives
        if wanted in gives or (wanted in QUANTITIES and gives & QUANTITIES):
            return
        raise TablesError(
            f"{where}: {rule.to} takes {wanted}, not what {rule.maker or wanted!r} gives "
            f"({', '.join(sorted(gives))})"
        )

    def _check_reference(self, rule: Rule, target: Target, where: str) -> None:
        if target.type != "Reference":
            raise TablesError(f"{where}: {rule.to} is no reference, it takes {target.type}")
        names = self._compiler.resource_names
        if rule.ref not in names:
            raise TablesError(
                f"{where}: ref: no message document has a resource {rule.ref!r}{nearest(rule.ref, names)}"
            )

    def _check_creation(self, rule: Rule, kind: str, target: Target, where: str) -> None:
        if target.type != "Reference":
            raise TablesError(f"{where}: {rule.to} is no reference, it takes {target.type}")
        if rule.create != kind or not self._shapes.is_resource(kind):
            raise TablesError(f"{where}: create: {rule.create!r}, and {rule.maker!r} fills {kind}")
        targets = target.element.targets if target.element else frozenset()
        if targets and kind not in targets:
            raise TablesError(
                f"{where}: {rule.to} refers to {', '.join(sorted(targets))}, not to {kind}"
            )
        if rule.table or rule.system:
            raise TablesError(f"{where}: 'table' and 'system' go with codes, not with 'create'")

    def _check_constant(self, value: object, target: Target, where: str) -> None:
        check_constant(value, target.type, self._shapes, where)
        if isinstance(value, str | int | float):
            self._compiler.constants.add(value)
        codes = target.element.codes if target.element else None
        if codes is not None and isinstance(value, str) and value not in codes:
            raise TablesError(f"{where}: {value!r}; one of {', '.join(sorted(codes))} is allowed")


def _memory_of(program: Program, lookup: Lookup | None, rule: Rule) -> Memory | None:
    """Rules without a table or a system share what they remember."""
    return program.made if (lookup is None and not rule.system) or program.made is None else {}


__all__ = ["Compiler", "Program"]
