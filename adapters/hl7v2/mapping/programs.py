"""Message documents to programs: resources, the documents that fill them, and how they refer to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.hl7v2.mapping.compiler import Compiler, Program
from adapters.hl7v2.mapping.conditions import Test, compile_condition
from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.frames import Naming
from adapters.hl7v2.mapping.model import MessageDocument, ResourceRule, Tables, Where
from adapters.hl7v2.mapping.requirements import Plans
from adapters.hl7v2.mapping.rules import Read, compile_read
from adapters.hl7v2.mapping.shapes import Shapes
from adapters.hl7v2.mapping.sources import Kind, parse_source
from adapters.hl7v2.mapping.targets import KeyWay, Target, compile_target

_ALL: Final = "[*]"
ANY: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A reference between resources of a message document."""

    target: Target
    name: str
    naming: Naming
    to_all: bool
    plain: str
    """The element's name, where it is a single one of the resource and no choice; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceProgram:
    """One resource, compiled."""

    rule: ResourceRule
    uses: tuple[tuple[Program, str, Where, frozenset[str]], ...]
    """Program, segment, which of these segments, and the groups in which they are none of it."""
    refs: tuple[Ref, ...]
    when: Test | None
    identity: tuple[Read, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageProgram:
    """A message document, compiled."""

    document: MessageDocument
    bundle: tuple[tuple[Program, str, Where], ...]
    resources: tuple[ResourceProgram, ...]


class Chooser:
    """Finds the program of a message by its type, event and structure."""

    def __init__(self, tables: Tables, programs: Mapping[str, MessageProgram]) -> None:
        self._by_event: dict[tuple[str, str], MessageProgram] = {}
        self._by_structure: dict[str, MessageProgram] = {}
        for name, document in tables.messages.items():
            program = programs[name]
            for event in document.events:
                self._claim(self._by_event, (document.type, event), program)
            for structure in document.structures:
                self._claim(self._by_structure, structure, program)
            if document.type == ANY and not document.events:
                self._claim(self._by_event, (ANY, ANY), program)

    @staticmethod
    def _claim(table: dict, key: object, program: MessageProgram) -> None:  # type: ignore[type-arg]  # either
        other = table.get(key)
        if other is not None:
            document = program.document
            raise TablesError(
                f"{document.place}: {document.name} and {other.document.name} are both for {key}"
            )
        table[key] = program

    def choose(self, kind: str, event: str, structure: str) -> MessageProgram | None:
        """The document of the event, else of the structure, else of the type, else of any message."""
        return (
            self._by_event.get((kind, event))
            or self._by_structure.get(structure)
            or self._by_event.get((kind, ANY))
            or self._by_event.get((ANY, ANY))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """All that tables say, compiled."""

    programs: Mapping[str, MessageProgram]
    plans: Plans
    deciding: frozenset[tuple[str, int]]
    """Segments and fields that conditions look at."""
    constants: frozenset[str | int | float]
    """Values that tables give, whatever the message holds."""


def compile_messages(tables: Tables, shapes: Shapes) -> Compiled:
    """Compile all message documents, and with them every document. Raises `TablesError`."""
    compiler = Compiler(tables, shapes)
    known: Known = {}
    programs = {
        name: _message(document, compiler, shapes, known)
        for name, document in tables.messages.items()
    }
    # documents that no message uses yet are checked all the same
    for name, segment in tables.segments.items():
        compiler.segment(name, str(segment.place))
    for name, datatype in tables.datatypes.items():
        compiler.datatype(name, str(datatype.place))
    return Compiled(
        programs=programs,
        plans=Plans(frozenset(compiler.risky), shapes),
        deciding=frozenset(compiler.deciding),
        constants=frozenset(compiler.constants),
    )


Known = dict[int, ResourceProgram]
"""Resources by the identity of their rules: message documents that are like another share them."""


def _message(
    document: MessageDocument, compiler: Compiler, shapes: Shapes, known: Known
) -> MessageProgram:
    where = f"{document.place}: {document.name}"
    if document.events and not document.type:
        raise TablesError(f"{where}: type: missing; events belong to a type such as ADT")
    bundle = []
    for name in document.bundle:
        program = compiler.segment(name, f"{where}: bundle")
        _expect_target(program, "Bundle", f"{where}: bundle")
        bundle.append((program, program.document.source, Where.GROUP))
    return MessageProgram(
        document=document,
        bundle=tuple(bundle),
        resources=tuple(
            known.get(id(rule)) or _resource(rule, document, compiler, shapes, known)
            for rule in document.resources.values()
        ),
    )


def _resource(
    rule: ResourceRule,
    document: MessageDocument,
    compiler: Compiler,
    shapes: Shapes,
    made: Known,
) -> ResourceProgram:
    where = f"{rule.place}: {document.name}: resource {rule.name}"
    if not shapes.is_resource(rule.type):
        known = [name for name in shapes.types if shapes.is_resource(name)]
        raise TablesError(f"{where}: type: no resource {rule.type!r}{nearest(rule.type, known)}")
    uses = []
    for use in rule.uses:
        filler = compiler.segment(use.document, f"{where}: documents")
        _expect_target(filler, rule.type, f"{where}: documents: {use.document}")
        uses.append((filler, filler.document.source, use.where, use.outside))
    names = compiler.resource_names
    if rule.parent and rule.parent not in names:
        raise TablesError(
            f"{where}: parent: no resource {rule.parent!r}{nearest(rule.parent, names)}"
        )
    anchor = rule.anchors[0][1]
    program = made[id(rule)] = ResourceProgram(
        rule=rule,
        uses=tuple(uses),
        refs=tuple(
            _ref(path, name, rule, compiler, shapes, where) for path, name in rule.refs.items()
        ),
        when=compile_condition(rule.when, where)[0] if rule.when else None,
        identity=tuple(_identity(text, anchor, where) for text in rule.identity),
    )
    return program


def _expect_target(program: Program, kind: str, where: str) -> None:
    if program.document.target != kind:
        raise TablesError(
            f"{where}: {program.document.name} fills {program.document.target}, not {kind}"
        )


def _ref(
    path: str, name: str, rule: ResourceRule, compiler: Compiler, shapes: Shapes, where: str
) -> Ref:
    target = compile_target(path, rule.type, shapes, f"{where}: refs")
    if target.type != "Reference":
        raise TablesError(f"{where}: refs: {path} is no reference, it takes {target.type}")
    plain = name.removesuffix(_ALL)
    if plain not in compiler.resource_names:
        hint = nearest(plain, compiler.resource_names)
        raise TablesError(
            f"{where}: refs: {path}: no message document has a resource {plain!r}{hint}"
        )
    to_all = name != plain
    if to_all and not target.needs_key:
        raise TablesError(f"{where}: refs: {path}: {name!r} needs a path with []")
    naming = Naming(rule=f"{rule.name}/refs/{path}", layer=rule.place.layer)
    last = target.last
    is_plain = isinstance(last, KeyWay) and not last.others and not target.inner and not to_all
    return Ref(
        target=target,
        name=plain,
        naming=naming,
        to_all=to_all,
        plain=last.name if is_plain and isinstance(last, KeyWay) else "",
    )


def _identity(text: str, anchor: str, where: str) -> Read:
    source = parse_source(text, f"{where}: identity")
    if source.kind is Kind.RELATIVE:
        raise TablesError(f"{where}: identity: {text!r}; a source such as OBX-3.1 is expected")
    return compile_read(source, anchor)


__all__ = ["Chooser", "Compiled", "MessageProgram", "Ref", "ResourceProgram", "compile_messages"]
