"""The OpenAPI 3.1 document: what the parts say of themselves, and the services that run now. Pure.

Source: OpenAPI 3.1.0. Every answer that can happen is declared; those that any address can give are added here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from gateway.contract import MethodWords
from gateway.part import Mount

Json = dict[str, Any]
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
# what the server and the edge can say to any request
_EVERYWHERE: Final = (400, 403, 405, 421, 431, 500, 503)
_RETRY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_MAX_SCHEMA_CHARS: Final = 64 * 1024
_MAX_DEPTH: Final = 64
PROBLEM: Final = "#/components/schemas/Problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One major version of a service that runs now."""

    name: str
    major: int
    methods: tuple[MethodWords, ...]


def problems(*statuses: int) -> Json:
    """Responses that are problem documents."""
    return {str(status): problem(status) for status in statuses}


def problem(status: int) -> Json:
    """One of them."""
    found: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": {"$ref": PROBLEM}}},
    }
    if status in _RETRY:
        found["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return found


def header(name: str, words: str, **schema: object) -> Json:
    """A parameter that is a header."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": words,
        "schema": {"type": "string", **schema},
    }


def document(
    *,
    title: str,
    url: str,
    mounts: Iterable[Mount],
    components: Iterable[Mapping[str, Any]],
    services: Iterable[Service],
    is_anonymous: bool,
) -> Json:
    """The whole document."""
    paths: Json = {}
    for mount in mounts:
        for path, item in mount.openapi.items():
            paths[path] = _complete(item)
    schemas: Json = {"Problem": _PROBLEM}
    for one in components:
        schemas.update(one)
    for (name, method), majors in _by_method(services).items():
        path = f"/v1/request/{name}/{method}"
        paths.setdefault(path, _complete(_call(name, majors, schemas)))
    found: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": "1",
            "description": "The front door of a medmesh site. Errors are RFC 9457 problems.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if url:
        found["servers"] = [{"url": url}]
    if not is_anonymous:
        found["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        }
        found["security"] = [{"bearer": []}, {"key": []}]
    return found


def _complete(item: Mapping[str, Any]) -> Json:
    """A path item with the answers that every address can give."""
    found = dict(item)
    for method in _METHODS:
        if method not in found:
            continue
        operation = dict(found[method])
        responses = dict(operation.get("responses", {}))
        for status, said in problems(*_EVERYWHERE).items():
            responses.setdefault(status, said)
        found[method] = {**operation, "responses": dict(sorted(responses.items()))}
    return found


def _by_method(services: Iterable[Service]) -> dict[tuple[str, str], dict[int, MethodWords]]:
    """(service, method) to what each major version says of it, the newest first."""
    found: dict[tuple[str, str], dict[int, MethodWords]] = {}
    for service in sorted(services, key=lambda one: (one.name, -one.major)):
        for method in service.methods:
            found.setdefault((service.name, method.name), {})[service.major] = method
    return found


def _call(name: str, majors: Mapping[int, MethodWords], schemas: Json) -> Json:
    """One method of a running service as an address of its own; its newest version is described."""
    newest, method = next(iter(majors.items()))
    base = f"{name}.v{newest}.{method.name}"
    asked = _schema(method.request_schema, f"{base}.request", schemas)
    told = _schema(method.response_schema, f"{base}.response", schemas)
    version: Json = {
        "name": "v",
        "in": "query",
        "required": 1 not in majors,
        "description": "Major version of the service.",
        "schema": {"type": "integer", "enum": sorted(majors)},
    }
    return {
        "post": {
            "operationId": base,
            "tags": [name],
            "summary": f"{method.name} of {name}",
            "parameters": [*CALL_PARAMETERS, version],
            "requestBody": {"content": {method.request_type or _ANY: {"schema": asked}}},
            "responses": {
                "200": {
                    "description": "The service's answer.",
                    "content": {method.response_type or _ANY: {"schema": told}},
                },
                **problems(*CALL_STATUSES),
            },
        }
    }


_ANY: Final = "application/octet-stream"
CALL_STATUSES: Final = (401, 404, 408, 413, 415, 422, 429, 502, 504)
CALL_PARAMETERS: Final[Sequence[Json]] = (
    header(
        "Request-Timeout",
        "Seconds that the client waits; bounded by the gateway.",
        pattern=r"^\d+(\.\d+)?$",
    ),
    header(
        "Idempotency-Key",
        "The same key is the same call: its id, which services compare, is made of it.",
        pattern=r"^[\x21-\x7e]{1,255}$",
    ),
    header("Medmesh-Priority", "How urgent it is.", enum=["stat", "routine", "bulk"]),
    header("traceparent", "W3C trace context, carried to the service."),
    header("X-Request-Id", "Comes back with the answer.", pattern=r"^[A-Za-z0-9_.:-]{1,64}$"),
)


def _schema(text: str, name: str, schemas: Json) -> Json | bool:
    """A method's own JSON schema, its definitions moved to the components; True where none can be read."""
    if not text or len(text) > _MAX_SCHEMA_CHARS or not text.startswith("{"):
        return True
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return True
    if not isinstance(found, dict):
        return True
    definitions = found.pop("$defs", {})
    try:
        moved = {
            f"{name}.{key}": _moved(value, name, _MAX_DEPTH)
            for key, value in (definitions.items() if isinstance(definitions, dict) else ())
        }
        schemas[name] = _moved(found, name, _MAX_DEPTH)
    except RecursionError:
        return True
    schemas.update(moved)
    return {"$ref": f"#/components/schemas/{name}"}


def _moved(value: Any, name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON
    if not depth:
        raise RecursionError
    if isinstance(value, list):
        return [_moved(one, name, depth - 1) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _reference(one, name) if key == "$ref" else _moved(one, name, depth - 1)
        for key, one in value.items()
    }


def _reference(target: object, name: str) -> object:
    prefix = "#/$defs/"
    if isinstance(target, str) and target.startswith(prefix):
        return f"#/components/schemas/{name}.{target.removeprefix(prefix)}"
    return target


_PROBLEM: Final[Json] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:medmesh:problem:"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable; for programs."},
        "allowed": {"type": "array", "items": {"type": "string"}},
        "reason": {"type": "string", "description": "A service's own code."},
        "retry_after_s": {"type": "number"},
    },
}

__all__ = [
    "CALL_PARAMETERS",
    "CALL_STATUSES",
    "Service",
    "document",
    "header",
    "problem",
    "problems",
]
