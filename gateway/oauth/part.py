"""`POST /auth/token`, `/.well-known/smart-configuration` and `/.well-known/jwks.json`: for SMART backend services."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from adapters.contract import Rights
from gateway.access.access import GatewayAccess
from gateway.access.backend import ALGORITHMS, ASSERTION_TYPE, GRANT, Backend, TokenRefused
from gateway.access.listeners import ISSUING
from gateway.access.mtls import CERTIFICATE
from gateway.access.protocol import Access, TooMany
from gateway.access.rights import ClientRights
from gateway.contract import GatewayRuntime, Receive, Scope, Send
from gateway.oauth.openapi import COMPONENTS, DISCOVERY_PATH, JWKS_PATH, TOKEN_PATH
from gateway.part import Mount, PartKind
from schemas.errors import MeshError
from schemas.gateway import GatewaySection

SMART: Final = "/.well-known/smart-configuration"
JWKS: Final = "/.well-known/jwks.json"

_FORM: Final = b"application/x-www-form-urlencoded"
_MAX_FORM: Final = 64 * 1024
_MAX_FIELDS: Final = 16
_BUSY_S: Final = 1.0
_TYPE: Final = (b"content-type", b"application/json")
_NO_STORE: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))

_Headers = Sequence[tuple[bytes, bytes]]


class AccessPart:
    """`gateway.part.Part`: what a backend service needs to get its access token."""

    def __init__(self, section: GatewaySection, access: GatewayAccess) -> None:
        self._section = section
        self._backend: Backend = access.backend
        self._smart = msgspec.json.encode(smart_configuration(section, self._backend.rights))
        self._jwks = msgspec.json.encode(self._backend.tokens.jwks())

    async def start(self) -> None:
        """Nothing runs in the background."""

    def mounts(self) -> Sequence[Mount]:
        """Its three routes; the discovery also where FHIR clients look, below the base of each release."""
        releases = self._section.fhir.releases if self._section.fhir else ()
        places = (SMART, *(f"/fhir/{release}{SMART}" for release in releases))
        return (
            Mount(prefix=ISSUING, app=self._token, openapi={ISSUING: TOKEN_PATH}),
            Mount(prefix=JWKS, app=self._get_jwks, openapi={JWKS: JWKS_PATH}),
            *(
                Mount(prefix=place, app=self._get_smart, openapi={place: DISCOVERY_PATH})
                for place in places
            ),
        )

    def components(self) -> Mapping[str, Any]:
        """Schemas of its answers."""
        return COMPONENTS

    async def drain(self, *, timeout_s: float) -> None:
        """Nothing of it lasts."""

    async def stop(self) -> None:
        """Nothing is held."""

    async def _get_smart(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _document(scope, send, self._smart)

    async def _get_jwks(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _document(scope, send, self._jwks)

    async def _token(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _answer(send, HTTPStatus.METHOD_NOT_ALLOWED, _error("invalid_request", "POST it"),
                          [(b"allow", b"POST")])  # fmt: skip
            return
        try:
            form = await self._form(scope, receive)
            _, digest = scope.get(CERTIFICATE, ((), b""))
            issued = await self._backend.issue(form, certificate_hash=digest)
        except TokenRefused as refusal:
            await _refuse(send, refusal)
            return
        except TooMany as refusal:
            status, wait_s = HTTPStatus.TOO_MANY_REQUESTS, refusal.retry_after_s
            await _answer(send, status, _error("slow_down", str(refusal)), _retry(wait_s))
            return
        except MeshError as error:
            body = _error("temporarily_unavailable", f"it cannot be decided now ({error.code})")
            await _answer(send, HTTPStatus.SERVICE_UNAVAILABLE, body, _retry(_BUSY_S))
            return
        answer = {
            "access_token": issued.text,
            "token_type": "Bearer",
            "expires_in": issued.lifetime_s,
            "scope": " ".join(issued.scopes),
        }
        await _answer(send, HTTPStatus.OK, answer)

    async def _form(self, scope: Scope, receive: Receive) -> Mapping[str, str]:
        headers = dict(scope["headers"])
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type != _FORM:
            raise TokenRefused("invalid_request", f"the body must be {_FORM.decode()}")
        try:
            async with asyncio.timeout(self._section.body_timeout_s):
                body = await _body(receive)
        except TimeoutError:
            raise TokenRefused("invalid_request", "the body did not come in time") from None
        try:
            fields = parse_qs(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS
            )
        except ValueError:
            raise TokenRefused("invalid_request", "the form cannot be read") from None
        if any(len(values) > 1 for values in fields.values()):
            raise TokenRefused("invalid_request", "a field comes twice")
        return {name: values[0] for name, values in fields.items()}


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise TokenRefused("invalid_request", "the client left")
        body += message.get("body", b"")
        if len(body) > _MAX_FORM:
            raise TokenRefused("invalid_request", f"the form is larger than {_MAX_FORM} bytes")
        if not message.get("more_body", False):
            return bytes(body)


async def _document(scope: Scope, send: Send, body: bytes) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        error = _error("invalid_request", "GET it")
        await _answer(send, HTTPStatus.METHOD_NOT_ALLOWED, error, [(b"allow", b"GET, HEAD")])
        return
    headers = [_TYPE, (b"cache-control", b"max-age=300"), _length(body)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] == "GET" else b""})


async def _refuse(send: Send, refusal: TokenRefused) -> None:
    is_client = refusal.error == "invalid_client"
    status = HTTPStatus.UNAUTHORIZED if is_client else HTTPStatus.BAD_REQUEST
    challenge = [(b"www-authenticate", b"Bearer")] if is_client else []
    await _answer(send, status, _error(refusal.error, str(refusal)), challenge)


async def _answer(
    send: Send, status: int, fields: Mapping[str, Any], headers: _Headers = ()
) -> None:
    body = msgspec.json.encode(fields)
    every = [_TYPE, *_NO_STORE, *headers, _length(body)]
    await send({"type": "http.response.start", "status": int(status), "headers": every})
    await send({"type": "http.response.body", "body": body})


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def _retry(wait_s: float) -> _Headers:
    return [(b"retry-after", str(max(1, round(wait_s + 0.5))).encode())]


def _error(code: str, detail: str) -> dict[str, str]:
    """RFC 6749 §5.2; its description takes no quotes and no backslash."""
    return {"error": code, "error_description": detail.replace('"', "'").replace("\\", "/")}


def smart_configuration(
    section: GatewaySection, rights: Mapping[str, ClientRights]
) -> dict[str, Any]:
    """What SMART clients look up (HL7 SMART App Launch 2.2 §7.2)."""
    base = section.public_url
    scopes = {scope for one in rights.values() for scope in one.scopes}
    return {
        "issuer": base,
        "jwks_uri": base + JWKS,
        "token_endpoint": base + ISSUING,
        "grant_types_supported": [GRANT],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "client_assertion_types_supported": [ASSERTION_TYPE],
        "scopes_supported": sorted(one for one in scopes if one.startswith(("system/", "mesh/"))),
        "code_challenge_methods_supported": ["S256"],
        "tls_client_certificate_bound_access_tokens": bool(section.access.mtls_listen),
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }


def _build(section: GatewaySection, runtime: GatewayRuntime, access: Access) -> AccessPart:
    if not isinstance(access, GatewayAccess):
        raise TypeError(f"{type(access).__name__} issues no tokens")
    return AccessPart(section, access)


ACCESS: Final = PartKind(
    name="access",
    is_wanted=lambda section: any(client.has_public_keys for client in section.client),
    rights=lambda section, site: Rights(),
    build=_build,
)

__all__ = ["ACCESS", "ISSUING", "JWKS", "SMART", "AccessPart", "smart_configuration"]
