"""What the fast path needs of nats-py's inside. A failure here names what an upgrade of nats-py moved.

The mesh goes on without: it falls back to what nats-py offers publicly. `bus/transport/nats/hooks.py` is the one place
to change.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from nats.aio import transport as client_transport
from nats.aio.client import Client
from nats.protocol.parser import Parser as ClientParser

from bus.telemetry.counters import Counters
from bus.transport import nats
from bus.transport.nats import NatsOptions, hooks
from bus.transport.nats.stock import StockWire
from tests.contract.carriers import eventually
from tests.nats_server import NatsServer

UPGRADE = "nats-py {} has no {}: see bus/transport/nats/hooks.py"


@pytest.mark.parametrize(
    "hook",
    [
        hooks.PARSER,
        hooks.PARSE,
        hooks.RESET,
        hooks.BUFFER,
        hooks.READ_LOOP,
        hooks.TRANSPORT,
        hooks.WRITER,
    ],
)
def test_installed_nats_py_has_each_hook(hook: str) -> None:
    assert hook not in hooks.missing(), UPGRADE.format(version("nats-py"), hook)


@pytest.mark.server
async def test_connected_client_has_the_hooks_that_only_show_then(nats_server: NatsServer) -> None:
    client = Client()
    await client.connect(nats_server.url)
    assert hooks.socket_of(client).transport.get_write_buffer_size() == 0
    await client.close()


def _without_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Client.__init__

    def renamed(client: Any) -> None:
        made(client)
        client._protocol_parser = client.__dict__.pop("_ps")

    monkeypatch.setattr(Client, "__init__", renamed)


def _with_other_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(self: ClientParser, data: bytes = b"") -> None: ...

    monkeypatch.setattr(ClientParser, "parse", parse)


def _with_other_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_loop(self: Client) -> None: ...

    monkeypatch.setattr(Client, "_read_loop", read_loop)


def _without_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_transport.TcpTransport, "__init__", lambda self: None)


@pytest.mark.parametrize(
    ("upgrade", "hook"),
    [
        (_without_parser, hooks.PARSER),
        (_with_other_parse, hooks.PARSE),
        (_with_other_reader, hooks.READ_LOOP),
        (_without_writer, hooks.WRITER),
    ],
)
def test_moved_hook_is_named(monkeypatch: pytest.MonkeyPatch, upgrade: Any, hook: str) -> None:
    upgrade(monkeypatch)
    assert hook in hooks.missing()


async def _round(transport: nats.NatsTransport) -> None:
    got: list[bytes] = []
    await transport.messenger.subscribe("a", lambda message: got.append(message.payload))
    await transport.messenger.publish("a", b"1")
    await eventually(lambda: got == [b"1"], "the message")
    await transport.close()


@pytest.mark.server
async def test_missing_hook_is_counted_by_name_and_messages_go_the_stock_way(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "missing", lambda: [hooks.READ_LOOP])
    counters = Counters()
    transport = await nats.connect([nats_server.url], name="x", counters=counters)
    assert isinstance(transport._connection.wire, StockWire)
    assert counters.get("fast_path_unavailable", who="x", reason=hooks.READ_LOOP) == 1
    await _round(transport)


@pytest.mark.server
async def test_hook_that_is_missing_once_connected_leads_to_the_stock_way_too(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(client: Client) -> None:
        raise hooks.HookMissing(hooks.SOCKET)

    monkeypatch.setattr(hooks, "socket_of", nothing)
    counters = Counters()
    transport = await nats.connect([nats_server.url], name="x", counters=counters)
    assert isinstance(transport._connection.wire, StockWire)
    assert counters.get("fast_path_unavailable", reason=hooks.SOCKET) == 1
    await _round(transport)


@pytest.mark.server
@pytest.mark.parametrize("switch", ["environment", "option"])
async def test_fast_path_can_be_switched_off(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    if switch == "environment":
        monkeypatch.setenv("MEDMESH_NATS_FAST", "0")
    counters = Counters()
    options = NatsOptions(fast=switch == "environment")
    transport = await nats.connect([nats_server.url], name="x", options=options, counters=counters)
    assert isinstance(transport._connection.wire, StockWire)
    assert counters.get("fast_path_unavailable") == 0
    await _round(transport)
