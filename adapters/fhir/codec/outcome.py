"""OperationOutcome in and out: its codes, never its words, which may quote the patient. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,39}\Z")
_MAX_ISSUES: Final = 20
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class OutcomeIssue:
    """One issue: `severity` and `code` of the FHIR code systems issue-severity and issue-type."""

    severity: str
    code: str
    detail: str = ""
    """A code of `details.coding`, where it is one."""

    def __str__(self) -> str:
        return f"{self.severity}/{self.code}" + (f"/{self.detail}" if self.detail else "")


class _Coding(msgspec.Struct):
    code: str = ""


class _Details(msgspec.Struct):
    coding: list[_Coding] = []


class _Issue(msgspec.Struct):
    severity: str = ""
    code: str = ""
    details: _Details | None = None


class _Outcome(msgspec.Struct):
    resource_type: str = msgspec.field(name="resourceType")
    issue: list[_Issue] = []


_DECODER: Final = msgspec.json.Decoder(_Outcome)


def outcome_issues(body: bytes) -> tuple[OutcomeIssue, ...]:
    """The issues of an answer, at most 20; none when it is no OperationOutcome. Only plain codes are kept."""
    if not body or len(body) > _MAX_BYTES:
        return ()
    try:
        outcome = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ()
    if outcome.resource_type != "OperationOutcome":
        return ()
    return tuple(_issue(one) for one in outcome.issue[:_MAX_ISSUES])


def _issue(issue: _Issue) -> OutcomeIssue:
    coding = issue.details.coding if issue.details else []
    detail = next((_code(one.code) for one in coding if one.code), "")
    return OutcomeIssue(_code(issue.severity) or "error", _code(issue.code) or "unknown", detail)


def _code(text: str) -> str:
    return text if _CODE.match(text) else ""


def operation_outcome(
    code: str, diagnostics: str, *, severity: str = "error", expressions: tuple[str, ...] = ()
) -> bytes:
    """An OperationOutcome with one issue. `diagnostics` is ours and holds no patient data."""
    issue: dict[str, object] = {"severity": severity, "code": code, "diagnostics": diagnostics}
    if expressions:
        issue["expression"] = list(expressions)
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": [issue]})


__all__ = ["OutcomeIssue", "operation_outcome", "outcome_issues"]
