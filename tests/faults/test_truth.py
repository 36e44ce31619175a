"""The truth table: whatever the receiver does, no answer is falsely positive, and all is delivered at its return."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.hospital import Sink, Site, eventually, mllp_in, mllp_out, running
from tests.peers.sender import Sender, Tally, control_id, send_all, synthetic
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

MESSAGES = [synthetic(n) for n in range(20)]
CONTROLS = [control_id(message).decode() for message in MESSAGES]


def delivered(port: int, *, wait_s: float = 3.0) -> str:
    return mllp_in(
        port, more=f'ack = "delivered"\nreceipts_from = ["his-out"]\nack_timeout_s = {wait_s}'
    )


async def test_stored_is_answered_while_the_receiver_is_down_and_all_is_delivered_at_its_return(
    tmp_path: Path,
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, mllp_in(port) + mllp_out(sink.port))
    async with running(site, sink):
        tally = Tally()
        await send_all(port, MESSAGES, tally)
        assert len(tally.accepted) == len(MESSAGES)
        await sink.start()
        await sink.received(len(MESSAGES), within_s=40)
        assert [control for control, _ in sink.journal.received] == CONTROLS


async def test_delivered_is_never_answered_while_the_receiver_is_down(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, delivered(port, wait_s=1.0) + mllp_out(sink.port))
    async with running(site, sink):
        sender = Sender(port, Tally())
        for message in MESSAGES[:3]:
            assert await sender.attempt(message) in ("CE", None)
        await sink.start()
        # The same messages again: each is answered by what became of it, and none is delivered twice.
        for message in MESSAGES[:3]:
            await sender.send(message)
        await sender.close()
        assert sorted(control for control, _ in sink.journal.received) == sorted(CONTROLS[:3])


@pytest.mark.parametrize("code", ["AE", "AR"])
async def test_a_receiver_that_refuses_never_causes_a_positive_answer(
    tmp_path: Path, code: str
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path,
        delivered(port, wait_s=20.0)
        + mllp_out(
            sink.port,
            more="[adapter.retry]\nmax_attempts = 2\nfirst_delay_s = 0.05\nlongest_delay_s = 0.1",
        ),
    )
    await sink.start("--code", code)
    async with running(site, sink):
        sender = Sender(port, Tally())
        answers = [await sender.attempt(message) for message in MESSAGES[:3]]
        await sender.close()
        assert set(answers) == {"C" + code[1]}


async def test_a_receiver_that_refuses_for_a_while_gets_everything_once_it_accepts(
    tmp_path: Path,
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path,
        mllp_in(port)
        + mllp_out(
            sink.port,
            more="[adapter.retry]\nmax_attempts = 0\nfirst_delay_s = 0.05\nlongest_delay_s = 0.1",
        ),
    )
    await sink.start("--code", "AE", "--code-for-first", "5")
    async with running(site, sink):
        tally = Tally()
        await send_all(port, MESSAGES, tally)
        await eventually(
            lambda: (
                [control for control, answer in sink.journal.answered if answer == "AA"] == CONTROLS
            ),
            within_s=40,
            what="each message accepted once, in order",
        )


async def test_a_receiver_that_dies_before_its_answer_gets_the_message_again(
    tmp_path: Path,
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(tmp_path, delivered(port, wait_s=20.0) + mllp_out(sink.port))
    await sink.start("--silent-for-first", "2")
    async with running(site, sink):
        tally = Tally()
        await send_all(port, MESSAGES[:5], tally)
        assert [control.decode() for control in tally.accepted] == CONTROLS[:5]
        answered = [control for control, _ in sink.journal.answered]
        assert answered == CONTROLS[:5]


async def test_a_late_answer_is_waited_for_and_counts_once(tmp_path: Path) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path, delivered(port, wait_s=20.0) + mllp_out(sink.port, more="ack_timeout_s = 10.0")
    )
    await sink.start("--delay", "1.0")
    async with running(site, sink):
        tally = Tally()
        async with asyncio.timeout(60):
            await send_all(port, MESSAGES[:4], tally)
        assert tally.mismatched == 0
        assert [control for control, _ in sink.journal.received] == CONTROLS[:4]


async def test_an_answer_after_the_deadline_never_counts_for_the_next_message(
    tmp_path: Path,
) -> None:
    port, sink = free_port(), Sink(tmp_path)
    site = Site(
        tmp_path, delivered(port, wait_s=30.0) + mllp_out(sink.port, more="ack_timeout_s = 0.5")
    )
    await sink.start("--delay", "1.5")
    async with running(site, sink):
        sender = Sender(port, Tally())
        first = asyncio.create_task(sender.send(MESSAGES[0]))
        await eventually(
            lambda: len(sink.journal.answered) + len(sink.journal.received) >= 2,
            within_s=20,
            what="a resend",
        )
        assert not first.done(), "no answer of the receiver was in time, so none may be passed on"
        assert {control for control, _ in sink.journal.received} == {CONTROLS[0]}, (
            "the next message waits its turn"
        )
        first.cancel()
        await asyncio.wait([first])
        await sender.close()
