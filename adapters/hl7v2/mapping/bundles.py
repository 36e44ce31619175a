"""Bundles: a message, a transaction, or the resources one by one."""

from __future__ import annotations

from typing import cast
from urllib.parse import quote

from adapters.hl7v2.mapping.finishing import close_gaps, set_references
from adapters.hl7v2.mapping.frames import Entry, Env
from adapters.hl7v2.mapping.model import Write
from adapters.hl7v2.mapping.programs import ResourceProgram
from adapters.hl7v2.mapping.protocol import Json, Output, Resource

_HEADER = "MessageHeader"


def _urn(entry: Entry) -> str:
    return f"urn:uuid:{entry.id}"


def _ordered(entries: list[Entry]) -> list[Entry]:
    """The header first."""
    return sorted(entries, key=lambda entry: entry.type != _HEADER)


def make_bundle(env: Env, entries: list[Entry], base: Resource, bundle_id: str) -> Resource | None:
    """The bundle of the context's form, references written to fit; None for bare resources."""
    output = env.context.output
    if output is Output.BARE:
        set_references(env, lambda entry: f"{entry.type}/{entry.id}")
        return None
    close_gaps(base)
    made: Resource = {"resourceType": "Bundle", "id": bundle_id}
    made |= {name: value for name, value in base.items() if name != "resourceType"}
    if output is Output.MESSAGE:
        set_references(env, _urn)
        has_header = any(entry.type == _HEADER for entry in entries)
        made["type"] = "message" if has_header else "collection"
        made["entry"] = [
            {"fullUrl": _urn(entry), "resource": entry.body} for entry in _ordered(entries)
        ]
        return made
    made["type"] = "transaction"
    set_references(env, _in_transaction)
    sent = [entry for entry in entries if not _query(entry) or _write(entry) is not Write.REFER]
    made["entry"] = [_transaction_entry(entry) for entry in sent]
    made.pop("identifier", None)
    return made


def _write(entry: Entry) -> Write:
    program = cast("ResourceProgram | None", entry.rule)
    return program.rule.write if program is not None else Write.CREATE


def _query(entry: Entry) -> str:
    """The search that finds the resource by its identifier; empty when it has none with a system."""
    if entry.key is None:
        return ""
    if entry.query is None:
        system, value = entry.key
        has_system = ":" in system and not system.startswith("assigner:")
        entry.query = (
            f"identifier={quote(system, safe='')}%7C{quote(value, safe='')}" if has_system else ""
        )
    return entry.query


def _in_transaction(entry: Entry) -> str:
    query = _query(entry)
    if query and _write(entry) is Write.REFER:
        return f"{entry.type}?{query}"
    return _urn(entry)


def _transaction_entry(entry: Entry) -> Json:
    query = _query(entry)
    request: dict[str, Json]
    if not query:
        # an id of our own: the same message writes the same resource again
        request = {"method": "PUT", "url": f"{entry.type}/{entry.id}"}
    elif _write(entry) is Write.UPDATE:
        request = {"method": "PUT", "url": f"{entry.type}?{query}"}
    else:
        request = {"method": "POST", "url": entry.type, "ifNoneExist": query}
    return {"fullUrl": _urn(entry), "resource": entry.body, "request": request}


__all__ = ["make_bundle"]
