"""The embedded server on a disk that fills up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.transport import nats
from bus.transport.nats import Credentials, NatsOptions
from bus.transport.protocol import Stored, StreamFull, StreamSpec
from bus.transport.server import EmbeddedServer, ServerOptions
from bus.transport.server_log import Notice, NoticeKind
from tests.contract.carriers import Changes, outgoing
from tests.faults.disks import fill, small_disk_at
from tests.nats_server import require_server

pytestmark = pytest.mark.server


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    yield from small_disk_at(tmp_path / "disk")


class Notices(Changes):
    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[NoticeKind] = []

    def __call__(self, notice: Notice) -> None:
        self.kinds.append(notice.kind)
        self.changed()

    async def wait(self, kind: NoticeKind) -> None:
        await self.until(lambda: kind in self.kinds, kind.value)


async def test_full_disk_is_told_and_the_server_writes_again_once_there_is_room(
    small_disk: Path,
) -> None:
    require_server()
    notices = Notices()
    options = ServerOptions(look_s=0.05, restart_wait_s=0.01, free_bytes=1_000_000)
    server = EmbeddedServer(small_disk / "nats", options=options, on_notice=notices)
    access = await server.start()
    transport = await nats.connect(
        access.servers,
        name="faults",
        credentials=Credentials(user=access.user, password=access.password),
        options=NatsOptions(ack_timeout_s=0.5, monitor_url=access.monitor_url),
    )
    await transport.store.ensure_stream(StreamSpec(name="EVT", subjects=("evt.>",)))
    batch = [outgoing("evt.a", bytes(2000)) for _ in range(20)]
    waste = fill(small_disk)
    results = await transport.store.store(batch, timeout_s=20)
    assert isinstance(results[-1], StreamFull)
    await notices.wait(NoticeKind.DISK_FULL)
    assert "no space left" in (await server.health()).trouble
    assert NoticeKind.SERVER_DIED not in notices.kinds
    waste.unlink()
    await notices.wait(NoticeKind.SERVER_RESTARTED)
    assert all(isinstance(r, Stored) for r in await transport.store.store(batch, timeout_s=20))
    assert (await transport.store.stream_state("EVT")).messages == len(batch)
    await transport.close()
    await server.stop()
