"""Bounds of the whole site: at each of them senders are refused or wait, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import fill, small_disk_at
from tests.faults.load import SENDERS, Load
from tests.faults.proxy import Proxy
from tests.hospital import Sink, Site, archive, eventually, mllp_in, mllp_out, running
from tests.peers.sender import Sender, Tally, control_id, pause, send_all, synthetic
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

NEGATIVE = ("AE", "CE")


def bulky(number: int, *, patient: int, size: int) -> bytes:
    """A message that no compression makes small."""
    return synthetic(number, patient=patient, note=random.Random(number).randbytes(size // 2).hex())


@pytest.fixture
def disk_for_a_site(tmp_path: Path) -> Iterator[Path]:
    """Room for a site, and for the 64 MiB that must be free before a server writes again."""
    yield from small_disk_at(tmp_path / "disk", megabytes=96)


@pytest.fixture
def disk_for_an_archive(tmp_path: Path) -> Iterator[Path]:
    yield from small_disk_at(tmp_path / "disk")


async def until_refused(port: int, sender: int, accepted: list[bytes]) -> list[bytes]:
    """Send until the first refusal; gives back what was refused, and fills in what was accepted."""
    connection = Sender(port, Tally())
    try:
        for number in range(10_000):
            message = bulky(sender * 10_000 + number, patient=sender, size=2_000)
            code = await connection.attempt(message)
            if code in NEGATIVE:
                assert b"stream_full" in connection.last_answer
                return [message]
            assert code == "CA", "each message was answered"
            accepted.append(message)
    finally:
        await connection.close()
    raise AssertionError("the limit was never reached")


async def test_a_stream_at_its_limit_refuses_every_sender_and_keeps_what_it_accepted(
    tmp_path: Path,
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    # What everyone has may go at once: that is what makes room again below a limit in bytes.
    extra = '[limits]\nevent_bytes = "1 MiB"\n[retention]\nevents_h = 0.0\ncheck_s = 1.0\n'
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port), extra=extra)
    async with running(site, sink):
        accepted: list[list[bytes]] = [[] for _ in range(SENDERS)]
        refused = await asyncio.gather(
            *(until_refused(port, sender, accepted[sender]) for sender in range(SENDERS))
        )
        assert sum(map(len, accepted)) > 100
        for number in range(20):  # larger ones: none of them fits into what may be left
            connection = Sender(port, Tally())
            message = bulky(900_000 + number, patient=99, size=4_000)
            assert await connection.attempt(message) in NEGATIVE
            assert b"stream_full" in connection.last_answer
            assert b"\rERR|" in connection.last_answer
            await connection.close()
        await sink.start()
        everything = [message for batch in accepted for message in batch]
        await sink.received(len(everything), within_s=60)
        controls = [control for control, _ in sink.journal.received]
        assert sorted(controls) == sorted(control_id(m).decode() for m in everything), (
            "all of it, once, and nothing that was refused"
        )
        for batch in accepted:
            wanted = [control_id(message).decode() for message in batch]
            assert [control for control in controls if control in set(wanted)] == wanted
        tally = Tally()
        again = [message for batch in refused for message in batch]
        async with asyncio.timeout(30):
            await asyncio.gather(*(send_all(port, [message], tally) for message in again))
        await sink.received(len(everything) + len(again), within_s=30)
        assert await site.stop() == 0
    digests = {digest for _, digest in sink.journal.received}
    assert digests == {hashlib.sha256(message).hexdigest() for message in everything + again}


@pytest.mark.parametrize("server_dies", [False, True])
async def test_a_full_disk_is_survived_and_nothing_acknowledged_is_lost(
    tmp_path: Path, disk_for_a_site: Path, server_dies: bool
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path,
        mllp_in(port, more="publish_timeout_s = 2.0") + mllp_out(sink.port, more="lanes = 8"),
        data=disk_for_a_site / "data",
    )
    await sink.start()
    async with running(site, sink):
        load = Load(port, each=400)
        await eventually(lambda: len(load.tally.accepted) > 200, within_s=30, what="some load")
        waste = fill(disk_for_a_site)
        await eventually(
            lambda: len(load.tally.refused) >= 2 * SENDERS,
            within_s=60,
            what="senders that were refused",
        )
        assert {code for _, code in load.tally.refused} <= set(NEGATIVE)
        if server_dies:  # it cannot come back before there is room for its files
            await site.kill_server()
            await eventually(
                lambda: any(
                    event["notice"] == "server_died" and "No space left" in event["text"]
                    for event in site.events("server")
                ),
                within_s=20,
                what="the operator is told why",
            )
        assert site.child is not None
        assert site.child.process.returncode is None
        waste.unlink()
        await load.done(within_s=90)
        await sink.received(len(load.sent), within_s=60)
        load.check(sink.journal, duplicates_allowed=0)
        assert await site.stop() == 0


async def test_an_archive_on_a_full_disk_waits_and_holds_nobody_up(
    tmp_path: Path, disk_for_an_archive: Path
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    folder = disk_for_an_archive / "archive"
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port) + archive(folder))
    await sink.start()
    async with running(site, sink):
        waste = fill(disk_for_an_archive)
        messages = [bulky(number, patient=number % 7, size=5_000) for number in range(100)]
        tally = Tally()
        await send_all(port, messages, tally)
        await sink.received(len(messages), within_s=30)
        assert [control for control, _ in sink.journal.received] == [
            control_id(message).decode() for message in messages
        ]
        assert len(files(folder)) < len(messages)
        await eventually(
            lambda: any(
                event["name"] == "archive" and event["condition"] == "degraded"
                for event in site.events("adapter")
            ),
            within_s=10,
            what="the operator is told",
        )
        waste.unlink()
        await eventually(
            lambda: len(files(folder)) >= len(messages), within_s=60, what="the whole archive"
        )
        assert await site.stop() == 0
    assert sorted(path.read_bytes() for path in files(folder)) == sorted(messages)
    assert [path.name for path in folder.rglob(".*") if path.is_file()] == [], (
        "nothing half-written"
    )


def files(folder: Path) -> list[Path]:
    """Finished files of the archive."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


async def test_a_server_that_stands_still_gets_no_false_answer_out_of_us(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path,
        mllp_in(port, more="publish_timeout_s = 1.0") + mllp_out(sink.port, more="lanes = 8"),
    )
    await sink.start()
    async with running(site, sink):
        load = Load(port, each=200)
        await eventually(lambda: len(load.tally.accepted) > 100, within_s=30, what="some load")
        server = site.server_pid()
        assert server is not None
        os.kill(server, signal.SIGSTOP)
        try:
            # The answers that were under way; from then on there is nothing true to say but no.
            await eventually(
                lambda: len(load.tally.refused) >= SENDERS, within_s=20, what="senders refused"
            )
            accepted = len(load.tally.accepted)
            latecomer = Sender(port, Tally())
            for number in range(2):
                assert await latecomer.attempt(synthetic(990_000 + number, patient=999)) == "CE"
                assert b"not confirmed: deadline_exceeded" in latecomer.last_answer
            await latecomer.close()
            assert len(load.tally.accepted) == accepted
        finally:
            os.kill(server, signal.SIGCONT)
        await load.done(within_s=60)
        wanted = set(load.sent)
        await eventually(
            lambda: wanted <= {control for control, _ in sink.journal.received},
            within_s=60,
            what="every message at the receiver",
        )
        # What was not confirmed may have been stored: it is no message that nobody sent.
        for number in range(2):
            message = synthetic(990_000 + number, patient=999)
            load.sent[control_id(message).decode()] = message
        load.check(sink.journal, duplicates_allowed=0)
        assert site.server_pid() == server, "it was not killed for standing still"
        assert await site.stop() == 0


@pytest.mark.parametrize("lanes", [1, 8])
async def test_a_cut_or_stalled_line_to_the_receiver_loses_and_disorders_nothing(
    tmp_path: Path, lanes: int
) -> None:
    chance = random.Random(lanes)
    port, sink = free_port(), Sink(tmp_path)
    await sink.start()
    async with contextlib.AsyncExitStack() as stack:
        line = await stack.enter_async_context(Proxy(sink.port))
        site = Site(
            tmp_path,
            mllp_in(port)
            + mllp_out(
                line.port,
                more=f"lanes = {lanes}\nack_timeout_s = 0.5\n"
                "[adapter.retry]\nfirst_delay_s = 0.05\nlongest_delay_s = 0.2",
            ),
        )
        await stack.enter_async_context(running(site, sink))
        load = Load(port, each=150 if lanes == 1 else 600)
        for fault in (line.cut, line.stall, lambda: line.break_after(1_000), line.stall):
            came = len(sink.journal.received)
            await eventually(
                lambda came=came: len(sink.journal.received) > came + 5,  # type: ignore[misc]
                within_s=30,
                what="the line works",
            )
            fault()
            await pause(chance.uniform(0.6, 1.0))
            line.heal()
        await load.done(within_s=60)
        await sink.received(len(load.sent), within_s=60)
        # Each connection that ended can have carried one message whose answer never came back.
        load.check(sink.journal, duplicates_allowed=line.connections)
        assert await site.stop() == 0
