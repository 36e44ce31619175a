"""Answers 2xx that hold failures inside: batch responses and message responses. Pure (bundle.html, messaging.html)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from adapters.fhir.codec.answers import entry_status
from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import read_bundle, resources_of

_FIRST_ERROR = 400
_FIRST_SERVER_ERROR = 500
_LATER = (408, 425, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What an answer refuses."""

    text: str
    """For operators: numbers and codes."""
    reason: str
    retryable: bool


class _Response(msgspec.Struct):
    code: str = ""


class _Header(msgspec.Struct):
    resource_type: str = msgspec.field(name="resourceType", default="")
    response: _Response | None = None


_HEADER = msgspec.json.Decoder(_Header)


def judge_entries(body: bytes) -> Refusal | None:
    """What a batch-response refuses; None when every entry has succeeded, or the server says nothing of them."""
    try:
        entries = read_bundle(body).entry if body else []
    except UnreadableResource:
        return None
    failed = [
        (number, status)
        for number, entry in enumerate(entries)
        if entry.response and (status := entry_status(entry.response.status)) >= _FIRST_ERROR
    ]
    if not failed:
        return None
    return Refusal(
        text=", ".join(f"entry[{number}] {status}" for number, status in failed[:5]),
        reason="entry_refused",
        retryable=all(s >= _FIRST_SERVER_ERROR or s in _LATER for _, s in failed),
    )


def judge_message(body: bytes) -> Refusal | None:
    """What the MessageHeader of an answer refuses (response-code); None for ok, and where there is none."""
    code = _response_code(body) if body else ""
    if code in ("transient-error", "fatal-error"):
        return Refusal(
            text=code, reason=code.replace("-", "_"), retryable=code == "transient-error"
        )
    return None


def _response_code(body: bytes) -> str:
    try:
        first = next(resources_of(read_bundle(body)), b"")
        header = _HEADER.decode(first) if first else None
    except (UnreadableResource, msgspec.DecodeError, RecursionError):
        return ""
    if header is None or header.resource_type != "MessageHeader" or header.response is None:
        return ""
    return header.response.code


__all__ = ["Refusal", "judge_entries", "judge_message"]
