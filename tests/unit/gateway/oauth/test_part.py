"""The routes of access: the token endpoint as OAuth2 clients know it, the discovery, the public key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.access import mtls
from gateway.access.protocol import Credentials
from gateway.contract import Asgi
from gateway.http import request
from gateway.oauth import ACCESS, AccessPart
from schemas.errors import MeshError
from tests.unit.gateway.access.kit import keyed, runtime, section
from tests.unit.gateway.access.tokens_kit import World, bearer

FORM = b"application/x-www-form-urlencoded"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class Answer:
    def __init__(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Asgi,
    body: bytes = b"",
    *,
    method: str = "POST",
    content_type: bytes = FORM,
    certificate: tuple[tuple[str, ...], bytes] | None = None,
) -> Answer:
    sent: list[dict[str, Any]] = []
    parts = [body[:7], body[7:]]

    async def receive() -> Mapping[str, Any]:
        chunk = parts.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "headers": [(b"content-type", content_type)],
    }
    if certificate is not None:
        scope[mtls.CERTIFICATE] = certificate
    await app(scope, receive, send)
    content = b"".join(one.get("body", b"") for one in sent[1:])
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), content)


async def routes(world: World) -> Mapping[str, Asgi]:
    access = await world.open()
    made = ACCESS.build(section(**world.section_keys()), runtime(world.folder), access)
    return {mount.prefix: mount.app for mount in made.mounts()}


async def test_a_form_gives_a_token(world: World) -> None:
    apps = await routes(world)

    answer = await ask(apps["/auth/token"], urlencode(world.form()).encode())

    assert answer.status == 200
    assert answer.headers[b"cache-control"] == b"no-store"
    told = answer.json
    assert {key: told[key] for key in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "system/Patient.rs",
    }
    assert (await bearer(await world.open(), told["access_token"])).name == "ehr"


async def test_a_token_asked_for_by_mutual_tls_is_bound(world: World) -> None:
    apps = await routes(world)
    form = urlencode(world.form()).encode()

    answer = await ask(apps["/auth/token"], form, certificate=(("ehr.example",), b"x" * 32))

    client = await (await world.open()).identify(
        Credentials(
            authorization=f"Bearer {answer.json['access_token']}", certificate_hash=b"x" * 32
        )
    )
    assert client.name == "ehr"


def test_the_front_and_the_listener_mean_the_same_by_a_certificate() -> None:
    assert mtls.CERTIFICATE == request.CERTIFICATE


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"scope": "launch"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_assertion": "x"}, 401, "invalid_client"),
    ],
)
async def test_refusals_are_those_of_oauth(
    world: World, changes: dict[str, str], status: int, error: str
) -> None:
    apps = await routes(world)

    answer = await ask(apps["/auth/token"], urlencode(world.form(**changes)).encode())

    assert (answer.status, answer.json["error"]) == (status, error)
    assert answer.json["error_description"]
    assert (b"www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"grant_type=a&grant_type=b",
        b"\xff",
        b"&".join(b"f%d=1" % n for n in range(30)),
        b"x" * 100_000,
    ],
)
async def test_a_form_that_is_none_is_refused(world: World, body: bytes) -> None:
    apps = await routes(world)

    assert (await ask(apps["/auth/token"], body)).status == 400


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_form_that_never_comes_is_not_waited_for(world: World, *, leaves: bool) -> None:
    keys = world.section_keys() | {"body_timeout_s": 0.05}
    made = AccessPart(section(**keys), await world.open())
    app = next(mount.app for mount in made.mounts() if mount.prefix == "/auth/token")
    sent: list[dict[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        if leaves:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", FORM)]
    await app({"type": "http", "method": "POST", "headers": headers}, receive, send)

    assert sent[0]["status"] == 400


async def test_other_media_types_and_methods_are_refused(world: World) -> None:
    apps = await routes(world)

    answer = await ask(apps["/auth/token"], b"{}", content_type=b"application/json")
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    answer = await ask(apps["/auth/token"], method="GET")
    assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")
    answer = await ask(apps["/.well-known/jwks.json"], method="POST")
    assert (answer.status, answer.headers[b"allow"]) == (405, b"GET, HEAD")


async def test_a_client_that_asks_too_often_is_told_when_to_come_back(world: World) -> None:
    world.ehr["rate"] = 0.1
    apps = await routes(world)
    await ask(apps["/auth/token"], urlencode(world.form()).encode())

    answer = await ask(apps["/auth/token"], urlencode(world.form()).encode())

    assert (answer.status, answer.headers[b"retry-after"]) == (429, b"10")


async def test_where_nobody_can_know_the_answer_says_so(world: World) -> None:
    access = await world.open()

    async def away(bucket: str, *, history: int = 1, max_age_s: float = 0.0) -> Any:
        raise MeshError("the carrier is away")

    access.backend.once._records = away
    made = AccessPart(section(**world.section_keys()), access)
    app = next(mount.app for mount in made.mounts() if mount.prefix == "/auth/token")

    answer = await ask(app, urlencode(world.form()).encode())

    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers[b"retry-after"]


async def test_the_discovery_says_what_is_there(world: World) -> None:
    world.ehr["publish"] = ["evt.north.result.>"]
    keys = world.section_keys() | {"fhir": {"releases": ["R4", "R5"]}}
    world.section_keys = lambda: keys  # type: ignore[method-assign]
    apps = await routes(world)

    for place in ("", "/fhir/R4", "/fhir/R5"):
        answer = await ask(apps[f"{place}/.well-known/smart-configuration"], method="GET")
        told = answer.json
        assert told["token_endpoint"] == "https://gateway.example/auth/token"
        assert told["jwks_uri"] == "https://gateway.example/.well-known/jwks.json"
        assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert "permission-v2" in told["capabilities"]
        assert {"system/Patient.rs", "mesh/publish"} <= set(told["scopes_supported"])


async def test_the_public_key_can_be_had_and_asked_for(world: World) -> None:
    apps = await routes(world)

    answer = await ask(apps["/.well-known/jwks.json"], method="GET")
    head = await ask(apps["/.well-known/jwks.json"], method="HEAD")

    assert answer.json["keys"][0]["crv"] == "Ed25519"
    assert "d" not in answer.json["keys"][0]
    assert (head.body, head.headers) == (b"", answer.headers)


def test_without_backend_services_there_is_no_token_endpoint() -> None:
    _, lab = keyed("lab")

    assert not ACCESS.is_wanted(section(client=[lab]))
    assert ACCESS.is_wanted(section(client=[{"name": "ehr", "jwks": "keys.json"}]))


async def test_everything_that_the_document_refers_to_is_there(world: World) -> None:
    access = await world.open()
    made = AccessPart(section(**world.section_keys()), access)
    paths = json.dumps([dict(mount.openapi) for mount in made.mounts()], default=dict)

    for reference in {one.split('"')[0] for one in paths.split("#/components/schemas/")[1:]}:
        assert reference in made.components()
