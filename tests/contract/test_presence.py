"""Who is told when a connection ends, on every carrier that tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bus.transport import nats
from bus.transport.memory import MemoryBroker
from bus.transport.nats import Credentials
from bus.transport.protocol import LinkState, Transport
from schemas.errors import PermissionRefused
from tests.conftest import StartNatsServer
from tests.contract.carriers import Changes, eventually
from tests.nats_server import NatsServer

ACCOUNTS = """
accounts {
  MESH {
    jetstream: enabled
    users: [
      { user: all, password: x }
      { user: limited, password: x, permissions: { subscribe: { deny: ["$SYS.>"] } } }
    ]
    imports: [ { stream: { account: SYS, subject: "$SYS.ACCOUNT.MESH.DISCONNECT" } } ]
  }
  OTHER { users: [ { user: other, password: x } ] }
  SYS { exports: [ { stream: "$SYS.ACCOUNT.*.DISCONNECT", account_token_position: 3 } ] }
}
system_account: SYS
"""
Connect = Callable[..., Awaitable[Transport]]


async def to_server(server: NatsServer, name: str, user: str = "all") -> Transport:
    return await nats.connect(
        [server.url], name=name, credentials=Credentials(user=user, password="x")
    )


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.server)])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    opened: list[Transport] = []
    broker = MemoryBroker()
    is_nats = request.param == "nats"
    if is_nats:
        start: StartNatsServer = request.getfixturevalue("start_nats_server")
        server = await asyncio.to_thread(start, extra=ACCOUNTS)

    async def open_one(name: str, *, limited: bool = False) -> Transport:
        if is_nats:
            made: Transport = await to_server(server, name, "limited" if limited else "all")
        else:
            made = await broker.connect(name=name, deny_subscribe=("$SYS.>",) if limited else ())
        opened.append(made)
        return made

    yield open_one
    for transport in opened:
        await transport.close()


class Gone(Changes):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self.changed()

    async def get(self, *names: str) -> None:
        await self.until(lambda: len(self.names) >= len(names), f"departures of {names}")
        assert tuple(self.names) == names


async def test_connection_that_is_closed_is_told_by_its_name(connect: Connect) -> None:
    gone = Gone()
    await (await connect("watcher")).departures(gone)
    one, two = await connect("lab/1"), await connect("lab/2")
    await two.close()
    await gone.get("lab/2")
    await one.close()
    await gone.get("lab/2", "lab/1")


async def test_closed_subscription_is_told_nothing_more(connect: Connect) -> None:
    first, second = Gone(), Gone()
    watcher = await connect("watcher")
    subscription = await watcher.departures(first)
    await watcher.departures(second)
    await subscription.close()
    await (await connect("lab/1")).close()
    await second.get("lab/1")
    assert first.names == []


async def test_connection_that_may_not_know_is_refused(connect: Connect) -> None:
    with pytest.raises(PermissionRefused):
        await (await connect("watcher", limited=True)).departures(Gone())


CLIENT = """
import asyncio, sys
from bus.transport import nats
from bus.transport.nats import Credentials

async def main() -> None:
    await nats.connect([sys.argv[1]], name="lab/killed", credentials=Credentials(user="all", password="x"))
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.server
async def test_process_that_was_killed_is_told(start_nats_server: StartNatsServer) -> None:
    server = await asyncio.to_thread(lambda: start_nats_server(extra=ACCOUNTS))
    watcher, gone = await to_server(server, "watcher"), Gone()
    await watcher.departures(gone)
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, server.url, stdout=asyncio.subprocess.PIPE
    )
    assert client.stdout is not None
    assert await client.stdout.readline() == b"up\n"
    client.kill()
    await gone.get("lab/killed")
    await client.wait()
    await watcher.close()


@pytest.mark.server
async def test_clients_of_other_accounts_are_not_told_of(
    start_nats_server: StartNatsServer,
) -> None:
    server = await asyncio.to_thread(lambda: start_nats_server(extra=ACCOUNTS))
    watcher, gone = await to_server(server, "watcher"), Gone()
    await watcher.departures(gone)
    await (await to_server(server, "stranger", "other")).close()
    await (await to_server(server, "lab/1")).close()
    await gone.get("lab/1")
    await watcher.close()


@pytest.mark.server
async def test_departures_are_told_after_a_reconnect_and_not_for_the_servers_own_stop(
    start_nats_server: StartNatsServer,
) -> None:
    server = await asyncio.to_thread(lambda: start_nats_server(extra=ACCOUNTS))
    watcher, gone = await to_server(server, "watcher"), Gone()
    await watcher.departures(gone)
    other = await to_server(server, "lab/1")
    await asyncio.to_thread(server.stop)
    await eventually(lambda: watcher.link is not LinkState.CONNECTED, "the loss")
    await asyncio.to_thread(server.start)
    for one in (watcher, other):
        await eventually(lambda one=one: one.link is LinkState.CONNECTED, "the return")  # type: ignore[misc]  # bound at once
    await other.close()
    await gone.get("lab/1")
    await watcher.close()


@pytest.mark.server
async def test_server_that_does_not_tell_is_no_error(start_nats_server: StartNatsServer) -> None:
    server = await asyncio.to_thread(start_nats_server)
    watcher = await nats.connect([server.url], name="watcher")
    subscription = await watcher.departures(Gone())
    await subscription.close()
    await watcher.close()
