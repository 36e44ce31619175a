"""Formats and preferences: Accept, _format, Content-Type (FHIR R4 §3.1.0.1.11), Prefer (§3.1.0.1.6, §3.1.1.3). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from gateway.fhir.exchange import FHIR_JSON, FhirRequest, Refusal
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_VERSIONS: Final = {"R4": "4.0", "R4B": "4.3", "R5": "5.0"}
_JSON: Final = frozenset({FHIR_JSON, "application/json", "text/json", "application/json+fhir"})
_JSON_RANGES: Final = _JSON | {"*/*", "application/*"}
_FORMATS: Final = _JSON | {"json", "text/fhir+json"}
_PATCHES: Final = {
    "application/json-patch+json": "application/json-patch+json",
    "application/merge-patch+json": "application/merge-patch+json",
    "application/json": "application/merge-patch+json",  # what fhirpy sends
}
_RETURNS: Final = {
    "minimal": pb.RETURN_MINIMAL,
    "representation": pb.RETURN_REPRESENTATION,
    "OperationOutcome": pb.RETURN_OUTCOME,
}
_HANDLINGS: Final = frozenset({"strict", "lenient"})


def check_accept(request: FhirRequest) -> None:
    """Answers are JSON. Raises `Refusal` (406) for a client that takes none."""
    wanted = next((value for name, value in request.query if name == "_format"), "")
    if wanted:
        kind, parameters = _media_type(wanted.replace(" ", "+"))
        if kind not in _FORMATS:
            raise _not_acceptable()
        _check_version(parameters, request.release, HTTPStatus.NOT_ACCEPTABLE)
        return
    accept = request.headers.get("accept", "")
    if not accept.strip():
        return
    taken = [_media_type(one) for one in accept.split(",")]
    fitting = [
        parameters
        for kind, parameters in taken
        if kind in _JSON_RANGES and parameters.get("q", "1") not in ("0", "0.0", "0.00", "0.000")
    ]
    if not fitting:
        raise _not_acceptable()
    if all(_is_other_version(parameters, request.release) for parameters in fitting):
        _check_version(fitting[0], request.release, HTTPStatus.NOT_ACCEPTABLE)


def body_type(request: FhirRequest, *, is_patch: bool) -> str:
    """What the body is, as owners know it. Raises `Refusal` (415)."""
    given = request.headers.get("content-type", "")
    kind, parameters = _media_type(given)
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise _unsupported("JSON is read as UTF-8 only")
    if is_patch:
        if kind not in _PATCHES:
            raise _unsupported(f"a patch is one of {', '.join(_PATCHES)}")
        return _PATCHES[kind]
    if kind not in _JSON:
        raise _unsupported(f"{FHIR_JSON} is taken")
    _check_version(parameters, request.release, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return FHIR_JSON


def check_form(request: FhirRequest) -> None:
    """A search by POST brings a form. Raises `Refusal` (415)."""
    kind, _ = _media_type(request.headers.get("content-type", ""))
    if request.body and kind != "application/x-www-form-urlencoded":
        raise _unsupported("a search by POST is application/x-www-form-urlencoded")


def preferred_return(request: FhirRequest) -> pb.Return.ValueType:
    """What `Prefer: return=` asks for; unspecified where it says nothing that is known."""
    for name, value in _preferences(request):
        if name == "return":
            return _RETURNS.get(value, pb.RETURN_UNSPECIFIED)
    return pb.RETURN_UNSPECIFIED


def is_strict(request: FhirRequest) -> bool:
    """Whether `Prefer: handling=strict` stands there."""
    return any(name == "handling" and value == "strict" for name, value in _preferences(request))


def applied(request: FhirRequest) -> str:
    """What of `Prefer` was honoured, for `Preference-Applied` (RFC 7240 §3)."""
    return ", ".join(
        f"{name}={value}"
        for name, value in _preferences(request)
        if (name == "return" and value in _RETURNS) or (name == "handling" and value in _HANDLINGS)
    )


def _preferences(request: FhirRequest) -> Iterator[tuple[str, str]]:
    for one in request.headers.get("prefer", "").replace(";", ",").split(","):
        name, _, value = one.strip().partition("=")
        if name:
            yield name.strip().lower(), value.strip().strip('"')


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    kind, *rest = text.split(";")
    parameters = {}
    for one in rest:
        name, _, value = one.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return kind.strip().lower(), parameters


def _is_other_version(parameters: dict[str, str], release: str) -> bool:
    wanted = parameters.get("fhirversion", "")
    own = _VERSIONS[release]
    return bool(wanted) and wanted != own and not wanted.startswith(f"{own}.")


def _check_version(parameters: dict[str, str], release: str, status: HTTPStatus) -> None:
    if _is_other_version(parameters, release):
        text = f"this is FHIR {release}: fhirVersion={_VERSIONS[release]}; other releases have an address of their own"
        raise Refusal(status, "not-supported", text)


def _not_acceptable() -> Refusal:
    text = f"answers are JSON: accept {FHIR_JSON} (_format=json)"
    return Refusal(HTTPStatus.NOT_ACCEPTABLE, "not-supported", text)


def _unsupported(text: str) -> Refusal:
    return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-supported", text)


__all__ = [
    "applied",
    "body_type",
    "check_accept",
    "check_form",
    "is_strict",
    "preferred_return",
]
