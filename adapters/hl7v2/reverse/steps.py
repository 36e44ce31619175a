"""Steps of message documents: items found, segments written in order, numbers counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError
from adapters.hl7v2.mapping.protocol import IssueCode, Severity
from adapters.hl7v2.reverse.building import SegmentBuilder
from adapters.hl7v2.reverse.compiler import CompiledDocument, Compiler
from adapters.hl7v2.reverse.frames import ALL, Frame
from adapters.hl7v2.reverse.model import Once, Step
from adapters.hl7v2.reverse.sources import Items, Source, Test

MAX_SEGMENTS: Final = 20_000
_NOTES: Final = frozenset({"NTE"})
_RESULTS: Final = frozenset({"OBX", "NTE", "SPM", "DG1", "TQ1"})
_RESTARTED: Final = {
    "NTE": frozenset[str](),
    "SPM": frozenset({"OBX", "NTE"}),
    "ORC": _RESULTS,
    "OBR": _RESULTS,
    "PID": _RESULTS | {"NK1", "AL1", "PV1", "ORC", "OBR"},
}
"""Segments whose numbers begin again after one of a name; after others only those of notes."""


@dataclass(slots=True)
class Pages:
    """The segments written so far, and what steps that ask `belongs` found."""

    segments: list[SegmentBuilder] = field(default_factory=list)
    groups: dict[str, dict[int, Items]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The number that the next segment of a name has in its group."""
        return self.counts.get(name, 0) + 1

    def add(self, segment: SegmentBuilder) -> None:
        """Append a segment and count it; what opens a group lets the numbers in it begin again."""
        name = segment.name
        self.segments.append(segment)
        self.counts[name] = self.counts.get(name, 0) + 1
        for other in list(self.counts):
            if other != name and other in _RESTARTED.get(name, _NOTES):
                del self.counts[other]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """One step, ready to run."""

    step: Step
    where: str
    each: tuple[Source, ...]
    belongs: Source | None
    when: Test | None
    documents: tuple[tuple[CompiledDocument, Source | None], ...]
    steps: tuple[CompiledStep, ...]

    def run(self, above: Frame, pages: Pages) -> None:
        """Write the segments of all items of this step, and of the steps below each of them."""
        count = 0
        for item in self._items(above, pages):
            if len(pages.segments) >= MAX_SEGMENTS:
                above.run.fail(
                    IssueCode.UNSUPPORTED,
                    self.step.name,
                    detail=f"more than {MAX_SEGMENTS} segments",
                )
                return
            frame = self._frame(above, item, count + 1)
            if self.when is not None and not self.when(frame):
                continue
            if count and self.step.once is not Once.MANY:
                self._too_many(above)
                break
            if self.documents and not self._segment(frame, pages) and not self.steps:
                continue
            count += 1
            for step in self.steps:
                step.run(frame, pages)
        if self.step.required and not count:
            above.run.fail(
                IssueCode.MISSING,
                self.step.name,
                rule=self.where,
                detail="required, and nothing is there",
            )

    def _frame(self, above: Frame, item: object, number: int) -> Frame:
        name = self.step.name
        return Frame(
            run=above.run,
            focus=item,
            holder=item if isinstance(item, dict) and "resourceType" in item else above.holder,
            variables={**above.variables, name: item},
            numbers={**above.numbers, name: number},
            step=name,
        )

    def _segment(self, frame: Frame, pages: Pages) -> bool:
        segment = SegmentBuilder(self.documents[0][0].target)
        numbers = {**frame.numbers, "": pages.number(segment.name)}
        frame = replace(frame, numbers=numbers)
        for document, of in self.documents:
            for item in [frame.focus] if of is None else of(frame)[:1]:
                document.fill(segment, frame if of is None else frame.on(item))
        if segment.has_content or self.step.always:
            pages.add(segment)
            return True
        return False

    def _items(self, above: Frame, pages: Pages) -> Items:
        if not self.each:
            return [above.focus]
        if self.belongs is None:
            return _distinct(self._found(above))
        groups = pages.groups.get(self.step.name)
        if groups is None:
            root = _root(above)
            groups = pages.groups[self.step.name] = self._grouped(
                root, _distinct(self._found(root))
            )
        own = groups.get(id(above.focus), [])
        alone = groups.pop(0, []) if 0 in groups and _is_alone(above) else []
        return [*own, *alone]

    def _found(self, frame: Frame) -> Items:
        for source in self.each:
            items = source(frame)
            if items:
                return items
        return []

    def _grouped(self, root: Frame, items: Items) -> dict[int, Items]:
        groups: dict[int, Items] = {}
        for item in items:
            frame = self._frame(root, item, 1)
            references = self.belongs(frame) if self.belongs else []
            if not references:
                groups.setdefault(0, []).append(item)
            for reference in references:
                target = root.run.references.find(reference, frame.holder)
                if target is not None:
                    root.run.look(reference, ALL)
                    groups.setdefault(id(target), []).append(item)
        return groups

    def _too_many(self, above: Frame) -> None:
        name, detail = self.step.name, "there are several, and one can stand in the message"
        if self.step.once is Once.ONLY:
            above.run.fail(IssueCode.STRUCTURE, name, rule=self.where, detail=detail)
        else:
            above.run.issue(
                Severity.WARNING, IssueCode.STRUCTURE, name, rule=self.where, detail=detail
            )


def compile_step(
    step: Step, compiler: Compiler, where: str, names: Mapping[str, Step]
) -> CompiledStep:
    """A step and those below it. Raises `TablesError`."""
    here = f"{where}: step {step.name}"
    source = compiler.sources.source
    documents = tuple(
        (compiler.document(use.document, here), source(use.of, here) if use.of else None)
        for use in step.documents
    )
    targets = {one.target for one, _ in documents}
    if len(targets) > 1 or any(len(one) != 3 for one in targets):
        raise TablesError(
            f"{here}: documents: all fill one segment, not {', '.join(sorted(targets))}"
        )
    return CompiledStep(
        step=step,
        where=here,
        each=tuple(source(one, here) for one in step.each),
        belongs=source(step.belongs, here) if step.belongs else None,
        when=compiler.sources.test(step.when, here) if step.when else None,
        documents=documents,
        steps=tuple(compile_step(one, compiler, where, names) for one in step.steps),
    )


def _distinct(items: Items) -> Items:
    """The same element once, in order."""
    known: set[int] = set()
    out: Items = []
    for item in items:
        if not isinstance(item, dict) or id(item) not in known:
            known.add(id(item))
            out.append(item)
    return out


def _root(frame: Frame) -> Frame:
    bundle = frame.run.bundle
    return Frame(
        run=frame.run, focus=bundle, holder=bundle, variables=frame.variables, numbers={}, step=frame.step
    )  # fmt: skip


def _is_alone(frame: Frame) -> bool:
    """Whether the item of the step above is the only one of its kind: then what names none belongs to it."""
    focus = frame.focus
    kind = focus.get("resourceType") if isinstance(focus, dict) else None
    same = sum(1 for _, one in frame.run.references.resources if one.get("resourceType") == kind)
    return same == 1


__all__ = ["MAX_SEGMENTS", "CompiledStep", "Pages", "compile_step"]
