"""Connecting: TLS, several servers, wrong logins, subscriptions over reconnects."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.nats import Credentials, NatsOptions
from bus.transport.nats.client import Generation
from bus.transport.nats.connection import CLOSE_WITHIN_S
from bus.transport.protocol import Incoming, LinkState
from schemas.errors import ConfigurationError, PermissionRefused, Unavailable
from tests.conftest import StartNatsServer
from tests.contract.carriers import eventually
from tests.nats_server import NatsServer
from tests.ports import free_port

pytestmark = pytest.mark.server
HASTY = NatsOptions(start_timeout_s=0.5, reconnect_wait_max_s=0.1)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nats")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_path, key_path


@pytest.mark.parametrize("first", [False, True])
async def test_tls_connects_and_reconnects_with_the_right_authority_alone(
    tmp_path: Path, start_nats_server: StartNatsServer, *, first: bool
) -> None:
    cert, key = certificate(tmp_path)
    server = start_nats_server(
        extra=f'tls {{ cert_file: "{cert}", key_file: "{key}", handshake_first: {str(first).lower()} }}',
        greets=not first,
    )
    url = f"tls://127.0.0.1:{server.port}"
    trusting = ssl.create_default_context(cafile=str(cert))
    transport = await nats.connect(
        [url], name="tls", tls=trusting, options=NatsOptions(tls_first=first)
    )
    got: list[Incoming] = []
    await transport.messenger.subscribe("a", got.append)
    await asyncio.to_thread(server.restart)
    await transport.messenger.publish("a", b"1")
    await eventually(lambda: len(got) == 1, "the message")
    await transport.close()
    with pytest.raises(Unavailable):
        await nats.connect(
            [url],
            name="wary",
            tls=ssl.create_default_context(),
            options=NatsOptions(tls_first=first, start_timeout_s=0.5),
        )


async def test_no_server_is_said_with_the_address_and_without_the_password() -> None:
    port = free_port()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as caught:
        await nats.connect([f"nats://me:hidden@127.0.0.1:{port}"], name="x", options=HASTY)
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        await nats.connect([], name="x")


async def test_connecting_can_be_given_up_at_any_moment() -> None:
    options = NatsOptions(start_timeout_s=3600, reconnect_wait_s=0.001, reconnect_wait_max_s=0.001)
    dead = f"nats://127.0.0.1:{free_port()}"
    for turns in range(60):
        connecting = asyncio.ensure_future(nats.connect([dead], name="x", options=options))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        done, _ = await asyncio.wait((connecting,), timeout=10)
        assert connecting in done, f"given up after {turns} turns of the loop"
        assert connecting.cancelled()


async def test_wrong_login_is_refused_at_once(start_nats_server: StartNatsServer) -> None:
    server = start_nats_server(extra="authorization { token: right }")
    with pytest.raises(PermissionRefused):
        await nats.connect([server.url], name="x", credentials=Credentials(token="wrong"))
    transport = await nats.connect([server.url], name="x", credentials=Credentials(token="right"))
    await transport.close()


async def test_dead_server_in_the_list_is_passed_over(nats_server: NatsServer) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    transport = await nats.connect([dead, nats_server.url], name="x")
    await asyncio.to_thread(nats_server.restart)
    await transport.messenger.publish("a", b"")
    await transport.close()


async def test_close_ends_within_its_bound_while_the_server_is_away_or_just_back(
    nats_server: NatsServer,
) -> None:
    """The moments at which nats-py swallows a cancellation are short: many delays, each once away and once back."""
    hasty = NatsOptions(reconnect_wait_s=0.01, reconnect_wait_max_s=0.02)
    for comes_back in (False, True):
        for delay in range(12):
            counters = Counters()
            transport = await nats.connect(
                [nats_server.url], name="x", options=hasty, counters=counters
            )
            await asyncio.to_thread(nats_server.kill)
            starting = asyncio.ensure_future(asyncio.sleep(0))
            if comes_back:
                starting = asyncio.ensure_future(asyncio.to_thread(nats_server.start))
            for _ in range(delay * 4):  # not a wait for anything: another moment each time
                await asyncio.sleep(0.001)
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await transport.close()
            assert transport.link is LinkState.CLOSED
            assert counters.get("transport_task_left") == 0
            await starting
            if not comes_back:
                await asyncio.to_thread(nats_server.start)


async def test_close_ends_what_swallows_its_cancellation(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nats-py does when the answer of the server and the cancellation arrive in one turn of the loop."""
    transport = await nats.connect([nats_server.url], name="x")
    connecting = asyncio.Event()
    connect = Generation.connect

    async def swallows(
        generation: Generation,
        server: str,
        options: Mapping[str, Any],
        failed: Callable[[Exception], Awaitable[None]],
    ) -> None:
        connecting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await connect(generation, server, options, failed)

    monkeypatch.setattr(Generation, "connect", swallows)
    await asyncio.to_thread(nats_server.restart)
    async with asyncio.timeout(10):
        await connecting.wait()
    async with asyncio.timeout(CLOSE_WITHIN_S):
        await transport.close()
    assert transport.link is LinkState.CLOSED


async def test_subscription_closed_while_reconnecting_swallows_nothing(
    nats_server: NatsServer,
) -> None:
    """A forgotten member of a queue group would take messages that nobody handles."""
    counters = Counters()
    transport = await nats.connect([nats_server.url], name="x", counters=counters)
    gone: list[Incoming] = []
    kept: list[Incoming] = []
    leaving = await transport.messenger.subscribe("work", gone.append, queue="q")
    await transport.messenger.subscribe("work", kept.append, queue="q")
    await asyncio.to_thread(nats_server.kill)
    await eventually(lambda: transport.link.value == "reconnecting", "the loss")
    await leaving.close()
    await asyncio.to_thread(nats_server.start)
    for i in range(40):
        await transport.messenger.publish("work", b"%d" % i)
    await eventually(lambda: len(kept) == 40, "all messages")
    assert gone == []
    assert counters.get("link_lost") == 1
    assert counters.get("link_restored") == 1
    await transport.close()


async def test_failing_handler_is_counted_and_the_next_message_comes(
    nats_server: NatsServer,
) -> None:
    counters = Counters()
    transport = await nats.connect([nats_server.url], name="x", counters=counters)
    got: list[bytes] = []

    def fragile(message: Incoming) -> None:
        if message.payload == b"bad":
            raise RuntimeError("on order")
        got.append(message.payload)

    await transport.messenger.subscribe("a", fragile)
    for payload in (b"1", b"bad", b"2"):
        await transport.messenger.publish("a", payload)
    await eventually(lambda: got == [b"1", b"2"], "the message behind the bad one")
    assert counters.get("client_error", reason="RuntimeError") == 1
    await transport.close()
