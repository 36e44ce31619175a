"""Codes by table: the coding that a row gives, and what becomes of a code without a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from adapters.hl7v2.mapping.frames import Frame, Naming
from adapters.hl7v2.mapping.model import Coded, CodeTable, Unmapped
from adapters.hl7v2.mapping.protocol import IssueCode, Json, Severity

_KEPT: Final = Coded(system="", code="", display="")


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table as one rule uses it."""

    table: CodeTable
    unmapped: Unmapped
    naming: Naming
    keeps_original: bool = False

    def find(self, text: str, frame: Frame, *, is_quiet: bool = False) -> Coded | None:
        """The row; `_KEPT` (see `is_kept`) when the sender's code stays; None when nothing is to be given."""
        row = self.table.rows.get(text)
        if row is not None:
            return None if row.omit else row
        if is_quiet:
            return _KEPT
        failed = self.unmapped is Unmapped.FAIL
        frame.env.issue(
            Severity.ERROR if failed else Severity.WARNING,
            IssueCode.UNMAPPED_CODE,
            frame.address,
            rule=self.naming.rule,
            table=self.table.name,
        )
        if self.unmapped is Unmapped.KEEP:
            return _KEPT
        return self.table.fallback if self.unmapped is Unmapped.USE else None


def is_kept(coded: Coded) -> bool:
    """Whether the sender's own code stays."""
    return coded is _KEPT


def coding_of(coded: Coded) -> dict[str, Json]:
    """A row as `Coding`."""
    made: dict[str, Json] = {}
    if coded.system:
        made["system"] = coded.system
    made["code"] = coded.code
    if coded.display:
        made["display"] = coded.display
    return made


def plain_coding(text: str, system: str) -> dict[str, Json]:
    """A sender's code as `Coding`."""
    return {"system": system, "code": text} if system else {"code": text}


def replace_coding(
    value: dict[str, Json], coded: Coded, target: str, text: str, *, keeps_original: bool
) -> dict[str, Json]:
    """Put a row's coding in place of that of a code in a `CodeableConcept`, or in place of a `Coding`.

    It comes first: it is the one that receivers know.
    """
    if target == "Coding":
        return coding_of(coded)
    codings = [one for one in cast("list[Json]", value.get("coding") or []) if one]
    at = next(
        (i for i, one in enumerate(codings) if isinstance(one, dict) and one.get("code") == text), 0
    )
    found = codings[at] if codings else None
    old = found if isinstance(found, dict) else {}
    others = codings[:at] + codings[at + 1 :]
    kept = [old] if keeps_original and old else []
    made: dict[str, Json] = {"coding": [coding_of(coded), *kept, *others]}
    if "text" in value:
        made["text"] = value["text"]
    elif old.get("display") and not keeps_original:
        made["text"] = old["display"]
    return made


def give_system(value: dict[str, Json], target: str, system: str) -> None:
    """Give the first coding the rule's system when it has none."""
    coding: Json = value
    if target == "CodeableConcept":
        codings = value.get("coding")
        coding = codings[0] if isinstance(codings, list) and codings else None
    if isinstance(coding, dict) and "code" in coding and "system" not in coding:
        coding["system"] = system


__all__ = ["Lookup", "coding_of", "give_system", "is_kept", "plain_coding", "replace_coding"]
