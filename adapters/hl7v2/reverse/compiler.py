"""Documents to closures: everything that can be wrong with a rule is found when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from adapters.hl7v2.mapping.errors import TablesError, nearest
from adapters.hl7v2.mapping.model import Coded, CodeTable, Unmapped
from adapters.hl7v2.mapping.protocol import IssueCode, Severity
from adapters.hl7v2.reverse.building import (
    SegmentBuilder,
    Target,
    Value,
    parse_target,
    put,
)
from adapters.hl7v2.reverse.frames import ALL, ITSELF, Frame
from adapters.hl7v2.reverse.functions import FUNCTIONS
from adapters.hl7v2.reverse.guards import Needs, alternatives, fits
from adapters.hl7v2.reverse.lookup import concept, look_up
from adapters.hl7v2.reverse.model import Document, ReverseTables, Rule
from adapters.hl7v2.reverse.protocol import VERSIONS
from adapters.hl7v2.reverse.sources import Items, Source, Sources, Test

MAX_LEVELS: Final = 8
MAX_PLANS: Final = 512
"""Sets of elements for which a document remembers the rules that can find anything."""
Maker: TypeAlias = Callable[[Frame, object], "Value | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One rule, ready to run."""

    name: str
    """`Patient[PID]/name`."""
    target: Target
    where: str
    """The target's text."""
    sources: tuple[tuple[str, Source], ...]
    make: Maker
    when: Test | None
    const: str | None
    default: str | None
    is_required: bool
    versions: frozenset[str]
    is_of_resource: bool
    """Whether what it writes comes from a resource."""
    needs: Needs
    """What the element must hold for the rule to write, or to miss, anything."""

    def values(self, frame: Frame) -> list[tuple[str, Value]]:
        """What is written, each with the label of its repetition."""
        if self.when is not None and not self.when(frame):
            return []
        if not self.sources:
            return [("", self.const or "")]
        source, items = self._items(frame)
        if not items:
            return [("", self.default)] if self.default else []
        if self.target.repetition and len(items) > 1:
            frame.run.issue(
                Severity.INFORMATION, IssueCode.UNMAPPED_FIELD, self.where,
                rule=self.name, detail=f"only the first of {len(items)} values",
            )  # fmt: skip
            items = items[:1]
        out: list[tuple[str, Value]] = []
        for i, item in enumerate(items):
            value = self.const if self.const is not None else self.make(frame, item)
            if value:
                out.append((f"{source}#{i}", value))
        return out

    def _items(self, frame: Frame) -> tuple[str, Items]:
        for name, source in self.sources:
            items = source(frame)
            if items:
                return name, items
        return "", []


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledDocument:
    """One document, ready to run."""

    name: str
    target: str
    rules: tuple[CompiledRule, ...]
    ignored: Mapping[str, str]
    keys: frozenset[str]
    """All that the rules' needs name."""
    plans: dict[tuple[str, frozenset[str]], tuple[CompiledRule, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """By version and by those of `keys` that an element has."""

    def plan(self, frame: Frame) -> tuple[CompiledRule, ...]:
        """The rules of the message's version that can find something in the element."""
        version, focus = frame.run.context.version, frame.focus
        if not isinstance(focus, dict):
            return tuple(rule for rule in self.rules if version in rule.versions)
        key = (version, self.keys.intersection(focus))
        found = self.plans.get(key)
        if found is None:
            found = tuple(
                rule for rule in self.rules if version in rule.versions and fits(rule.needs, focus)
            )
            if len(self.plans) < MAX_PLANS:
                self.plans[key] = found
        return found

    def fill(self, segment: SegmentBuilder, frame: Frame) -> None:
        """Fill a segment from the element that the frame stands on."""
        if isinstance(frame.focus, dict):
            frame.run.look(frame.focus, ITSELF)
        for rule in self.plan(frame):
            found = rule.values(frame)
            repetition = rule.target.repetition
            for label, value in found:
                name = label if not repetition else "" if repetition.isdecimal() else repetition
                segment.write(rule.target, value, name or ("#" if not repetition else ""))
                segment.has_content = segment.has_content or rule.is_of_resource
            self._demand(rule, frame, bool(found) or bool(segment.fields.get(rule.target.field)))

    def compose(self, frame: Frame) -> Value | None:
        """The value that a data type document gives; None when nothing is in it."""
        if isinstance(frame.focus, dict):
            frame.run.look(frame.focus, ITSELF)
        value: Value | None = None
        for rule in self.plan(frame):
            found = rule.values(frame)
            for _, one in found:
                value = put(value, rule.target.parts, one)
            self._demand(rule, frame, bool(found))
        return value or None

    def _demand(self, rule: CompiledRule, frame: Frame, is_there: bool) -> None:
        if rule.is_required and not is_there:
            frame.run.fail(
                IssueCode.MISSING,
                rule.where,
                rule=rule.name,
                detail="required, and nothing to write",
            )


class Compiler:
    """Compiles documents for the steps of one message document."""

    def __init__(self, tables: ReverseTables, steps: Sequence[str]) -> None:
        self._tables = tables
        self.sources = Sources(steps)
        self._ready: dict[str, CompiledDocument] = {}

    def document(self, name: str, where: str, above: tuple[str, ...] = ()) -> CompiledDocument:
        """A document by its name. Raises `TablesError`."""
        if name in self._ready:
            return self._ready[name]
        document = self._tables.documents.get(name)
        if document is None:
            raise TablesError(
                f"{where}: no document is named {name!r}{nearest(name, self._tables.documents)}"
            )
        if name in above or len(above) > MAX_LEVELS:
            raise TablesError(f"{where}: a circle of documents: {' > '.join((*above, name))}")
        rules = tuple(
            self._rule(rule, document, (*above, name)) for rule in document.rules.values()
        )
        found = CompiledDocument(
            name=name,
            target=document.target,
            rules=rules,
            ignored=document.ignored,
            keys=frozenset().union(*(keys for rule in rules for keys in rule.needs)),
        )
        self._ready[name] = found
        return found

    def _rule(self, rule: Rule, document: Document, above: tuple[str, ...]) -> CompiledRule:
        where = f"{rule.place}: {document.name}: rule {rule.id}"
        target = parse_target(rule.to, where, document.target if document.is_segment else "")
        if not target.repetition and not rule.sources:
            raise TablesError(f"{where}: to: {rule.to!r}: a repetition for each item needs 'from'")
        texts = rule.sources
        plain = ("parameter.", "message.", "number")
        return CompiledRule(
            name=f"{document.name}/{rule.id}",
            target=target,
            where=rule.to if document.is_segment else f"{document.target}{rule.to}",
            sources=tuple((one, self.sources.source(one, where)) for one in texts),
            make=self._maker(rule, document, where, above),
            when=self.sources.test(rule.when, where) if rule.when else None,
            const=rule.const,
            default=rule.default,
            is_required=rule.required,
            versions=_versions(rule),
            is_of_resource=bool(texts) and not all(one.startswith(plain) for one in texts),
            needs=self._needs(rule),
        )

    def _needs(self, rule: Rule) -> Needs:
        """A rule that is required, or that has a default, has something to do for an element that is not there, too."""
        if rule.required:
            return ()
        condition = self.sources.needs_of_test(rule.when) if rule.when else ()
        if not rule.sources or rule.default:
            return condition
        return (*condition, *alternatives([self.sources.needs(one) for one in rule.sources]))

    def _maker(self, rule: Rule, document: Document, where: str, above: tuple[str, ...]) -> Maker:
        name = f"{document.name}/{rule.id}"
        make = self._plain_maker(rule, where, above)
        if not rule.table:
            return make
        table = self._tables.codes.get(rule.table)
        if table is None:
            raise TablesError(
                f"{where}: no code table is named {rule.table!r}{nearest(rule.table, self._tables.codes)}"
            )
        is_document = bool(rule.maker) and rule.maker not in FUNCTIONS
        if rule.maker in FUNCTIONS:
            return _by_table(table, None, make, name, is_document=False)
        return _by_table(
            table, rule.unmapped or table.unmapped, make, name, is_document=is_document
        )

    def _plain_maker(self, rule: Rule, where: str, above: tuple[str, ...]) -> Maker:
        name = f"{above[-1]}/{rule.id}"
        if rule.maker and rule.maker not in FUNCTIONS:
            if "[" not in rule.maker:
                raise TablesError(
                    f"{where}: as: no function is named {rule.maker!r}{nearest(rule.maker, FUNCTIONS)}"
                )
            inner = self.document(rule.maker, where, above)
            return lambda frame, item: _composed(inner, frame, item, name)
        function = FUNCTIONS[rule.maker or "text"]

        def make(frame: Frame, item: object) -> Value | None:
            value = function(_simple(item))
            if value is None:
                frame.run.issue(
                    Severity.WARNING, IssueCode.BAD_VALUE, rule.to, rule=name, detail="not written"
                )
            elif isinstance(item, dict):
                frame.run.look(item, ALL)
            return value

        return make


def _versions(rule: Rule) -> frozenset[str]:
    first = VERSIONS.index(rule.since) if rule.since else 0
    last = VERSIONS.index(rule.until) if rule.until else len(VERSIONS) - 1
    return frozenset(VERSIONS[first : last + 1])


def _composed(inner: CompiledDocument, frame: Frame, item: object, rule: str) -> Value | None:
    if not isinstance(item, dict):
        frame.run.issue(
            Severity.WARNING,
            IssueCode.BAD_VALUE,
            inner.target,
            rule=rule,
            detail="no object, not written",
        )
        return None
    return inner.compose(frame.on(item))


def _simple(item: object) -> object:
    """The code of a coded value; everything else as it is."""
    if not isinstance(item, dict):
        return item
    _, code = concept(item)
    return code


def _by_table(
    table: CodeTable, policy: Unmapped | None, make: Maker, rule: str, *, is_document: bool
) -> Maker:
    def found_one(frame: Frame, item: object, row: Coded) -> Value | None:
        if isinstance(item, dict):
            frame.run.look(item, ALL)
        if row.omit:
            return None
        if not is_document:
            return row.code
        coding = {"system": row.system, "code": row.code, "display": row.display}
        words = item.get("text") if isinstance(item, dict) else None
        return make(frame, {"coding": [coding], "text": words} if words else {"coding": [coding]})

    def by_table(frame: Frame, item: object) -> Value | None:
        row = look_up(table, item)
        if row is not None:
            return found_one(frame, item, row)
        if policy is None:
            return make(frame, item)
        severity = Severity.ERROR if policy is Unmapped.FAIL else Severity.WARNING
        frame.run.issue(severity, IssueCode.UNMAPPED_CODE, rule, rule=rule, table=table.name)
        if policy is Unmapped.USE and table.fallback is not None:
            return found_one(frame, item, table.fallback)
        return make(frame, item) if policy is Unmapped.KEEP else None

    return by_table


__all__ = ["CompiledDocument", "CompiledRule", "Compiler"]
