"""A Bundle of type transaction as it is written: its entries as steps, each judged by its form. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from adapters.fhir.codec.partial import is_id, is_resource_type
from adapters.fhir.store.changing import Changed, Pairs
from adapters.fhir.store.checking import parse_object
from adapters.fhir.store.permits import Permit
from adapters.fhir.store.refusals import Refusal, invalid

_NONE: Final = msgspec.Raw()
PHASES: Final = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
"""In which order methods are worked (FHIR R4 §3.1.0.11.2)."""
CHANGES: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose entry brings a resource."""
_TOKEN_PARTS: Final = 2
_MAX_PAIRS: Final = 64


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    method: str = ""
    url: str = ""
    if_none_match: str = ""
    if_match: str = ""
    if_none_exist: str = ""


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    full_url: str = ""
    resource: msgspec.Raw = _NONE
    request: _Request | None = None


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    entry: list[_Entry] = []


_BUNDLE: Final = msgspec.json.Decoder(_Bundle)


@dataclass(slots=True)
class Step:
    """One entry as it is worked."""

    place: int
    method: str
    resource_type: str
    id: str
    pairs: Pairs
    if_none_exist: Pairs
    if_match: str
    if_none_match: str
    full_url: str
    body: bytes = field(repr=False)
    found: Changed | None = None
    """What a conditional create has found, or has made."""
    twin: Step | None = None
    """An earlier conditional create of the same resource under the same condition: there is one resource of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transaction that was read, and in whose name it runs."""

    steps: list[Step]
    permit: Permit
    base: str
    is_view: bool = False
    """Made from a message: its ids are proposals, and what it refers to need not be here."""
    shows_resources: bool = False
    foreign: tuple[Step, ...] = ()
    """Entries of types that are not held here: not worked, but referred to."""


def read_transaction(
    body: bytes,
    *,
    permit: Permit,
    base: str,
    max_entries: int,
    is_view: bool = False,
    shows_resources: bool = False,
) -> Transaction:
    """Read a Bundle of type transaction. Raises `Refusal`."""
    parse_object(body)
    try:
        bundle = _BUNDLE.decode(body)
    except msgspec.ValidationError:
        raise invalid(
            "an element of the bundle has another type", expression="Bundle", code="structure"
        ) from None
    if bundle.type != "transaction":
        raise invalid("the bundle is no transaction", expression="Bundle.type", code="value")
    if len(bundle.entry) > max_entries:
        raise Refusal(413, "too-costly", f"a transaction has at most {max_entries} entries")
    steps = []
    for place, entry in enumerate(bundle.entry):
        try:
            steps.append(_step(place, entry, base))
        except Refusal as refusal:
            raise refusal.at(f"Bundle.entry[{place}]") from None
    _check_once(steps)
    _pair_twins(steps, may_differ=is_view)
    return Transaction(
        steps=steps, permit=permit, base=base, is_view=is_view, shows_resources=shows_resources
    )


def _step(place: int, entry: _Entry, base: str) -> Step:
    request = entry.request
    if request is None or request.method not in PHASES:
        raise invalid(
            "the entry has no request with a known method", expression="request", code="required"
        )
    path, _, query = request.url.removeprefix(f"{base}/" if base else "").partition("?")
    parts = path.strip("/").split("/")
    identity = parts[1] if len(parts) > 1 else ""
    fits = is_resource_type(parts[0]) and (not identity or is_id(identity))
    if not fits or len(parts) > _TOKEN_PARTS:
        raise invalid(
            "the address is Type, Type/id or Type?condition", expression="request.url", code="value"
        )
    raw = bytes(entry.resource)
    if request.method in CHANGES and raw in (b"", b"null"):
        raise invalid("the entry has no resource", expression="resource", code="required")
    pairs = pairs_of(query)
    if request.method in ("PUT", "PATCH", "DELETE") and bool(identity) == bool(pairs):
        raise invalid("an id or a condition is needed", expression="request.url", code="required")
    return Step(
        place=place,
        method=request.method,
        resource_type=parts[0],
        id=identity,
        pairs=pairs,
        if_none_exist=pairs_of(request.if_none_exist.partition("?")[2] or request.if_none_exist),
        if_match=_etag(request.if_match),
        if_none_match=_etag(request.if_none_match),
        full_url=entry.full_url,
        body=raw,
    )


def pairs_of(query: str) -> Pairs:
    """Names and values of a condition. Raises `Refusal`."""
    try:
        return tuple(
            parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PAIRS)
        )
    except ValueError:
        raise invalid(
            "the condition is not percent-encoded UTF-8", expression="request", code="value"
        ) from None


def _etag(text: str) -> str:
    return text.removeprefix("W/").strip('"')


def _check_once(steps: list[Step]) -> None:
    """No resource is changed by two entries, and no fullUrl stands twice."""
    named = [
        (one.resource_type, one.id)
        for one in steps
        if one.id and PHASES[one.method] < PHASES["GET"]
    ]
    urls = [one.full_url for one in steps if one.full_url and one.method in CHANGES]
    if len(set(named)) != len(named) or len(set(urls)) != len(urls):
        raise invalid(
            "two entries are about the same resource", expression="Bundle.entry", code="duplicate"
        )


def _pair_twins(steps: list[Step], *, may_differ: bool) -> None:
    """Two creates on one condition would not see each other. Raises `Refusal` where their contents differ."""
    first: dict[tuple[str, Pairs], Step] = {}
    for step in steps:
        if step.method != "POST" or not step.if_none_exist:
            continue
        twin = first.setdefault((step.resource_type, tuple(sorted(step.if_none_exist))), step)
        if twin is step:
            continue
        if twin.body != step.body and not may_differ:
            raise invalid(
                "two entries create different content on the same condition",
                expression=f"Bundle.entry[{step.place}]",
                code="duplicate",
            )
        step.twin = twin


__all__ = ["CHANGES", "PHASES", "Step", "Transaction", "pairs_of", "read_transaction"]
