"""The MLLP client on real sockets: the truth table of receivers that are away, late, negative, or talk nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.contract import Condition
from adapters.hl7v2.client import MllpClient
from bus.events.protocol import NewEvent, Outcome
from bus.telemetry.counters import Counters
from schemas import subjects
from tests.integration.adapters.hl7v2.sockets import (
    END,
    START,
    Behaviour,
    Receiver,
    accept,
    acknowledgement,
    control_id,
    mllp_client,
    receiving,
)
from tests.ports import free_port
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, SITE, eventually, message


async def publish(events: MemoryEvents, *bodies: bytes, partition: int = 5) -> None:
    subject = subjects.event(SITE, subjects.Domain.RAW, "hl7v2", partition)
    for body in bodies:
        await events.publish(NewEvent(subject=subject, type="hl7v2/ADT^A08", body=body))


async def receipts(events: MemoryEvents, number: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await events.until(lambda: len(events.receipts) >= number)


@asynccontextmanager
async def pair(
    folder: Path, behave: Behaviour = accept, **settings: object
) -> AsyncIterator[tuple[MemoryEvents, Receiver, MllpClient, Counters]]:
    events = MemoryEvents()
    async with (
        receiving(behave) as receiver,
        mllp_client(events, folder, receiver.port, **settings) as (client, counters),
    ):
        yield events, receiver, client, counters


def script(*steps: Behaviour) -> Behaviour:
    """One behaviour for each message in turn; then it accepts."""
    left = list(steps)

    async def behave(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if left else accept)(receiver, raw, writer)

    return behave


def sends(*frames: bytes) -> Behaviour:
    async def behave(_receiver: Receiver, _raw: bytes, writer: asyncio.StreamWriter) -> None:
        for content in frames:
            writer.write(content)

    return behave


def code(text: str) -> Behaviour:
    async def behave(_receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(START + acknowledgement(text, control_id(raw)) + END)

    return behave


async def silent(_receiver: Receiver, _raw: bytes, _writer: asyncio.StreamWriter) -> None:
    pass


async def a_moment() -> None:
    """Let the clock go on by more than a millisecond."""
    clock = asyncio.get_running_loop().time
    seen = clock()
    await eventually(lambda: clock() > seen + 0.001, what="time passes")


async def dies(_receiver: Receiver, _raw: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_messages_arrive_byte_for_byte_in_order_over_one_connection(tmp_path: Path) -> None:
    bodies = [message(f"C{n}", note="Ü\x1c ") for n in range(50)]
    async with pair(tmp_path) as (events, receiver, client, _):
        await publish(events, *bodies)
        await receipts(events, 50)
        assert receiver.received == bodies
        assert receiver.connections == 1
        assert client.health().condition is Condition.HEALTHY
        assert {r.outcome for r in events.receipts.values()} == {Outcome.APPLIED}


async def test_receipt_holds_the_answer_byte_for_byte(tmp_path: Path) -> None:
    async with pair(tmp_path, code("CA")) as (events, _, _client, _counters):
        await publish(events, message("C1"))
        await receipts(events, 1)
        (receipt,) = events.receipts.values()
        assert receipt.outcome is Outcome.DELIVERED
        assert receipt.answer == acknowledgement("CA", b"C1")


async def test_receiver_down_from_the_first_message_gets_all_in_order_when_it_returns(
    tmp_path: Path,
) -> None:
    events = MemoryEvents()
    port = free_port()
    bodies = [message(f"C{n}") for n in range(20)]
    async with mllp_client(events, tmp_path, port) as (client, counters):
        await publish(events, *bodies)
        (consumption,) = events.consumptions
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: consumption.away > 5)
        assert client.health().condition is Condition.DEGRADED
        assert "refused" in client.health().detail
        assert not events.receipts
        receiver = Receiver(port=port)
        await receiver.start()
        await receipts(events, 20)
        assert receiver.received == bodies
        assert not events.dead_letters
        assert counters.get("destination_away", reason="connect") > 5
        await receiver.stop()


@pytest.mark.parametrize("negative", ["AE", "AR", "CE", "CR"])
async def test_negative_answers_are_retried_and_then_step_aside(
    tmp_path: Path, negative: str
) -> None:
    behave = script(*[code(negative)] * 4)
    async with pair(tmp_path, behave) as (events, receiver, _, counters):
        await publish(events, message("POISON"), message("C2"))
        await receipts(events, 2)
        ids = [control_id(raw) for raw in receiver.received]
        assert ids == [b"POISON"] * 4 + [b"C2"]
        (dead,) = events.dead_letters
        assert dead[2] == "negative_acknowledgement"
        outcomes = [r.outcome for r in events.receipts.values()]
        assert outcomes == [Outcome.REFUSED, Outcome.APPLIED]
        assert counters.get("answer_received", reason=negative) == 4


async def test_receiver_that_recovers_gets_the_message_once_more_and_in_order(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, script(code("AE"), code("AE"))) as (events, receiver, _, _c):
        await publish(events, message("C1"), message("C2"))
        await receipts(events, 2)
        assert [control_id(r) for r in receiver.received] == [b"C1"] * 3 + [b"C2"]
        assert not events.dead_letters


async def test_rejection_is_a_dead_letter_at_once_where_the_setting_says_so(tmp_path: Path) -> None:
    async with pair(tmp_path, script(code("AR")), on_reject="dead-letter") as (
        events,
        receiver,
        _,
        _c,
    ):
        await publish(events, message("C1"), message("C2"))
        await receipts(events, 2)
        assert [control_id(r) for r in receiver.received] == [b"C1", b"C2"]
        assert [d[2] for d in events.dead_letters] == ["rejected_by_receiver"]


async def test_receiver_that_dies_before_its_answer_gets_the_message_again(tmp_path: Path) -> None:
    async with pair(tmp_path, script(dies)) as (events, receiver, _, counters):
        await publish(events, message("C1"), message("C2"))
        await receipts(events, 2)
        assert [control_id(r) for r in receiver.received] == [b"C1", b"C1", b"C2"]
        assert counters.get("message_sent_again") == 1
        assert not events.dead_letters


async def test_late_answer_never_counts_for_the_next_message(tmp_path: Path) -> None:
    late: list[asyncio.StreamWriter] = []

    async def answers_late(_r: Receiver, _raw: bytes, writer: asyncio.StreamWriter) -> None:
        late.append(writer)

    async def answers_the_one_before(
        receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter
    ) -> None:
        for connection in (*late, writer):
            if not connection.is_closing():
                connection.write(START + acknowledgement("AA", b"C0") + END)
        await silent(receiver, raw, writer)

    behave = script(answers_late, accept, answers_the_one_before)
    async with pair(tmp_path, behave, ack_timeout_s=0.1) as (events, receiver, _, counters):
        await publish(events, message("C0"), message("C1"))
        await receipts(events, 2)
        assert [control_id(r) for r in receiver.received] == [b"C0", b"C0", b"C1", b"C1"]
        assert receiver.connections == 3
        assert counters.get("answer_ignored", reason="other_control_id") == 1
        assert counters.get("destination_away", reason="ack_timeout") == 2


async def test_second_answer_to_a_message_is_not_taken_for_the_next(tmp_path: Path) -> None:
    async def twice(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        await accept(receiver, raw, writer)
        await accept(receiver, raw, writer)

    async with pair(tmp_path, script(twice, code("AE"))) as (events, receiver, _, _c):
        await publish(events, message("C1"))
        await receipts(events, 1)
        await publish(events, message("C2"))
        await receipts(events, 2)
        assert [control_id(r) for r in receiver.received] == [b"C1", b"C2", b"C2"]


async def test_answer_and_close_in_one_breath_counts_and_the_next_goes_on_a_new_connection(
    tmp_path: Path,
) -> None:
    async def answer_and_close(
        receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter
    ) -> None:
        await accept(receiver, raw, writer)
        writer.close()

    async with pair(tmp_path, script(*[answer_and_close] * 5)) as (events, receiver, _, _c):
        await publish(events, *(message(f"C{n}") for n in range(5)))
        await receipts(events, 5)
        assert [control_id(r) for r in receiver.received] == [b"C%d" % n for n in range(5)]
        assert receiver.connections == 5


@pytest.mark.parametrize(
    "answer",
    [
        START + b"ACK" + END,
        START + b"MSH|^~\\&|||||||ACK|1|P|2.5.1\r" + END,
        START + b"MSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|OK|C1\r" + END,
    ],
)
async def test_frames_that_are_no_acknowledgement_count_as_attempts(
    tmp_path: Path, answer: bytes
) -> None:
    async with pair(tmp_path, script(*[sends(answer)] * 4)) as (events, receiver, _, counters):
        await publish(events, message("C1"), message("C2"))
        await receipts(events, 2)
        assert [d[2] for d in events.dead_letters] == ["unreadable_acknowledgement"]
        assert counters.get("answer_malformed") == 4
        assert control_id(receiver.received[-1]) == b"C2"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4000,
        START + acknowledgement("AA", b"C1"),
        START + acknowledgement("AA", b"C1")[:20],
        START + acknowledgement("AA", b"OTHER") + END,
        START + b"x" * 2000,
    ],
)
async def test_receiver_that_gives_no_whole_answer_is_away_and_gets_the_message_again(
    tmp_path: Path, answer: bytes
) -> None:
    behave = script(*[sends(answer)] * 6)
    settings = {"ack_timeout_s": 0.05, "max_answer_bytes": 1024}
    async with pair(tmp_path, behave, **settings) as (events, receiver, _, _c):
        await publish(events, message("C1"))
        await receipts(events, 1)
        assert len(receiver.received) == 7
        assert not events.dead_letters


async def test_connection_that_the_receiver_closed_while_idle_costs_no_message(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (events, receiver, _, counters):
        for n in range(5):
            await publish(events, message(f"C{n}"))
            await receipts(events, n + 1)
            for writer in tuple(receiver.writers):
                writer.close()
            await receiver.until(lambda: not receiver.writers)
        assert len(receiver.received) == 5
        assert counters.get("message_sent_again") == 0
        assert counters.get("destination_away") == 0


async def test_connection_that_rested_too_long_is_replaced_before_use(tmp_path: Path) -> None:
    async with pair(tmp_path, reopen_after_idle_s=0.0001) as (events, receiver, _, counters):
        for n in range(3):
            await publish(events, message(f"C{n}"))
            await receipts(events, n + 1)
            await a_moment()
        assert receiver.connections == 3
        assert counters.get("connection_reopened", reason="idle") == 2


async def test_lanes_keep_each_patients_order_over_their_own_connections(tmp_path: Path) -> None:
    async with pair(tmp_path, lanes=4) as (events, receiver, _, _c):
        for n in range(10):
            for partition in range(8):
                await publish(events, message(f"P{partition}-{n}"), partition=partition)
        await receipts(events, 80)
        for partition in range(8):
            prefix = b"P%d-" % partition
            seen = [c for c in map(control_id, receiver.received) if c.startswith(prefix)]
            assert seen == [prefix + b"%d" % n for n in range(10)]
        assert 1 < receiver.connections <= 4


async def test_slow_lane_does_not_hold_the_others(tmp_path: Path) -> None:
    async def stuck(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        if control_id(raw) != b"STUCK":
            await accept(receiver, raw, writer)

    async with pair(tmp_path, stuck, lanes=2) as (events, _, _client, _c):
        await publish(events, message("STUCK"), partition=0)
        await publish(events, *(message(f"C{n}") for n in range(10)), partition=1)
        await receipts(events, 10)
        assert len(events.receipts) == 10


async def test_enhanced_receiver_accepts_then_applies(tmp_path: Path) -> None:
    async def both(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        await code("CA")(receiver, raw, writer)
        await code("AA")(receiver, raw, writer)

    async with pair(tmp_path, both, expects="enhanced") as (events, _, _client, _c):
        await publish(events, message("C1", accept="AL", application="AL"))
        await receipts(events, 1)
        (receipt,) = events.receipts.values()
        assert receipt.outcome is Outcome.APPLIED
        assert b"MSA|AA" in receipt.answer


async def test_enhanced_receiver_that_never_applies_has_the_message_and_gets_it_once(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, code("CA"), expects="enhanced", ack_timeout_s=0.1) as (
        events,
        receiver,
        _,
        _c,
    ):
        await publish(events, message("C1", accept="AL", application="AL"))
        await publish(events, message("C2", accept="AL", application="NE"))
        await receipts(events, 2)
        assert [r.outcome for r in events.receipts.values()] == [Outcome.DELIVERED] * 2
        assert len(receiver.received) == 2


async def test_what_is_no_message_or_cannot_be_framed_becomes_a_dead_letter_at_once(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (events, receiver, _, _c):
        await publish(events, b"%PDF", message("C1", note="a\x0bb"), message("C2"))
        await receipts(events, 3)
        assert len(events.dead_letters) == 2
        assert [control_id(r) for r in receiver.received] == [b"C2"]


async def test_filter_passes_what_it_names_and_steps_aside_for_what_it_cannot_read(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, filter="MSH-9.1 = 'ADT' and ZTS-1 = 'yes'") as (
        events,
        receiver,
        _,
        _c,
    ):
        await publish(events, message("C1", note="no"), b"%PDF", message("C3", note="yes"))
        await receipts(events, 2)
        assert [control_id(r) for r in receiver.received] == [b"C3"]
        assert [d[1].body for d in events.dead_letters] == [b"%PDF"]
        assert events.consumptions[0].stats().filtered == 1


async def test_message_without_a_control_id_is_delivered_when_the_answer_has_none_either(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path) as (events, receiver, _, _c):
        await publish(events, message(""))
        await receipts(events, 1)
        assert receiver.received == [message("")]


async def test_drain_finishes_the_message_under_way(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def held(receiver: Receiver, raw: bytes, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await accept(receiver, raw, writer)

    async with pair(tmp_path, held) as (events, receiver, client, _):
        await publish(events, message("C1"), message("C2"))
        await receiver.until(lambda: len(receiver.received) == 1)
        draining = asyncio.create_task(client.drain(timeout_s=DEADLINE_S))
        await asyncio.sleep(0)
        go.set()
        await draining
        assert len(events.receipts) == 1
        assert len(receiver.received) == 1
