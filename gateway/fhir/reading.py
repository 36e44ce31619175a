"""From an address, a method and headers to an `Interaction` (FHIR R4 §3.1.0.1.1 to §3.1.0.15). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from adapters.fhir.codec.errors import UnreadableResource
from adapters.fhir.codec.partial import is_id, is_resource_type, read_head
from gateway.fhir.exchange import FhirRequest, Pairs, Refusal
from gateway.fhir.negotiation import body_type, check_form, is_strict, preferred_return
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

MAX_PARAMETERS: Final = 200
"""Of a query or a form."""
CURSOR: Final = "_cursor"
"""Where the address of a next page holds the place to go on."""
_OURS: Final = frozenset({"_format", "_pretty"})
"""Parameters that are no matter of the owner's."""
_ETAG: Final = re.compile(r'(?:W/)?"([A-Za-z0-9.\-]{1,64})"\Z')
_BY_TYPE: Final = {
    "GET": pb.KIND_SEARCH,
    "POST": pb.KIND_CREATE,
    "PUT": pb.KIND_UPDATE,
    "PATCH": pb.KIND_PATCH,
    "DELETE": pb.KIND_DELETE,
}
_BY_ID: Final = {
    "GET": pb.KIND_READ,
    "PUT": pb.KIND_UPDATE,
    "PATCH": pb.KIND_PATCH,
    "DELETE": pb.KIND_DELETE,
}
_WITH_ID: Final = 2
_BESIDE: Final = frozenset({"_search", "_history", "$validate"})
"""What stands behind a type without being an id."""
_OPERATION: Final = re.compile(r"\$[A-Za-z][A-Za-z0-9-]{0,63}\Z")
_WITH_BODY: Final = frozenset({pb.KIND_CREATE, pb.KIND_UPDATE, pb.KIND_PATCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What an address names."""

    kind: pb.Kind.ValueType
    type: str = ""
    id: str = ""
    version: str = ""
    operation: str = ""
    is_form: bool = False
    """The search's parameters are (also) in the body."""


def place_of(method: str, path: tuple[str, ...]) -> Place:
    """What is asked for. Raises `Refusal`: 404 for no such address, 405 for a method that it does not have."""
    if path == ("_history",):
        return _only("GET", method, Place(kind=pb.KIND_HISTORY))
    if not path or not is_resource_type(path[0]):
        raise _nowhere()
    is_in_type = len(path) < _WITH_ID or path[1] in _BESIDE or _OPERATION.match(path[1])
    return _in_type(method, path) if is_in_type else _by_id(method, path)


def _in_type(method: str, path: tuple[str, ...]) -> Place:
    match path:
        case (type_,):
            return Place(kind=_kind(_BY_TYPE, method), type=type_)
        case (type_, "_search"):
            return _only("POST", method, Place(kind=pb.KIND_SEARCH, type=type_, is_form=True))
        case (type_, "_history"):
            return _only("GET", method, Place(kind=pb.KIND_HISTORY, type=type_))
        case (type_, "$validate"):
            return _only("POST", method, Place(kind=pb.KIND_VALIDATE, type=type_))
        case (type_, name) if _OPERATION.match(name):
            return _operation(method, Place(kind=pb.KIND_OPERATION, type=type_, operation=name))
        case _:
            raise _nowhere()


def _by_id(method: str, path: tuple[str, ...]) -> Place:
    if not is_id(path[1]):
        raise _nowhere()
    match path:
        case (type_, id_):
            return Place(kind=_kind(_BY_ID, method), type=type_, id=id_)
        case (type_, id_, "_history"):
            return _only("GET", method, Place(kind=pb.KIND_HISTORY, type=type_, id=id_))
        case (type_, id_, "_history", version) if is_id(version):
            place = Place(kind=pb.KIND_VREAD, type=type_, id=id_, version=version)
            return _only("GET", method, place)
        case (type_, id_, name) if _OPERATION.match(name):
            place = Place(kind=pb.KIND_OPERATION, type=type_, id=id_, operation=name)
            return _operation(method, place)
        case _:
            raise _nowhere()


def _operation(method: str, place: Place) -> Place:
    if method not in ("GET", "POST"):
        raise _not_allowed(("GET", "POST"))
    return place


def interaction_of(request: FhirRequest, place: Place) -> pb.Interaction:
    """The call that the owner gets. Raises `Refusal`."""
    wanted = pb.Interaction(
        kind=place.kind,
        release=request.release,
        resource_type=place.type,
        id=place.id,
        version=place.version,
        is_strict=is_strict(request),
        prefer_return=preferred_return(request),
        base=request.base,
        operation=place.operation,
    )
    query = tuple(pair for pair in request.query if pair[0] not in _OURS)
    if place.is_form:
        check_form(request)
        query += pairs_of(request.body)
    _add_parameters(wanted, place, query, request)
    wanted.if_match = _version(request, "if-match")
    if place.kind == pb.KIND_UPDATE:
        wanted.if_none_match = _version(request, "if-none-match")
    if place.kind in _WITH_BODY:
        _add_body(wanted, place, request)
    elif place.kind == pb.KIND_VALIDATE or (place.kind == pb.KIND_OPERATION and request.body):
        wanted.body_type = body_type(request, is_patch=False)
        wanted.body = request.body
    return wanted


def pairs_of(text: bytes | str) -> Pairs:
    """Names and values of a query or form. Raises `Refusal` (400)."""
    try:
        plain = text.decode("ascii") if isinstance(text, bytes) else text
        return tuple(
            parse_qsl(
                plain,
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_PARAMETERS,
            )
        )
    except (UnicodeError, ValueError):
        words = f"the parameters are not percent-encoded UTF-8, or more than {MAX_PARAMETERS}"
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", words) from None


def _add_parameters(
    wanted: pb.Interaction, place: Place, query: Pairs, request: FhirRequest
) -> None:
    if place.kind == pb.KIND_CREATE:
        given = request.headers.get("if-none-exist", "")
        condition = pairs_of(given.partition("?")[2] or given) if given else ()
        # A query on a create is a condition (as Aidbox's clients write it): never ignored.
        _extend(wanted.if_none_exist, condition + query)
        return
    is_change = place.kind in (pb.KIND_UPDATE, pb.KIND_PATCH, pb.KIND_DELETE)
    if is_change and place.id and query:
        text = "parameters stand with an address that has an id: a conditional change leaves the id out"
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", text)
    if is_change and not place.id and not query:
        text = "neither an id nor a condition says which resource is meant"
        raise Refusal(HTTPStatus.PRECONDITION_FAILED, "required", text)
    wanted.is_conditional = is_change and bool(query)
    wanted.cursor = next((value for name, value in query if name == CURSOR), "")
    _extend(wanted.parameters, tuple(pair for pair in query if pair[0] != CURSOR))


def _extend(into: object, pairs: Pairs) -> None:
    into.extend(pb.Parameter(name=name, value=value) for name, value in pairs)  # type: ignore[attr-defined]


def _add_body(wanted: pb.Interaction, place: Place, request: FhirRequest) -> None:
    is_patch = place.kind == pb.KIND_PATCH
    wanted.body_type = body_type(request, is_patch=is_patch)
    wanted.body = request.body
    if is_patch:
        return
    try:
        head = read_head(request.body)
    except UnreadableResource as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "structure", str(error)) from None
    if head.resource_type != place.type:
        text = f"the body is a {head.resource_type}, the address says {place.type}"
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", text)
    if place.kind == pb.KIND_UPDATE and place.id and head.id != place.id:
        text = "the body's id is not the address's (FHIR R4 §3.1.0.4)"
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", text)


def _version(request: FhirRequest, header: str) -> str:
    text = request.headers.get(header, "").strip()
    if not text or text == "*":
        return text
    found = _ETAG.match(text)
    if found is None:
        words = f'{header} is one version, as ETag gives it: W/"3"'
        raise Refusal(HTTPStatus.BAD_REQUEST, "value", words)
    return found[1]


def _kind(kinds: Mapping[str, pb.Kind.ValueType], method: str) -> pb.Kind.ValueType:
    if method not in kinds:
        raise _not_allowed(tuple(kinds))
    return kinds[method]


def _only(allowed: str, method: str, place: Place) -> Place:
    if method != allowed:
        raise _not_allowed((allowed,))
    return place


def _not_allowed(methods: tuple[str, ...]) -> Refusal:
    listed = ", ".join(("HEAD", *methods) if "GET" in methods else methods)
    text = f"this address takes {listed}"
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED, "not-supported", text, headers=(("allow", listed),)
    )


def _nowhere() -> Refusal:
    text = "nothing is here: <Type>, <Type>/<id>, <Type>/<id>/_history/<version>, <Type>/_search, metadata"
    return Refusal(HTTPStatus.NOT_FOUND, "not-found", text)


def as_get(request: FhirRequest) -> FhirRequest:
    """A HEAD asks what a GET would."""
    return replace(request, method="GET") if request.method == "HEAD" else request


__all__ = [
    "CURSOR",
    "MAX_PARAMETERS",
    "Place",
    "as_get",
    "interaction_of",
    "pairs_of",
    "place_of",
]
