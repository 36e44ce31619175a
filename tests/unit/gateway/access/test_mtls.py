"""Mutual TLS: who has a certificate of the authority is who its names say; a header says nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bus.clock import SystemClock
from bus.telemetry.counters import Counters
from bus.trust.tls import client_context, development_certificates
from gateway.access.build import open_access
from gateway.access.mtls import CERTIFICATE, MtlsListener, names_in
from gateway.access.protocol import Credentials, Proof, Unauthenticated
from gateway.contract import Receive, Scope, Send
from schemas.errors import ConfigurationError, Unavailable
from tests.unit.gateway.access.kit import keyed, runtime, section

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    development_certificates(folder, clock=SystemClock(), names=("localhost",))
    return folder


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers")
    development_certificates(folder, clock=SystemClock(), names=("localhost",))
    return folder


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the listener says of the certificate."""
    names, digest = scope[CERTIFICATE]
    body = json.dumps({"names": names, "hash": digest.hex()}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def keys_of(pki: Path, listen: str = "127.0.0.1:0") -> dict[str, Any]:
    return {
        "tls": {"certificate": str(pki / "server.pem"), "key": str(pki / "server.key")},
        "access": {"mtls_listen": listen, "mtls_authority": str(pki / "ca.pem")},
    }


@asynccontextmanager
async def listening(pki: Path, app: Any = show, **more: Any) -> AsyncIterator[MtlsListener]:
    listener = MtlsListener(section(**keys_of(pki), **more), app, Counters())
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def connected(
    listener: MtlsListener, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        "127.0.0.1", listener.bound_port, ssl=context, server_hostname="localhost"
    )


async def ask(listener: MtlsListener, context: ssl.SSLContext, *headers: str) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await connected(listener, context)
        lines = ("GET / HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", "")
        writer.write("\r\n".join(lines).encode())
        answer = await reader.read()
        writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def client(pki: Path, authority: Path | None = None) -> ssl.SSLContext:
    return client_context(
        ca=(authority or pki) / "ca.pem", certificate=pki / "client.pem", key=pki / "client.key"
    )


def names_of(pki: Path) -> tuple[str, ...]:
    shown = ssl._ssl._test_decode_cert(str(pki / "client.pem"))  # type: ignore[attr-defined]
    return names_in(shown)


async def test_the_application_learns_the_names_and_the_hash_of_the_certificate(pki: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(
        (pki / "client.pem").read_text().split("-----END CERTIFICATE-----")[0]
        + "-----END CERTIFICATE-----\n"
    )
    async with listening(pki) as listener:
        told = await ask(listener, client(pki), "Medmesh.Certificate: x", "X-Client-Cert: y")

    assert tuple(told["names"]) == names_of(pki) != ()
    assert told["hash"] == hashlib.sha256(der).hexdigest()


async def test_nobody_comes_in_without_a_certificate(pki: Path) -> None:
    async with listening(pki) as listener:
        with pytest.raises((ssl.SSLError, ConnectionError, json.JSONDecodeError)):
            await ask(listener, client_context(ca=pki / "ca.pem"))


async def test_a_certificate_of_another_authority_is_refused(pki: Path, strangers: Path) -> None:
    async with listening(pki) as listener:
        with pytest.raises((ssl.SSLError, ConnectionError, json.JSONDecodeError)):
            await ask(listener, client(strangers, authority=pki))


async def test_the_names_are_those_of_a_client(pki: Path, tmp_path: Path) -> None:
    names = names_of(pki)
    _, lab = keyed("lab", certificates=[names[0]], publish=["evt.north.>"])
    _, ris = keyed("ris", certificates=["ris.example", "both.example"])
    access = await open_access(section(client=[lab, ris]), runtime(tmp_path))

    found = await access.identify(Credentials(certificate_names=names))
    assert (found.name, found.proof) == ("lab", Proof.CERTIFICATE)
    access.may_publish(found, "evt.north.result.final.7")
    for unknown in (("nobody.example",), (names[0] + ".example",)):
        with pytest.raises(Unauthenticated, match="no client"):
            await access.identify(Credentials(certificate_names=unknown))
    with pytest.raises(Unauthenticated, match="more than one"):
        await access.identify(Credentials(certificate_names=(names[0], "ris.example")))


def test_a_common_name_and_an_address_count_for_nothing() -> None:
    shown = {
        "subject": ((("commonName", "lab.example"),),),
        "subjectAltName": (
            ("DNS", "a.example"), ("URI", "spiffe://north/lab"), ("IP Address", "10.0.0.1"),
            ("email", "lab@example"),
        ),
    }  # fmt: skip

    assert names_in(shown) == ("a.example", "spiffe://north/lab")
    assert names_in({}) == ()


async def test_a_large_head_is_cut(pki: Path) -> None:
    counters = Counters()
    listener = MtlsListener(section(**keys_of(pki), max_header=4096), show, counters)
    await listener.start()
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await connected(listener, client(pki))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        for number in range(60):
            writer.write(b"X-%d: %s\r\n" % (number, b"x" * 1000))
            await asyncio.sleep(0)
        with suppress(ConnectionError, ssl.SSLError):
            assert await reader.read() == b""
        writer.transport.abort()
    await listener.stop()

    assert counters.get("connection_cut", who="mtls", reason="head_too_large") == 1


async def test_a_drain_finishes_what_is_in_hand(pki: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go.wait()
        await show(scope, receive, send)

    async with listening(pki, slow) as listener, asyncio.timeout(DEADLINE_S):
        asking = asyncio.create_task(ask(listener, client(pki)))
        await begun.wait()
        draining = asyncio.create_task(listener.drain(timeout_s=DEADLINE_S))
        await asyncio.sleep(0)
        go.set()
        await draining
        assert (await asking)["names"]
        assert listener.bound_port == 0


async def test_an_address_that_is_taken_is_said(pki: Path) -> None:
    async with listening(pki) as listener:
        taken = keys_of(pki, f"127.0.0.1:{listener.bound_port}")
        with pytest.raises(Unavailable, match="mtls_listen"):
            await MtlsListener(section(**taken), show, Counters()).start()


async def test_the_listener_needs_the_servers_certificate(pki: Path, tmp_path: Path) -> None:
    keys = keys_of(pki)
    del keys["tls"]

    with pytest.raises(ConfigurationError, match=r"gateway\.tls"):
        await MtlsListener(section(**keys), show, Counters()).start()
    with pytest.raises(ConfigurationError, match=r"gateway\.tls"):
        await open_access(section(**keys), runtime(tmp_path))
