"""What the OpenAPI document says of the token endpoint and what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": _json("TokenRefused")}


def _get(operation: str, summary: str, schema: str) -> dict[str, Any]:
    answers = {"200": {"description": summary, "content": _json(schema)}}
    return {
        "get": {"operationId": operation, "summary": summary, "responses": answers, "security": []}
    }


TOKEN_PATH: Final[Mapping[str, Any]] = {
    "post": {
        "operationId": "token",
        "summary": "Exchange a signed assertion for an access token (SMART backend services).",
        "security": [],
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {"$ref": "#/components/schemas/TokenRequest"}
                }
            },
        },
        "responses": {
            "200": {"description": "An access token.", "content": _json("Token")},
            "400": _refusal("The request is none that can be granted."),
            "401": _refusal("The assertion does not prove who the client is."),
            "429": _refusal("The client asks too often."),
            "503": _refusal("Nobody can decide now."),
        },
    }
}
JWKS_PATH: Final[Mapping[str, Any]] = _get(
    "jwks", "The public key that verifies our access tokens.", "Jwks"
)
DISCOVERY_PATH: Final[Mapping[str, Any]] = _get(
    "smartConfiguration", "What SMART clients look up.", "SmartConfiguration"
)

_TEXT: Final = {"type": "string"}
COMPONENTS: Final[Mapping[str, Any]] = {
    "TokenRequest": {
        "type": "object",
        "required": ["grant_type", "client_assertion_type", "client_assertion", "scope"],
        "properties": {
            "grant_type": {"const": "client_credentials"},
            "client_assertion_type": {
                "const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            },
            "client_assertion": _TEXT,
            "scope": _TEXT,
        },
    },
    "Token": {
        "type": "object",
        "required": ["access_token", "token_type", "expires_in", "scope"],
        "properties": {
            "access_token": _TEXT,
            "token_type": {"const": "Bearer"},
            "expires_in": {"type": "integer"},
            "scope": _TEXT,
        },
    },
    "TokenRefused": {
        "type": "object",
        "required": ["error"],
        "properties": {"error": _TEXT, "error_description": _TEXT},
    },
    "Jwks": {
        "type": "object",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
    },
    "SmartConfiguration": {
        "type": "object",
        "required": ["token_endpoint", "grant_types_supported", "capabilities"],
    },
}

__all__ = ["COMPONENTS", "DISCOVERY_PATH", "JWKS_PATH", "TOKEN_PATH"]
