"""What `/v1` says of itself in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from gateway.http.openapi import CALL_PARAMETERS, CALL_STATUSES, header, problems
from gateway.http.v1.hl7v2 import TYPES

Json = dict[str, Any]
_NAME: Final = "[a-z0-9_-]{1,64}"
_BODY: Final[Json] = {"content": {"*/*": {"schema": True}}}
_ACCEPT: Final = 406


def _path(name: str, words: str, pattern: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": words,
        "schema": {"type": "string", "pattern": f"^{pattern}$"},
    }


PUBLISH: Final[Json] = {
    "/v1/publish/{subject}": {
        "post": {
            "operationId": "publish",
            "tags": ["events"],
            "summary": "Store an event",
            "description": "202 says that the event is stored (synced to disk), and nothing less does. The body's "
            "Content-Type becomes the type of the event.",
            "parameters": [
                _path(
                    "subject",
                    "evt.<site>.<domain>.<event>, with or without .<partition>",
                    rf"evt(\.{_NAME}){{3,4}}",
                ),
                header(
                    "Medmesh-Key",
                    "What keeps events in order, a patient's identifier: events of one key follow each other. It is "
                    "hashed under the site's key and goes nowhere else.",
                ),
                header(
                    "Idempotency-Key",
                    "An event sent again under the same key is stored once, and `duplicate` says so.",
                    pattern=r"^[\x21-\x7e]{1,255}$",
                ),
                *(one for one in CALL_PARAMETERS if one["name"] != "Idempotency-Key"),
            ],
            "requestBody": _BODY,
            "responses": {
                "202": {
                    "description": "Stored.",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Stored"}}
                    },
                },
                **problems(401, _ACCEPT, 408, 413, 415, 422, 429, 504),
            },
        }
    }
}

REQUEST: Final[Json] = {
    "/v1/request/{service}/{method}": {
        "post": {
            "operationId": "request",
            "tags": ["services"],
            "summary": "Call a service",
            "description": "The body goes to the service as it is, and its answer comes back as it is.",
            "parameters": [
                _path("service", "Name of the service.", _NAME),
                _path("method", "Name of the method.", _NAME),
                {
                    "name": "v",
                    "in": "query",
                    "required": False,
                    "description": "Major version of the service.",
                    "schema": {"type": "integer", "minimum": 0, "maximum": 9999, "default": 1},
                },
                *CALL_PARAMETERS,
            ],
            "requestBody": _BODY,
            "responses": {
                "200": {
                    "description": "The service's answer.",
                    "content": {"*/*": {"schema": True}},
                },
                **problems(*CALL_STATUSES),
            },
        }
    }
}

_ACK: Final[Json] = {
    "content": {
        "application/hl7-v2": {
            "schema": {"type": "string", "description": "An acknowledgement: MSH, MSA, ERR."}
        }
    }
}


def _ack_or_problem(status: int, words: str) -> Json:
    """An acknowledgement, or a problem where the message was not looked at."""
    said: Json = problems(status)[str(status)]
    said["description"] = words
    said["content"] = {**_ACK["content"], **said["content"]}
    return {str(status): said}


HL7V2: Final[Json] = {
    "/v1/hl7v2": {
        "post": {
            "operationId": "hl7v2",
            "tags": ["HL7 v2"],
            "summary": "Store an HL7 v2 message",
            "description": "One message, ER7, without MLLP framing. AA (or CA, as MSH-15 asks) says that it is stored.",
            "parameters": [
                one for one in CALL_PARAMETERS if one["name"] in ("traceparent", "X-Request-Id")
            ],
            "requestBody": {
                "required": True,
                "content": {one: {"schema": {"type": "string"}} for one in TYPES},
            },
            "responses": {
                "200": {"description": "AA or CA: stored.", **_ACK},
                **_ack_or_problem(422, "AR or CR: this message is not taken."),
                **_ack_or_problem(503, "AE or CE: not now; send it again."),
                **problems(401, _ACCEPT, 408, 413, 415, 429),
            },
        }
    }
}

SCHEMAS: Final[Json] = {
    "Stored": {
        "type": "object",
        "required": ["message_id", "stream", "seq", "duplicate", "subject"],
        "properties": {
            "message_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "stream": {"type": "string"},
            "seq": {"type": "integer", "minimum": 1},
            "duplicate": {
                "type": "boolean",
                "description": "Whether it was stored before under the same Idempotency-Key.",
            },
            "subject": {"type": "string", "description": "With its partition."},
        },
        "additionalProperties": False,
    }
}

__all__ = ["HL7V2", "PUBLISH", "REQUEST", "SCHEMAS"]
