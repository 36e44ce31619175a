"""What a rule sees while it runs: the element that it stands on, the steps around it, and the run of the message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.hl7v2.codec.charset import UTF_8, Charset, charset_named
from adapters.hl7v2.mapping.protocol import Issue, IssueCode, Severity
from adapters.hl7v2.reverse.coverage import Tree
from adapters.hl7v2.reverse.protocol import WriteContext
from adapters.hl7v2.reverse.references import References, Resource

MAX_ISSUES: Final = 1_000
ALL: Final[Tree] = {"*": {}}
"""Everything below was used."""
ITSELF: Final[Tree] = {}
"""The element itself, and so far nothing in it."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One message in the making."""

    bundle: Resource
    references: References
    context: WriteContext
    facts: Mapping[str, str] = field(default_factory=dict)
    """What `message.NAME` gives."""
    charset: Charset = UTF_8
    issues: list[Issue] = field(default_factory=list)
    seen: dict[int, dict[int, Tree]] = field(default_factory=dict)
    """By the identity of an element: which of its elements were looked at, each tree once by its own identity."""
    is_broken: bool = False
    """Whether something required is missing."""

    def __post_init__(self) -> None:
        self.charset = charset_named(self.context.charset) or UTF_8

    def issue(
        self, severity: Severity, code: IssueCode, where: str, *, rule: str = "", table: str = "", detail: str = ""
    ) -> None:  # fmt: skip
        """Note what an engineer should know; beyond `MAX_ISSUES` only what fails the message."""
        if len(self.issues) < MAX_ISSUES or (severity is Severity.ERROR and not self.is_broken):
            self.issues.append(
                Issue(severity=severity, code=code, where=where, rule=rule, table=table, detail=detail)
            )  # fmt: skip

    def fail(self, code: IssueCode, where: str, *, rule: str = "", detail: str = "") -> None:
        """Note what makes the message worthless."""
        self.issue(Severity.ERROR, code, where, rule=rule, detail=detail)
        self.is_broken = True

    def look(self, element: object, tree: Tree) -> None:
        """Remember that elements below this one were looked at."""
        trees = self.seen.get(id(element))
        if trees is None:
            trees = self.seen[id(element)] = {}
        trees[id(tree)] = tree


@dataclass(slots=True, kw_only=True)
class Frame:
    """Where a rule stands. Never changed; not frozen, as thousands are made for a message."""

    run: Run
    focus: object
    holder: Resource
    """The resource that the focus is, or is in."""
    variables: Mapping[str, object]
    numbers: Mapping[str, int]
    step: str
    """Name of the step."""

    def on(self, item: object) -> Frame:
        """The same, standing on another element."""
        holder = item if isinstance(item, dict) and "resourceType" in item else self.holder
        return Frame(
            run=self.run, focus=item, holder=holder, variables=self.variables, numbers=self.numbers, step=self.step
        )  # fmt: skip


__all__ = ["ALL", "ITSELF", "MAX_ISSUES", "Frame", "Run"]
