"""Access at a real gateway on a real server: every proof, every refusal, and each deed in the auditor's list."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bus.clock import SystemClock
from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.trust.tls import client_context, development_certificates
from gateway.access.backend import TokenRefused
from gateway.access.keys import new_api_key
from tests.hospital import Site, running, start
from tests.nats_server import NatsServer
from tests.ports import free_port
from tests.unit.gateway.access.test_mtls import names_of
from tests.unit.gateway.access.tokens_kit import World, key_set, public, rsa, signed

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

SUBJECT = "evt.north.raw.note"
TOKEN_URL = "https://gateway.example/auth/token"


async def test_an_assertion_is_taken_once_by_gateways_on_two_connections(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    world = World(tmp_path)
    gateways, transports = [], []
    for number in range(2):
        transport = await nats.connect(
            [nats_server.url], name=f"gateway-{number}", counters=Counters()
        )
        transports.append(transport)
        world.records = transport.key_value
        gateways.append(await world.open())
    form = world.form()

    answers = await asyncio.gather(
        *(gateway.backend.issue(form) for gateway in gateways * 4), return_exceptions=True
    )

    assert sum(not isinstance(one, BaseException) for one in answers) == 1
    assert sum(isinstance(one, TokenRefused) for one in answers) == 7
    for transport in transports:
        await transport.close()


def assertion(**changes: Any) -> str:
    now_s = int(time.time())
    said = {
        "iss": "ehr", "sub": "ehr", "aud": TOKEN_URL, "exp": now_s + 240, "jti": f"{time.time_ns()}",
    }  # fmt: skip
    return signed(rsa(1), "RS384", said | changes)


def form(text: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": text,
        "scope": "mesh/publish",
    }


async def publish(client: httpx.AsyncClient, subject: str = SUBJECT, **headers: str) -> int:
    answer = await client.post(f"/v1/publish/{subject}", content=b"hello", headers=headers)
    return answer.status_code


async def test_every_proof_and_every_deed(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    development_certificates(pki, clock=SystemClock(), names=("localhost", "127.0.0.1"))
    (tmp_path / "ehr.json").write_bytes(key_set(public(rsa(1), "k1")))
    key, port, mutual = new_api_key("lab"), free_port(), free_port()
    (name, *_) = names_of(pki)
    site = Site(
        tmp_path,
        f'[[adapter]]\nname = "archive"\nkind = "files.writer"\nfolder = "{tmp_path / "archive"}"\n'
        'subscribe = "evt.north.raw.>"\n',
        extra=f"""
[gateway]
listen = "127.0.0.1:{port}"
public_url = "https://gateway.example"
tls = {{ certificate = "{pki}/server.pem", key = "{pki}/server.key" }}
access = {{ mtls_listen = "127.0.0.1:{mutual}", mtls_authority = "{pki}/ca.pem" }}
[[gateway.client]]
name = "lab"
publish = ["evt.north.raw.note.*"]
key = [{{ hash = "{key.hash}" }}]
[[gateway.client]]
name = "ehr"
publish = ["evt.north.raw.note.*"]
jwks = "{tmp_path}/ehr.json"
[[gateway.client]]
name = "ris"
publish = ["evt.north.raw.note.*"]
certificates = ["{name}"]
""",
    )
    ca = pki / "ca.pem"
    proven = client_context(ca=ca, certificate=pki / "client.pem", key=pki / "client.key")
    async with (
        running(site),
        httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=client_context(ca=ca), trust_env=False
        ) as http,
        httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{mutual}", verify=proven, trust_env=False
        ) as certified,
    ):
        assert await publish(http) == 401
        assert await publish(http, **{"x-api-key": key.text}) == 202
        assert await publish(http, "evt.north.raw.other", **{"x-api-key": key.text}) == 403

        text = assertion()
        told = (await http.post("/auth/token", data=form(text))).json()
        assert (await http.post("/auth/token", data=form(text))).json()["error"] == "invalid_client"
        bearer = {"authorization": f"Bearer {told['access_token']}"}
        assert await publish(http, **bearer) == 202

        assert await publish(certified) == 202
        assert await publish(certified, **bearer) == 401  # a certificate of ris, a token of ehr
        forged = {"medmesh.certificate": name, "x-forwarded-client-cert": name}
        assert await publish(http, **forged) == 401

        child = await start(["-m", "medmesh", "audit", "ls", "-c", str(site.config), "--json"])
        await child.ended()
        assert child.process.returncode == 0, "".join(child.errors)
    records = [json.loads(line) for line in child.lines]
    assert [(one["client"], one["proof"], one["allowed"]) for one in records] == [
        ("lab", "api_key", True),
        ("lab", "api_key", False),
        ("ehr", "smart", True),
        ("ris", "certificate", True),
    ]
    logs = "".join(site.child.lines + site.child.errors) if site.child else ""
    for secret in (key.text, told["access_token"], text):
        assert secret not in logs
