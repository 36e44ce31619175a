"""What `/v1/subscribe` says of itself in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from gateway.http.openapi import header, problems

Json = dict[str, Any]

SUBSCRIBE: Final[Json] = {
    "/v1/subscribe/{pattern}": {
        "get": {
            "operationId": "subscribe",
            "tags": ["events"],
            "summary": "Follow events",
            "description": "Events of the pattern as they are stored, in their order, without a gap: as server-sent "
            "events, as lines of JSON (Accept: application/x-ndjson), or over a WebSocket on the same address. An "
            "event's `id` is a position; sent back as Last-Event-ID, the stream goes on behind it at any gateway of "
            "the site. A stream that ends says why in an event of type `end`.",
            "parameters": [
                {
                    "name": "pattern",
                    "in": "path",
                    "required": True,
                    "description": "Subjects of events, with * for one part and > for all further ones.",
                    "schema": {
                        "type": "string",
                        "pattern": r"^evt(\.([a-z0-9_-]{1,64}|\*)){1,4}(\.>)?$",
                    },
                },
                {
                    "name": "from",
                    "in": "query",
                    "required": False,
                    "description": "Where to begin: `now` (default), `start`, an event's id, or a time with its zone.",
                    "schema": {"type": "string"},
                },
                header("Last-Event-ID", "The position to go on behind; goes before `from`."),
            ],
            "responses": {
                "200": {
                    "description": "The stream.",
                    "content": {
                        "text/event-stream": {"schema": {"type": "string"}},
                        "application/x-ndjson": {"schema": {"type": "string"}},
                    },
                },
                **problems(401, 406, 410, 429),
            },
        }
    }
}

__all__ = ["SUBSCRIBE"]
