"""From an owner's `Outcome` to the answer: ETag, Last-Modified, Location, 304 (FHIR R4 §3.1.0.1.5). Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from adapters.fhir.codec.partial import is_id
from gateway.fhir.exchange import FhirRequest, FhirResponse, Refusal
from gateway.fhir.negotiation import applied
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_STATUSES: Final = range(200, 600)


def response_of(
    request: FhirRequest, interaction: pb.Interaction, outcome: pb.Outcome
) -> FhirResponse:
    """The answer to one request. Raises `Refusal` (502) for an outcome without a status."""
    names = (outcome.id, outcome.version, outcome.resource_type)
    if outcome.status not in _STATUSES or not all(is_id(name) for name in names if name):
        text = "the owner's answer has no status, or an id that is none"
        raise Refusal(HTTPStatus.BAD_GATEWAY, "exception", text)
    headers = _headers(request, interaction, outcome)
    if outcome.status == HTTPStatus.OK and _is_unchanged(request, interaction, outcome):
        return FhirResponse(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return FhirResponse(status=outcome.status, body=outcome.body, headers=headers)


def _headers(
    request: FhirRequest, interaction: pb.Interaction, outcome: pb.Outcome
) -> tuple[tuple[str, str], ...]:
    found = []
    if outcome.version:
        found.append(("etag", f'W/"{outcome.version}"'))
    if outcome.last_modified_ms:
        found.append(("last-modified", http_date(outcome.last_modified_ms)))
    if outcome.has_location:
        found.append(("location", location_of(interaction.base, outcome)))
    if told := applied(request):
        found.append(("preference-applied", told))
    return tuple(found)


def location_of(base: str, outcome: pb.Outcome) -> str:
    """Address of the version that an interaction made or found."""
    place = f"{base}/{outcome.resource_type}/{outcome.id}"
    return f"{place}/_history/{outcome.version}" if outcome.version else place


def http_date(ms: int) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7)."""
    return format_datetime(datetime.fromtimestamp(ms // 1000, UTC), usegmt=True)


def _is_unchanged(request: FhirRequest, interaction: pb.Interaction, outcome: pb.Outcome) -> bool:
    if interaction.kind != pb.KIND_READ or not outcome.version:
        return False
    known = request.headers.get("if-none-match", "")
    if known:
        tags = {one.strip().removeprefix("W/").strip('"') for one in known.split(",")}
        return outcome.version in tags
    since = request.headers.get("if-modified-since", "")
    if not since or not outcome.last_modified_ms:
        return False
    try:
        when = parsedate_to_datetime(since)
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return outcome.last_modified_ms // 1000 <= when.timestamp()


__all__ = ["http_date", "location_of", "response_of"]
