"""Codes of FHIR in the tables that lead to HL7 v2: by system and code, else by the code alone."""

from __future__ import annotations

from adapters.hl7v2.mapping.model import Coded, CodeTable


def concept(item: object) -> tuple[str, str]:
    """System and code of a Coding, of the first coding of a CodeableConcept, or a plain code."""
    if isinstance(item, str):
        return "", str(item)
    if isinstance(item, bool):
        return "", "true" if item else "false"
    if not isinstance(item, dict):
        return "", ""
    coding = item.get("coding")
    if isinstance(coding, list):
        return concept(next((one for one in coding if isinstance(one, dict)), None))
    system, code = item.get("system"), item.get("code")
    return (
        str(system) if isinstance(system, str) else "",
        str(code) if isinstance(code, str) else "",
    )


def look_up(table: CodeTable, item: object) -> Coded | None:
    """The row of the first coding that has one."""
    codings = item.get("coding") if isinstance(item, dict) else None
    for one in codings if isinstance(codings, list) else [item]:
        system, code = concept(one)
        row = table.rows.get(f"{system}|{code}") or table.rows.get(code)
        if row is not None:
            return row
    return None


__all__ = ["concept", "look_up"]
