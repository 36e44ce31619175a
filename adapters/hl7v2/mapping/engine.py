"""The mapper: tables compiled once, messages mapped one by one."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from adapters.hl7v2.codec import CharsetError, Message
from adapters.hl7v2.mapping.bundles import make_bundle
from adapters.hl7v2.mapping.coverage import Coverage
from adapters.hl7v2.mapping.finishing import finish, paths_of
from adapters.hl7v2.mapping.frames import Entry, Env, Frame, leaf, place_address
from adapters.hl7v2.mapping.identity import stable_id
from adapters.hl7v2.mapping.layouts import Layouts, Uses
from adapters.hl7v2.mapping.loading import load_tables
from adapters.hl7v2.mapping.losses import Reasons, give_back, is_there, moved
from adapters.hl7v2.mapping.makers import linked
from adapters.hl7v2.mapping.memory import all_origins
from adapters.hl7v2.mapping.model import Tables
from adapters.hl7v2.mapping.placing import StructureReader, place
from adapters.hl7v2.mapping.programs import (
    Chooser,
    MessageProgram,
    Ref,
    ResourceProgram,
    compile_messages,
)
from adapters.hl7v2.mapping.protocol import (
    Issue,
    IssueCode,
    Json,
    MapContext,
    Mapped,
    Mapper,
    Origin,
    Resource,
    Severity,
)
from adapters.hl7v2.mapping.rules import nearest_entry, write_reference, write_value
from adapters.hl7v2.mapping.shapes import load_shapes
from adapters.hl7v2.mapping.structure import Structures
from schemas.errors import MeshError


class _Done:
    """What became of a message."""

    __slots__ = ("base", "bundle", "entries", "structure")

    def __init__(self) -> None:
        self.structure = ""
        self.entries: list[Entry] = []
        self.base: Resource = {"resourceType": "Bundle"}
        self.bundle: Resource | None = None


class TableMapper:
    """A `Mapper` of compiled tables. Safe to use from several threads: nothing of a message is kept."""

    def __init__(self, tables: Tables, structures: StructureReader) -> None:
        compiled = compile_messages(tables, load_shapes())
        self._plans, self._constants = compiled.plans, compiled.constants
        self._version = tables.version
        self._structures = structures
        self._layouts = Layouts()
        self._chooser = Chooser(tables, compiled.programs)
        reasons: dict[str, dict[str, str]] = {}
        for document in tables.segments.values():
            reasons.setdefault(document.source, {}).update(document.ignored)
        self._coverage = Coverage(reasons, compiled.deciding)
        self._known_segments = frozenset(one.source for one in tables.segments.values()) | {"MSH"}

    @property
    def version(self) -> str:
        """Hash of the tables."""
        return self._version

    def map(self, message: Message, context: MapContext) -> Mapped:
        """Map one message as far as it goes. Never raises on content: what cannot be mapped is an issue."""
        env = Env(message, context)
        done = self._run(env)
        lost = self._losses(env)
        self._coverage.report(env, self._known_segments, lost)
        mapped = Mapped(
            resources=tuple(entry.body for entry in done.entries),
            bundle=done.bundle,
            issues=_issues(env),
            origins=_origins(env, done.entries),
            structure=done.structure,
            tables=self._version,
        )
        env.release()
        return mapped

    def _run(self, env: Env) -> _Done:
        """Map as far as it goes; what stops it is an issue."""
        done = _Done()
        try:
            reading = self._structures.read(env.message)
            done.structure = reading.structure
            place(env, reading.root)
            env.issues.extend(reading.issues)
            if not _text(env, 10, 1):
                env.issue(
                    Severity.WARNING,
                    IssueCode.NO_IDENTIFIER,
                    "MSH-10",
                    detail="no control id: a resource without an identifier has an id by its place alone",
                )
            program = self._program(env, done.structure)
            if program is not None:
                done.base = self._fill(env, done.structure, program)
                done.entries = finish(env, self._plans)
                if done.entries:
                    done.bundle = make_bundle(env, done.entries, done.base, self._bundle_id(env))
        except CharsetError as err:
            env.issue(Severity.ERROR, IssueCode.CHARSET, err.location or "MSH-18", detail=err.code)
        except (MeshError, RecursionError) as err:
            code = err.code if isinstance(err, MeshError) else "recursion"
            env.issue(Severity.ERROR, IssueCode.STRUCTURE, "MSH", detail=code)
        return done

    def _losses(self, env: Env) -> Reasons:
        """Why leaves that were read are not given out; {} where nothing of the message was left out."""
        if all(one and one in self._constants for one in env.discarded):
            return {}
        return give_back(env, all_origins(env))

    def _program(self, env: Env, structure: str) -> MessageProgram | None:
        kind, event = _text(env, 9, 1), _text(env, 9, 2)
        program = self._chooser.choose(kind, event, structure)
        if program is None:
            env.issue(
                Severity.ERROR,
                IssueCode.UNSUPPORTED,
                "MSH-9",
                detail="no message document is for this type and event",
            )
        return program

    def _bundle_id(self, env: Env) -> str:
        texts = [_text(env, field, 1) for field in (3, 4, 10)]
        return stable_id(env.context.tenant, "Bundle", *texts)

    def _fill(self, env: Env, structure: str, program: MessageProgram) -> Resource:
        resources = self._entries(env, structure, program)
        for _, entry, uses in resources:
            for document, position in uses:
                document.run(Frame(env, entry, env.ordered[position], entry.body))
        for resource, entry, _ in resources:
            for ref in resource.refs:
                _refer(env, ref, entry)
        base: Resource = {"resourceType": "Bundle"}
        found = env.views.get("MSH")
        if found and program.bundle:
            owner = Entry("Bundle", "bundle", found[0], 0)
            owner.body = base
            for document, _, _ in program.bundle:
                document.run(Frame(env, owner, found[0], base))
        return base

    def _entries(
        self, env: Env, structure: str, program: MessageProgram
    ) -> list[tuple[ResourceProgram, Entry, Uses]]:
        """All entries before any is filled: rules refer to each of them."""
        found: list[tuple[ResourceProgram, Entry, Uses]] = []
        for resource, position, uses in self._layouts.of(env, structure, program):
            rule, view = resource.rule, env.ordered[position]
            entry = Entry(rule.type, rule.name, view, len(found), resource)
            if resource.when is not None and not resource.when(Frame(env, entry, view, entry.body)):
                continue
            found.append((resource, entry, uses))
            env.entries.append(entry)
            env.resources.setdefault(rule.name, []).append(entry)
        for name, entries in env.resources.items():
            env.resource_positions[name] = [one.anchor.position for one in entries]
        for resource, entry, _ in found:
            if resource.rule.parent:
                frame = Frame(env, entry, entry.anchor, entry.body)
                entry.parent = nearest_entry(frame, resource.rule.parent, entry.anchor)
        _count_places(env.entries)
        return found


def _count_places(entries: Sequence[Entry]) -> None:
    """Number the resources of one name and parent: the place that an id can rest on."""
    counts: dict[tuple[str, int], int] = {}
    for entry in entries:
        key = (entry.name, id(entry.parent))
        entry.place = counts.get(key, 0)
        counts[key] = entry.place + 1


def _refer(env: Env, ref: Ref, entry: Entry) -> None:
    name, view = ref.plain, entry.anchor
    if name and name not in entry.body:
        other = env.nearest_entry(view, ref.name)
        if other is not None and other is not entry:
            value: dict[str, Json] = {"reference": ""}
            entry.body[name] = value
            env.links.append((value, other, entry))
            env.note((entry.body, name, value, view, 0, ref.naming))
        return
    frame = Frame(env, entry, entry.anchor, entry.body)
    if not ref.to_all:
        write_reference(frame, ref.name, ref.target, (), ref.naming, frame.view, 0)
        return
    for number, other in _owned(env, ref.name, entry.name).get(id(entry), ()):
        value = linked(frame, other, entry)
        write_value(frame, ref.target, value, (number,), ref.naming, frame.view, 0)


def _owned(env: Env, name: str, owner: str) -> dict[int, list[tuple[int, Entry]]]:
    """By identity of an owner: the resources of a name that it is the nearest for, with their numbers."""
    found = env.owned.get((name, owner))
    if found is None:
        found = env.owned[name, owner] = {}
        for number, other in enumerate(env.resources.get(name, ())):
            at = Frame(env, other, other.anchor, other.body)
            nearest = nearest_entry(at, owner, other.anchor)
            found.setdefault(id(nearest), []).append((number, other))
    return found


def _text(env: Env, field: int, component: int) -> str:
    found = env.views.get("MSH")
    repetitions = found[0].repetitions(field) if found else []
    return leaf(repetitions[0], component, 1) if repetitions else ""


def _issues(env: Env) -> tuple[Issue, ...]:
    if env.left_out:
        env.issues.append(
            Issue(
                severity=Severity.WARNING,
                code=IssueCode.STRUCTURE,
                where="",
                detail=f"{env.left_out} more issues are not listed",
            )
        )
    return tuple(env.issues)


def _origins(env: Env, entries: Sequence[Entry]) -> dict[str, Sequence[Origin]]:
    if not env.context.explain:
        return {}
    places: dict[int, tuple[Entry, str]] = {}
    found: dict[str, dict[str, Origin]] = {}
    for entry in entries:
        found[entry.id] = {}
        places.update((one, (entry, path)) for one, path in paths_of(entry).items())
    usual = len(env.origins)
    for number, (container, key, value, view, spot, naming) in enumerate(all_origins(env)):
        at = moved(env, container)
        place = places.get(id(at))
        if place is None or not is_there(at, key, value):
            continue
        entry, path = place
        if isinstance(key, int):
            path += f"[{key}]"
        elif key:
            path += f".{key}"
        if number >= usual and path in found[entry.id]:
            continue  # of what is made of the same value several times, the first place counts
        found[entry.id][path] = Origin(
            path=path, rule=naming.rule, layer=naming.layer, source=place_address(view, spot)
        )
    return {name: list(mine.values()) for name, mine in found.items()}


def compile_mapper(tables: Tables, structures: StructureReader | None = None) -> Mapper:
    """Compile tables to a mapper. Raises `TablesError` for whatever in them could fail later."""
    return TableMapper(tables, structures or _standard_structures())


def _standard_structures() -> StructureReader:
    return cast("StructureReader", Structures.load())


@lru_cache(maxsize=1)
def default_mapper() -> Mapper:
    """The mapper of the tables that ship with medmesh, compiled once in a process."""
    # all that is made here stays: collections meanwhile only look at it again and again
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return compile_mapper(load_tables(("std",)))
    finally:
        if was_enabled:
            gc.enable()


__all__ = ["TableMapper", "compile_mapper", "default_mapper"]
