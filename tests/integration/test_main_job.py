"""The main job on real input: MLLP to mesh to MLLP and to a folder, every byte as it was sent."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.hospital import Sink, Site, archive, eventually, mllp_in, mllp_out, running
from tests.peers.sender import Tally, send_all
from tests.ports import free_port
from tests.shared_data import shared_path

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(240)]


def corpus() -> list[bytes]:
    """Every different HL7 v2 message below shared data: files cut before each MSH at the start of a line."""
    messages: dict[bytes, None] = {}
    for path in sorted(shared_path("data/hl7v2").rglob("*")):
        if path.is_file() and path.suffix in (".hl7", ".txt", ".er7"):
            raw = path.read_bytes()
            starts = [
                0,
                *(
                    i + 1
                    for i in range(len(raw))
                    if raw[i : i + 1] in (b"\r", b"\n") and raw[i + 1 : i + 5] == b"MSH|"
                ),
            ]
            for begin, end in zip(starts, [*starts[1:], len(raw)], strict=True):
                message = raw[begin:end]
                if (
                    message.startswith(b"MSH|")
                    and b"\x1c" not in message
                    and b"\x0b" not in message
                ):
                    messages[message] = None
    assert len(messages) > 350
    return list(messages)


@pytest.mark.parametrize("connections", [1, 32])
async def test_every_sample_message_passes_byte_for_byte(tmp_path: Path, connections: int) -> None:
    messages = corpus()
    wanted = sorted(hashlib.sha256(message).hexdigest() for message in messages)
    port, sink, folder = free_port(), Sink(tmp_path), tmp_path / "archive"
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port) + archive(folder))
    await sink.start()
    async with running(site, sink):
        tally = Tally()
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for lane in range(connections):
                group.create_task(send_all(port, messages[lane::connections], tally))
        assert len(tally.accepted) == len(messages)
        await eventually(
            lambda: len(sink.journal.received) >= len(messages),
            within_s=60,
            what="every message at the receiver",
        )
        await eventually(
            lambda: len(files(folder)) >= len(messages),
            within_s=60,
            what="every message in the folder",
        )
        assert await site.stop() == 0
    assert sorted(digest for _, digest in sink.journal.received) == wanted
    assert sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files(folder)) == wanted
    if connections == 1:
        digests = [digest for _, digest in sink.journal.received]
        assert digests == [hashlib.sha256(message).hexdigest() for message in messages], (
            "one connection keeps its order"
        )


def files(folder: Path) -> list[Path]:
    """Finished files of the archive."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
