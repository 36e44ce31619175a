"""The embedded server, with the real program."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from bus.transport import nats
from bus.transport.binary import ServerBinary
from bus.transport.nats import Credentials, NatsOptions, NatsTransport
from bus.transport.protocol import ConsumerSpec, Stored, StreamSpec
from bus.transport.server import EmbeddedServer, ServerOptions, running_server
from bus.transport.server_log import Notice, NoticeKind
from bus.transport.server_process import is_running, started
from schemas.errors import ConfigurationError, Unavailable
from tests.contract.carriers import DEADLINE_S, Changes, OrderedReader, eventually, outgoing
from tests.nats_server import require_server

if TYPE_CHECKING:
    from pathlib import Path

    from bus.transport.server_files import Access
    from tests.conftest import StartNatsServer

pytestmark = pytest.mark.server
QUICK = ServerOptions(look_s=0.05, silent_s=0.5, stop_timeout_s=5.0, restart_wait_s=0.01)


@pytest.fixture(autouse=True)
def _server_there() -> None:
    require_server()


class Notices(Changes):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[Notice] = []

    def __call__(self, notice: Notice) -> None:
        self.all.append(notice)
        self.changed()

    async def wait(self, kind: NoticeKind) -> Notice:
        await self.until(lambda: any(n.kind is kind for n in self.all), kind.value)
        return next(n for n in self.all if n.kind is kind)


async def connect(access: Access, name: str = "test") -> NatsTransport:
    return await nats.connect(
        access.servers,
        name=name,
        credentials=Credentials(user=access.user, password=access.password),
        options=NatsOptions(monitor_url=access.monitor_url),
    )


async def test_server_starts_takes_messages_and_stops(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "nats", options=QUICK)
    access = await server.start()
    assert server.is_owner
    transport = await connect(access)
    state = await transport.store.ensure_stream(StreamSpec(name="EVT", subjects=("evt.>",)))
    assert state.sync_always is True
    assert transport.max_payload == 8 * 1024 * 1024
    await transport.close()
    health = await server.health()
    assert (health.running, health.trouble, health.restarts) == (True, "", 0)
    await server.stop()
    assert not is_running(access.pid, access.started)
    assert running_server(tmp_path / "nats") is None
    assert not (await server.health()).running
    await server.stop()


async def test_stream_outlives_the_server_under_the_same_address(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, options=QUICK)
    first = await server.start()
    transport = await connect(first)
    await transport.store.ensure_stream(StreamSpec(name="EVT", subjects=("evt.>",)))
    await transport.close()
    await server.stop()
    again = EmbeddedServer(tmp_path, options=QUICK)
    second = await again.start()
    assert (second.servers, second.password) == (first.servers, first.password)
    transport = await connect(second)
    assert (await transport.store.stream_state("EVT")).messages == 0
    await transport.close()
    await again.stop()


async def test_store_of_a_server_without_accounts_is_taken_over_whole(
    tmp_path: Path, start_nats_server: StartNatsServer
) -> None:
    old = await asyncio.to_thread(
        lambda: start_nats_server(folder=tmp_path / "old", extra="max_pending: 64MB")
    )
    spec = StreamSpec(name="EVT", subjects=("evt.>",))
    reads = ConsumerSpec(stream="EVT", name="his-out", patterns=("evt.>",))
    before = await nats.connect([old.url], name="before")
    await before.store.ensure_stream(spec)
    batch = [outgoing("evt.a", b"%d" % i, message_id=f"m{i}") for i in range(50)]
    await before.store.store(batch, timeout_s=DEADLINE_S)
    reader = OrderedReader()
    reader.consumer = await before.store.consume(reads, reader)
    reader.consumer.credit(20)
    await reader.until(lambda: reader.has_done(50), "the deliveries")
    await reader.consumer.close()
    await (await before.key_value("certs")).put("his-out.1", b"certificate")
    await before.close()
    await asyncio.to_thread(old.stop)
    (tmp_path / "nats" / "store").mkdir(parents=True)
    (old.store / "jetstream").rename(tmp_path / "nats" / "store" / "jetstream")

    server = EmbeddedServer(tmp_path / "nats", options=QUICK)
    after = await connect(await server.start())
    assert (await after.store.stream_state("EVT")).messages == 50
    assert (await after.administration.consumers("EVT"))["his-out"].ack_floor == 50
    assert (await (await after.key_value("certs")).get("his-out.1")).value == b"certificate"
    again = await after.store.store([batch[7], outgoing("evt.a", b"50")], timeout_s=DEADLINE_S)
    assert [(one.seq, one.duplicate) for one in again if isinstance(one, Stored)] == [
        (8, True),
        (51, False),
    ]
    await after.close()
    await server.stop()


async def test_connection_that_ended_is_told_to_the_others(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, options=QUICK)
    access = await server.start()
    watcher, other, gone = await connect(access), await connect(access, "lab/1"), Changes()
    names: list[str] = []

    def departed(name: str) -> None:
        names.append(name)
        gone.changed()

    await watcher.departures(departed)
    await other.close()
    await gone.until(lambda: names == ["lab/1"], "the departure")
    await watcher.close()
    await server.stop()


async def test_wrong_password_is_refused(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, options=QUICK)
    access = await server.start()
    with pytest.raises(PermissionError):
        await nats.connect(
            access.servers, name="x", credentials=Credentials(user="medmesh", password="no")
        )
    with pytest.raises(PermissionError):
        await nats.connect(access.servers, name="x")
    await server.stop()


async def test_dead_server_is_started_again(tmp_path: Path) -> None:
    notices = Notices()
    server = EmbeddedServer(tmp_path, options=QUICK, on_notice=notices)
    access = await server.start()
    os.kill(access.pid, signal.SIGKILL)
    await notices.wait(NoticeKind.SERVER_DIED)
    await notices.wait(NoticeKind.SERVER_RESTARTED)
    assert server.access.servers == access.servers
    assert server.access.pid != access.pid
    assert (await server.health()).restarts == 1
    await server.stop()


async def test_stalled_server_is_killed_and_started_again(tmp_path: Path) -> None:
    notices = Notices()
    server = EmbeddedServer(tmp_path, options=QUICK, on_notice=notices)
    access = await server.start()
    os.kill(access.pid, signal.SIGSTOP)
    await notices.wait(NoticeKind.SERVER_SILENT)
    await notices.wait(NoticeKind.SERVER_RESTARTED)
    assert not is_running(access.pid, access.started)
    await server.stop()


async def test_drained_server_that_dies_stays_dead(tmp_path: Path) -> None:
    notices = Notices()
    server = EmbeddedServer(tmp_path, options=QUICK, on_notice=notices)
    access = await server.start()
    await server.drain()
    os.kill(access.pid, signal.SIGKILL)
    await eventually(lambda: not is_running(access.pid, access.started), "the death")
    await server.stop()
    assert notices.all == []


async def test_second_process_finds_the_running_server(tmp_path: Path) -> None:
    owner, guest = EmbeddedServer(tmp_path, options=QUICK), EmbeddedServer(tmp_path, options=QUICK)
    access = await owner.start()
    assert running_server(tmp_path) == access
    assert await guest.start() == access
    assert (owner.is_owner, guest.is_owner) == (True, False)
    await guest.stop()
    assert is_running(access.pid, access.started)
    assert running_server(tmp_path) == access
    await owner.stop()


OWNER = """
import asyncio, sys
from pathlib import Path
from bus.transport.server import EmbeddedServer

async def main():
    access = await EmbeddedServer(Path(sys.argv[1])).start()
    print(access.pid, access.started, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def other_owner(folder: Path) -> tuple[asyncio.subprocess.Process, int, str]:
    """Another process that runs the server of `folder`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        pid, start = (await process.stdout.readline()).split()
    return process, int(pid), start.decode()


async def test_server_dies_with_its_killed_owner(tmp_path: Path) -> None:
    owner, pid, start = await other_owner(tmp_path)
    assert is_running(pid, start)
    owner.kill()
    await owner.wait()
    await eventually(lambda: not is_running(pid, start), "the server's end")


async def test_guest_becomes_able_to_own_when_the_owner_is_killed(tmp_path: Path) -> None:
    owner, pid, start = await other_owner(tmp_path)
    owner.kill()
    await owner.wait()
    server = EmbeddedServer(tmp_path, options=QUICK)
    access = await server.start()
    assert server.is_owner
    assert access.pid != pid
    assert not is_running(pid, start)
    await server.stop()


async def test_orphan_of_an_earlier_owner_is_ended_before_the_store_is_opened_again(
    tmp_path: Path,
) -> None:
    notices = Notices()
    first = EmbeddedServer(tmp_path, options=QUICK)
    access = await first.start()
    await first.drain()
    assert first._lock is not None
    os.close(first._lock)  # as the kernel does when the owner is killed; the server is left
    first._lock = None
    second = EmbeddedServer(tmp_path, options=QUICK, on_notice=notices)
    again = await second.start()
    await notices.wait(NoticeKind.ORPHAN_ENDED)
    assert not is_running(access.pid, access.started)
    assert again.servers == access.servers
    await second.stop()
    await first.stop()


async def test_number_of_a_dead_server_that_another_process_got_is_left_alone(
    tmp_path: Path,
) -> None:
    server = EmbeddedServer(tmp_path, options=QUICK)
    access = await server.start()
    await server.stop()
    (tmp_path / "connection.json").write_text(
        f'{{"servers": [], "user": "", "password": "", "monitor_url": "", "pid": {os.getpid()}, "started": "1"}}'
    )
    assert started(os.getpid()) != "1"
    assert (await server.start()).servers == access.servers
    await server.stop()


async def test_server_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    false = ServerBinary(path=_true_program(tmp_path), version=(2, 15, 0), origin="test")
    server = EmbeddedServer(tmp_path / "nats", options=QUICK, binary=false)
    with pytest.raises(Unavailable, match=r"server\.log"):
        await server.start()
    assert not server.is_owner
    with pytest.raises(Unavailable):
        _ = server.access


def _true_program(folder: Path) -> Path:
    path = folder / "quitter"
    path.write_text("#!/bin/sh\nexit 3\n")
    path.chmod(0o755)
    return path


async def test_unusable_binary_frees_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMESH_NATS_SERVER", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError):
        await EmbeddedServer(tmp_path / "nats", options=QUICK).start()
    monkeypatch.undo()
    server = EmbeddedServer(tmp_path / "nats", options=QUICK)
    await server.start()
    await server.stop()
