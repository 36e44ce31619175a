"""A mapped message in the light of earlier ones: outdated reports step aside, merged patients stay merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from adapters.hl7v2.mapping.protocol import Json, Resource
from adapters.hl7v2.views.ledger import Ledger, Merge, Report

_REPLACED_BY = "replaced-by"


@dataclass(frozen=True, slots=True)
class Review:
    """What the ledger knows about one message."""

    outdated: frozenset[str] = frozenset()
    """Ids of reports, and of their observations, of which something newer was published before."""
    retired: frozenset[str] = frozenset()
    """Ids of patients that had been merged into others; their resources say so now."""


async def review(resources: Sequence[Resource], *, timestamp: str, ledger: Ledger) -> Review:
    """Ask and tell the ledger. `timestamp` is the message's own instant, for reports that carry none.

    Changes the resources of patients that were merged by an earlier message: inactive, replaced by the survivor.
    Raises `MeshError` when the ledger cannot be read or written; asking again gives the same answer.
    """
    for patient in _of(resources, "Patient"):
        _disentangle(patient)
    merges = tuple(_merges(resources))
    for merge in merges:
        await ledger.merge(merge)
    told = {merge.retired for merge in merges} | {merge.survivor for merge in merges}
    retired = [
        _id(patient)
        for patient in _of(resources, "Patient")
        if _id(patient) not in told and await _retire(patient, ledger)
    ]
    outdated: set[str] = set()
    for resource in _of(resources, "DiagnosticReport"):
        at = utc(resource.get("issued")) or utc(timestamp)
        if at and await ledger.is_outdated(Report(_id(resource), at)):
            outdated |= {_id(resource), *_results(resource)}
    return Review(outdated=frozenset(outdated), retired=frozenset(retired))


def without(bundle: Resource, ids: frozenset[str]) -> Resource:
    """The bundle without the entries of these resources, for a view of what is still new."""
    entries = bundle.get("entry")
    kept: list[Json] = [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if not (isinstance(entry, dict) and _id(entry.get("resource")) in ids)
    ]
    return {**bundle, "entry": kept}


def utc(value: Json) -> str:
    """An instant in UTC with microseconds, so that texts compare as times do; empty without time of day or zone."""
    if not isinstance(value, str) or "T" not in value:
        return ""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return ""
    if at.tzinfo is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _disentangle(patient: Resource) -> None:
    """A merge of a record with itself (MRG-1 equals PID-3) changes nothing: it must not retire the patient."""
    links = patient.get("link")
    if not isinstance(links, list):
        return
    kept = [
        link
        for link in links
        if not (isinstance(link, dict) and _referred(link.get("other")) == _id(patient))
    ]
    if len(kept) == len(links):
        return
    patient["link"] = kept
    if not kept:
        del patient["link"]
        patient.pop("active", None)


async def _retire(patient: Resource, ledger: Ledger) -> bool:
    survivor = await ledger.survivor_of(_id(patient))
    if not survivor:
        return False
    link: Json = {"other": {"reference": f"Patient/{survivor}"}, "type": _REPLACED_BY}
    patient["active"] = False
    patient["link"] = [link]
    return True


def _merges(resources: Sequence[Resource]) -> Iterator[Merge]:
    for patient in _of(resources, "Patient"):
        links = patient.get("link")
        for link in links if isinstance(links, list) else []:
            if isinstance(link, dict) and link.get("type") == _REPLACED_BY:
                survivor = _referred(link.get("other"))
                if survivor:
                    yield Merge(_id(patient), survivor)


def _results(report: Resource) -> Iterator[str]:
    results = report.get("result")
    for result in results if isinstance(results, list) else []:
        yield _referred(result)


def _referred(reference: Json) -> str:
    """The id at the end of `Patient/<id>` or `urn:uuid:<id>`."""
    text = reference.get("reference") if isinstance(reference, dict) else None
    return text.rpartition("/")[2].rpartition(":")[2] if isinstance(text, str) else ""


def _of(resources: Sequence[Resource], kind: str) -> Iterator[Resource]:
    return (one for one in resources if one.get("resourceType") == kind)


def _id(resource: Json) -> str:
    identity = resource.get("id") if isinstance(resource, dict) else None
    return identity if isinstance(identity, str) else ""


__all__ = ["Review", "review", "utc", "without"]
