"""Refusals, each an OperationOutcome with a code of the value set issue-type. Pure; no text quotes a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import orjson

from schemas.errors import MeshError

_MAX_ISSUES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One issue of an OperationOutcome."""

    code: str
    """Of http://hl7.org/fhir/issue-type, e.g. `not-found`."""
    text: str
    severity: str = "error"
    expression: str = ""
    """FHIRPath of the element, or `http.<parameter>`, where it is known."""


class Refusal(MeshError):
    """An interaction that is answered with an error: HTTP status and issues."""

    code: ClassVar[str] = "fhir_refused"

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        *,
        expression: str = "",
        issues: Sequence[Issue] = (),
    ) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.status = status
        self.issues = tuple(issues) or (Issue(code=code, text=text, expression=expression),)

    @property
    def body(self) -> bytes:
        """The OperationOutcome."""
        return operation_outcome(self.issues)

    def at(self, place: str) -> Refusal:
        """The same inside of something else, e.g. `Bundle.entry[3]`."""
        moved = [
            Issue(
                code=one.code,
                text=one.text,
                severity=one.severity,
                expression=f"{place}.{one.expression}" if one.expression else place,
            )
            for one in self.issues
        ]
        first = moved[0]
        return Refusal(self.status, first.code, first.text, issues=moved)


def operation_outcome(issues: Sequence[Issue]) -> bytes:
    """An OperationOutcome as JSON; at most 50 issues."""
    return orjson.dumps(
        {"resourceType": "OperationOutcome", "issue": [_json(one) for one in issues[:_MAX_ISSUES]]}
    )


def _json(issue: Issue) -> dict[str, object]:
    made: dict[str, object] = {"severity": issue.severity, "code": issue.code}
    made["diagnostics"] = issue.text
    if issue.expression:
        made["expression"] = [issue.expression]
    return made


def not_found(text: str = "there is no such resource") -> Refusal:
    """404."""
    return Refusal(404, "not-found", text)


def invalid(text: str, *, expression: str = "", code: str = "invalid") -> Refusal:
    """400: the request cannot be read as it is."""
    return Refusal(400, code, text, expression=expression)


__all__ = ["Issue", "Refusal", "invalid", "not_found", "operation_outcome"]
