"""MLLP over TLS and mutual TLS, both ways."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from adapters.contract import Condition
from adapters.hl7v2.codec.acknowledgement import AckCode
from bus.events.protocol import NewEvent
from schemas.errors import ConfigurationError
from tests.integration.adapters.hl7v2.certificates import TestAuthority
from tests.integration.adapters.hl7v2.sockets import (
    Sender,
    accept,
    mllp_client,
    mllp_server,
    receiving,
)
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, message


async def test_message_passes_over_tls(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    own = authority.sign("server")
    events = MemoryEvents()
    tls = {"cert": own.cert, "key": own.key}
    async with mllp_server(events, tmp_path, tls=tls) as (server, _):
        sender = await Sender.connect(server.bound_port, tls=authority.client())
        sender.write(*(message(f"C{n}", note="x" * 100_000) for n in range(10)))
        answers = [await sender.answer() for _ in range(10)]
        assert [a.control_id for a in answers] == [f"C{n}" for n in range(10)]
        sender.close()


async def ask_once(port: int, context: ssl.SSLContext) -> None:
    sender = await Sender.connect(port, tls=context)
    try:
        await sender.ask(message("NO"))
    finally:
        sender.close()


async def test_sender_without_a_certificate_is_turned_away_under_mutual_tls(tmp_path: Path) -> None:
    authority, foreign = TestAuthority(tmp_path), TestAuthority(tmp_path, "foreign")
    own, known, stranger = authority.sign("server"), authority.sign("emr"), foreign.sign("stranger")
    tls = {"cert": own.cert, "key": own.key, "client_ca": authority.ca}
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, tls=tls) as (server, _):
        untrusted = authority.client()
        untrusted.load_cert_chain(stranger.cert, stranger.key)
        for context in (authority.client(), untrusted):
            with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
                await ask_once(server.bound_port, context)
        sender = await Sender.connect(server.bound_port, tls=authority.client(known))
        assert (await sender.ask(message("YES"))).code is AckCode.AA
        assert events.bodies() == [message("YES")]
        sender.close()


async def test_plain_sender_at_a_tls_listener_is_cut(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    own = authority.sign("server")
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, tls={"cert": own.cert, "key": own.key}) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        await sender.closed()
        assert not events.events


async def test_drain_under_tls_answers_what_was_accepted(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    own = authority.sign("server")
    events = MemoryEvents(gate=asyncio.Event())
    async with mllp_server(events, tmp_path, tls={"cert": own.cert, "key": own.key}) as (server, _):
        sender = await Sender.connect(server.bound_port, tls=authority.client())
        sender.write(message("C1"))
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: events.publishing == 1)
        draining = asyncio.create_task(server.drain(timeout_s=DEADLINE_S))
        assert events.gate is not None
        events.gate.set()
        assert (await sender.answer()).code is AckCode.AA
        assert await sender.closed() == b""
        await draining


async def test_client_delivers_over_mutual_tls(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path)
    receiver_own, own = authority.sign("his"), authority.sign("mesh")
    events = MemoryEvents()
    tls = {"ca": authority.ca, "cert": own.cert, "key": own.key, "server_name": "localhost"}
    context = authority.server(receiver_own, mutual=True)
    async with (
        receiving(accept, tls=context) as receiver,
        mllp_client(events, tmp_path, receiver.port, tls=tls),
    ):
        bodies = [message(f"C{n}", note="x" * 50_000) for n in range(5)]
        for body in bodies:
            await events.publish(
                NewEvent(subject="evt.north.raw.hl7v2.1", type="hl7v2/ADT^A08", body=body)
            )
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: len(events.receipts) == 5)
        assert receiver.received == bodies
        assert receiver.connections == 1


@pytest.mark.parametrize("wrong", ["authority", "name"])
async def test_receiver_that_cannot_prove_itself_gets_nothing(tmp_path: Path, wrong: str) -> None:
    authority, other = TestAuthority(tmp_path), TestAuthority(tmp_path, "other")
    receiver_own = authority.sign("his", host="his.example")
    ca = other.ca if wrong == "authority" else authority.ca
    tls = {"ca": ca, "server_name": "his.example" if wrong == "authority" else "elsewhere.example"}
    events = MemoryEvents()
    async with (
        receiving(accept, tls=authority.server(receiver_own)) as receiver,
        mllp_client(events, tmp_path, receiver.port, tls=tls) as (client, counters),
    ):
        await events.publish(
            NewEvent(subject="evt.north.raw.hl7v2.1", type="hl7v2/ADT^A08", body=message())
        )
        (consumption,) = events.consumptions
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: consumption.away > 2)
        assert not receiver.received
        assert client.health().condition is Condition.DEGRADED
        assert "TLS failed" in client.health().detail
        assert counters.get("destination_away", reason="tls") > 0


async def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    own = TestAuthority(tmp_path).sign("server")
    own.key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"emr-in: tls\.key .* chmod 600"):
        async with mllp_server(MemoryEvents(), tmp_path, tls={"cert": own.cert, "key": own.key}):
            pass
