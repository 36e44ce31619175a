"""An authorisation server and backend services for tests: keys, key sets, tokens as they send them."""

from __future__ import annotations

import base64
import itertools
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from adapters.contract import OpenRecords
from bus.transport.memory import MemoryBroker
from gateway.access.access import GatewayAccess
from gateway.access.build import open_access
from gateway.access.protocol import Client, Credentials
from schemas.clock import FakeClock
from tests.unit.adapters.parts import in_memory
from tests.unit.gateway.access.kit import runtime, section

ISSUER = "https://login.example/realms/north"
AUDIENCE = "https://gateway.example"
TOKEN_URL = "https://gateway.example/auth/token"
_JTI = itertools.count()


@lru_cache
def rsa(number: int = 0) -> RSAKey:
    return RSAKey.generate_key(2048)


@lru_cache
def ec(curve: str = "P-384", number: int = 0) -> ECKey:
    return ECKey.generate_key(curve)


def public(key: Any, kid: str, **more: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, **more}


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def signed(
    key: Key | OctKey | OKPKey,
    algorithm: str,
    claims: dict[str, Any],
    *,
    kid: str = "k1",
    header: dict[str, Any] | None = None,
) -> str:
    head = {"alg": algorithm, "kid": kid, "typ": "JWT", **(header or {})}
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(head, json.dumps(claims).encode(), key, registry=registry)


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def claims(clock: FakeClock, **changes: Any) -> dict[str, Any]:
    """What a good access token of the authorisation server says; a change to None leaves a claim out."""
    now_s = clock.now_ms() // 1000
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "azp": "lab-app",
        "sub": "f3a1",
        "iat": now_s,
        "exp": now_s + 300,
        "scope": "openid system/Patient.rs mesh/publish",
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def assertion_claims(clock: FakeClock, **changes: Any) -> dict[str, Any]:
    """What a good assertion of the backend service `ehr` says."""
    now_s = clock.now_ms() // 1000
    said = {
        "iss": "ehr",
        "sub": "ehr",
        "aud": TOKEN_URL,
        "exp": now_s + 240,
        "iat": now_s,
        "jti": f"jti-{next(_JTI)}",
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


class World:
    """A gateway with one authorisation server, the client `lab` of it, and the backend service `ehr`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.issuer_keys = folder / "issuer.json"
        self.client_keys = folder / "ehr.json"
        self.issuer_keys.write_bytes(key_set(public(rsa(), "k1"), public(ec("P-256"), "k2")))
        self.client_keys.write_bytes(key_set(public(rsa(1), "k1"), public(ec(), "k2")))
        self.issuer: dict[str, Any] = {}
        self.access_keys: dict[str, Any] = {}
        self.lab: dict[str, Any] = {
            "publish": ["evt.north.result.*.*"],
            "subscribe": ["evt.north.order.>"],
            "fhir": ["system/*.rs", "patient/*.rs"],
        }
        self.ehr: dict[str, Any] = {"fhir": ["system/Patient.rs", "system/Observation.cruds"]}
        self.site_key = b"k" * 32
        self.records: OpenRecords = in_memory(MemoryBroker())
        self.clients: list[dict[str, Any]] = []

    def section_keys(self) -> dict[str, Any]:
        issuer = {
            "issuer": ISSUER,
            "audience": [AUDIENCE],
            "jwks": str(self.issuer_keys),
            **self.issuer,
        }
        lab = {"name": "lab", "token": [{"issuer": ISSUER, "id": "lab-app"}], **self.lab}
        ehr = {"name": "ehr", "jwks": str(self.client_keys), **self.ehr}
        return {
            "public_url": AUDIENCE,
            "access": {"issuer": [issuer], **self.access_keys},
            "client": [lab, ehr, *self.clients],
        }

    async def open(self) -> GatewayAccess:
        """One more gateway of the site."""
        around = runtime(
            self.folder,
            clock=self.clock,
            records=self.records,
            site_key=self.site_key,
        )
        self.counters = around.counters
        return await open_access(section(**self.section_keys()), around)

    def token(self, **changes: Any) -> str:
        return signed(rsa(), "RS256", claims(self.clock, **changes))

    def form(self, assertion: str = "", **changes: str) -> dict[str, str]:
        said = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion or self.assertion(),
            "scope": "system/Patient.rs",
        }
        return said | changes

    def assertion(self, **changes: Any) -> str:
        return signed(rsa(1), "RS384", assertion_claims(self.clock, **changes))


async def bearer(access: GatewayAccess, token: str, **more: Any) -> Client:
    return await access.identify(Credentials(authorization=f"Bearer {token}", **more))
