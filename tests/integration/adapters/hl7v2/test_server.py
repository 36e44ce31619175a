"""The MLLP server on real sockets: true answers, bounds, and peace for healthy peers beside sick ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.contract import Condition
from adapters.hl7v2.codec.acknowledgement import AckCode
from bus.events.protocol import Outcome, Receipt
from bus.transport.protocol import StreamFull
from schemas.errors import ConfigurationError, DeadlineExceeded
from tests.integration.adapters.hl7v2.sockets import (
    END,
    START,
    Sender,
    acknowledgement,
    mllp_server,
)
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import DEADLINE_S, eventually, message


async def test_message_is_stored_byte_for_byte_before_it_is_acknowledged(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        raw = message("C1", note="Ü \x1c lone separator")
        sender.write(raw)
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: events.publishing == 1)
        assert not sender.reader._buffer  # type: ignore[attr-defined]  # nothing was answered while nothing was stored
        assert events.gate is not None
        events.gate.set()
        answer = await sender.answer()
        assert (answer.code, answer.control_id) == (AckCode.AA, "C1")
        assert events.bodies() == [raw]
        sender.close()


async def test_resend_is_stored_once_and_acknowledged_again(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        codes = [(await sender.ask(message("C1"))).code for _ in range(3)]
        assert codes == [AckCode.AA] * 3
        assert events.bodies() == [message("C1")]
        assert counters.get("message_stored", reason="duplicate") == 2
        sender.close()


async def test_same_control_id_with_other_content_is_another_message(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        for raw in (message("C1", note="a"), message("C1", note="b")):
            assert (await sender.ask(raw)).code is AckCode.AA
        assert len(events.events) == 2
        sender.close()


async def test_messages_without_a_control_id_are_never_merged(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        for _ in range(2):
            assert (await sender.ask(message(""))).code is AckCode.AA
        assert len(events.events) == 2
        sender.close()


async def test_one_patient_is_one_partition_and_subjects_hold_no_identifier(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        for n in range(6):
            await sender.ask(message(f"C{n}", patient="MRN12345"))
        assert len({e.subject for e in events.events}) == 1
        assert "12345" not in events.events[0].subject
        assert events.events[0].index.patient[0].value == "MRN12345"
        sender.close()


async def test_pipelined_messages_are_answered_in_order(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(*(message(f"C{n}") for n in range(200)))
        answers = [(await sender.answer()).control_id for _ in range(200)]
        assert answers == [f"C{n}" for n in range(200)]
        sender.close()


async def test_half_closed_sender_still_gets_its_answers(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"), message("C2"))
        sender.writer.write_eof()
        assert [(await sender.answer()).control_id for _ in range(2)] == ["C1", "C2"]
        assert await sender.closed() == b""


async def test_full_stream_is_a_truthful_error_and_the_resend_succeeds(tmp_path: Path) -> None:
    events = MemoryEvents(failure=StreamFull("full"))
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(message("C1"))
        assert answer.code is AckCode.AE
        assert "not stored: stream_full" in answer.text
        assert server.health().condition is Condition.DEGRADED
        events.failure = None
        assert (await sender.ask(message("C1"))).code is AckCode.AA
        assert server.health().condition is Condition.HEALTHY
        sender.close()


async def test_unknown_fate_is_an_error_that_calls_the_resend_safe(tmp_path: Path) -> None:
    events = MemoryEvents(failure=DeadlineExceeded("late"), stored_anyway=True)
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(message("C1"))
        assert answer.code is AckCode.AE
        assert "may be stored already" in answer.text
        events.failure = None
        assert (await sender.ask(message("C1"))).code is AckCode.AA
        assert len(events.events) == 1
        sender.close()


async def test_unsupported_processing_id_is_rejected_with_its_place(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, processing_ids=["P"]) as (server, _):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(message("C1", processing_id="T"))
        assert (answer.code, answer.error_code) == (AckCode.AR, "202")
        assert answer.error_location.startswith("MSH^1^11")
        assert not events.events
        sender.close()


@pytest.mark.parametrize(
    ("accept", "application", "full", "expected"),
    [
        ("AL", "NE", False, AckCode.CA),
        ("AL", "AL", False, AckCode.CA),
        ("SU", "NE", False, AckCode.CA),
        ("NE", "AL", False, AckCode.AA),
        ("AL", "NE", True, AckCode.CE),
        ("ER", "NE", True, AckCode.CE),
        ("NE", "ER", True, AckCode.AE),
        ("ER", "AL", False, AckCode.AA),
        ("ER", "NE", False, None),
        ("SU", "NE", True, None),
        ("NE", "NE", False, None),
    ],
)
async def test_enhanced_mode_answers_what_was_asked_for(
    tmp_path: Path, accept: str, application: str, full: bool, expected: AckCode | None
) -> None:
    events = MemoryEvents(failure=StreamFull("full") if full else None)
    async with mllp_server(events, tmp_path, always_answer=False) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1", accept=accept, application=application))
        if expected is None:
            # a second message that is answered shows that the first was not
            async with asyncio.timeout(DEADLINE_S):
                await events.until(lambda: events.published == 1 or full)
            sender.write(message("C2"))
            assert (await sender.answer()).control_id == "C2"
        else:
            answer = await sender.answer()
            assert (answer.code, answer.control_id) == (expected, "C1")
        sender.close()


@pytest.mark.parametrize(("full", "expected"), [(False, AckCode.AA), (True, AckCode.AE)])
async def test_sender_that_asks_for_no_answer_gets_one_all_the_same_unless_set_otherwise(
    tmp_path: Path, full: bool, expected: AckCode
) -> None:
    events = MemoryEvents(failure=StreamFull("full") if full else None)
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(message("C1", accept="NE", application="NE"))
        assert (answer.code, answer.control_id) == (expected, "C1")
        sender.close()


@pytest.mark.parametrize(("accept", "application"), [("NE", "AL"), ("NE", "NE"), ("", "")])
async def test_applied_without_an_accept_answer_waits_for_the_destination(
    tmp_path: Path, accept: str, application: str
) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1", accept=accept, application=application))
        await give(events, 0, Outcome.REFUSED, acknowledgement("AE", b"C1"))
        assert (await sender.answer()).code is AckCode.AE
        sender.close()


async def give(events: MemoryEvents, number: int, outcome: Outcome, answer: bytes = b"") -> None:
    async with asyncio.timeout(DEADLINE_S):
        await events.until(lambda: len(events.events) > number)
    await events.give(
        Receipt(
            message_id=events.events[number].message_id,
            consumer="his-out",
            outcome=outcome,
            answer=answer,
        )
    )


APPLIED = {"ack": "applied", "receipts_from": ["his-out"]}


async def test_applied_waits_for_the_destination_and_passes_its_answer_on(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        own = acknowledgement("AA", b"C1")
        await give(events, 0, Outcome.APPLIED, own)
        assert await sender.answer_bytes() == own
        sender.close()


@pytest.mark.parametrize(("code", "expected"), [("AE", AckCode.AE), ("AR", AckCode.AR)])
async def test_refusal_of_the_destination_is_told(
    tmp_path: Path, code: str, expected: AckCode
) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        await give(events, 0, Outcome.REFUSED, acknowledgement(code, b"C1"))
        assert (await sender.answer()).code is expected
        sender.close()


async def test_answer_for_another_message_is_never_passed_on(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        await give(events, 0, Outcome.APPLIED, acknowledgement("AA", b"C999"))
        answer = await sender.answer()
        assert (answer.code, answer.control_id) == (AckCode.AA, "C1")
        sender.close()


async def test_delivered_is_not_applied(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        await give(events, 0, Outcome.DELIVERED, acknowledgement("CA", b"C1"))
        assert (await sender.answer()).code is AckCode.AE
        sender.close()


async def test_destination_that_is_away_gives_an_error_and_the_later_resend_is_positive(
    tmp_path: Path,
) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, ack_timeout_s=0.05, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(message("C1"))
        assert answer.code is AckCode.AE
        assert "stored" in answer.text
        await give(events, 0, Outcome.APPLIED)
        assert (await sender.ask(message("C1"))).code is AckCode.AA
        assert len(events.events) == 1
        sender.close()


async def test_enhanced_sender_gets_both_answers_and_may_go_on_between_them(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, **APPLIED) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1", accept="AL", application="AL"))
        assert (await sender.answer()).code is AckCode.CA
        sender.write(message("C2", accept="AL", application="AL"))
        second = await sender.answer()
        assert (second.code, second.control_id) == (AckCode.CA, "C2")
        await give(events, 1, Outcome.APPLIED)
        await give(events, 0, Outcome.APPLIED)
        answers = [await sender.answer(), await sender.answer()]
        assert [(a.code, a.control_id) for a in answers] == [(AckCode.AA, "C1"), (AckCode.AA, "C2")]
        sender.close()


async def test_replicated_needs_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cluster"):
        async with mllp_server(MemoryEvents(), tmp_path, ack="replicated"):
            pass


# bad input


async def healthy(port: int) -> None:
    sender = await Sender.connect(port)
    assert (await sender.ask(message("OK"))).code is AckCode.AA
    sender.close()


async def test_oversized_message_is_rejected_and_the_connection_goes_on(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path, max_message_bytes=4096) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(message("BIG", note="x" * 200_000))
        assert (answer.code, answer.control_id) == (AckCode.AR, "BIG")
        assert "max_message_bytes" in answer.text
        assert (await sender.ask(message("C2"))).code is AckCode.AA
        assert counters.get("frame_refused", reason="oversized_frame") == 1
        assert len(events.events) == 1
        sender.close()


async def test_batch_in_a_frame_is_rejected_by_its_own_control_id_and_the_connection_goes_on(
    tmp_path: Path,
) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        answer = await sender.ask(
            b"BHS|^~\\&|LAB|NORTH|HIS|SOUTH|20260101||||B77\r" + message("IN") + b"BTS|1\r"
        )
        assert (answer.code, answer.control_id) == (AckCode.AR, "B77")
        assert "each message in a frame of its own" in answer.text
        assert (await sender.ask(message("C2"))).code is AckCode.AA
        assert counters.get("message_refused", reason="batch_in_frame") == 1
        assert events.bodies() == [message("C2")]
        sender.close()


async def test_missing_terminator_rejects_the_cut_message_and_takes_the_next(
    tmp_path: Path,
) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.writer.write(START + message("CUT"))
        sender.write(message("WHOLE"))
        first, second = await sender.answer(), await sender.answer()
        assert (first.code, first.control_id) == (AckCode.AR, "CUT")
        assert (second.code, second.control_id) == (AckCode.AA, "WHOLE")
        assert events.bodies() == [message("WHOLE")]
        sender.close()


async def test_missing_start_block_rejects_the_message_and_takes_the_next(tmp_path: Path) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        sender.writer.write(message("BARE") + END)
        answer = await sender.answer()
        assert (answer.code, answer.control_id) == (AckCode.AR, "BARE")
        assert (await sender.ask(message("WHOLE"))).code is AckCode.AA
        assert events.bodies() == [message("WHOLE")]
        sender.close()


@pytest.mark.parametrize(
    "wire",
    [
        START + b"GET / HTTP/1.1" + END,
        START + b"\0\xff" * 50 + END,
        START + b"MSH" + END,
        START + b"MSH|abc|" + END,
        b"\x16\x03\x01" * 40_000,
        END * 1000,
        START + b"no header" + START + b"no header",
    ],
)
async def test_garbage_closes_its_connection_alone(tmp_path: Path, wire: bytes) -> None:
    events = MemoryEvents()
    async with mllp_server(events, tmp_path) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        sender.writer.write(wire)
        await sender.closed()
        assert not events.events
        assert counters.get("frame_refused") + counters.get("message_refused") > 0
        await healthy(server.bound_port)


async def test_message_truncated_anywhere_is_never_stored_or_acknowledged(tmp_path: Path) -> None:
    events = MemoryEvents()
    wire = START + message("C1") + END
    async with mllp_server(events, tmp_path) as (server, _):
        for size in range(1, len(wire)):
            sender = await Sender.connect(server.bound_port)
            sender.writer.write(wire[:size])
            sender.writer.write_eof()
            assert await sender.closed() == b""
        assert not events.events
        await healthy(server.bound_port)


async def test_slow_drip_is_cut_at_the_deadline_of_its_frame(tmp_path: Path) -> None:
    async with mllp_server(MemoryEvents(), tmp_path, frame_timeout_s=0.05) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        sender.writer.write(START + b"MSH|")

        def cut() -> bool:
            if not sender.writer.transport.is_closing():
                sender.writer.write(b"x")
            server.sweep()
            return counters.get("connection_cut", reason="frame_timeout") == 1

        await eventually(cut, what="slow drip cut")
        await healthy(server.bound_port)


async def test_peer_that_speaks_another_protocol_is_cut_and_padding_between_frames_is_not(
    tmp_path: Path,
) -> None:
    async with mllp_server(MemoryEvents(), tmp_path, frame_timeout_s=0.05) as (server, counters):
        padding = await Sender.connect(server.bound_port)
        assert (await padding.ask(message("C1"))).code is AckCode.AA
        padding.writer.write(b"\r\n\0")
        browser = await Sender.connect(server.bound_port)
        browser.writer.write(b"GET / HTTP/1.1\r\nHost: his\r\n\r\n")

        def cut() -> bool:
            server.sweep()
            return counters.get("connection_cut", reason="frame_timeout") == 1

        await eventually(cut, what="browser cut")
        assert await browser.closed() == b""
        assert (await padding.ask(message("C2"))).code is AckCode.AA
        padding.close()


async def test_idle_connection_is_closed_and_a_working_one_is_not(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with mllp_server(events, tmp_path, idle_timeout_s=0.05) as (server, counters):
        idle = await Sender.connect(server.bound_port)
        working = await Sender.connect(server.bound_port)
        working.write(message("C1"))
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: events.publishing == 1)

        def closed() -> bool:
            server.sweep()
            return counters.get("connection_closed", reason="idle_timeout") == 1

        await eventually(closed, what="idle connection closed")
        assert await idle.closed() == b""
        assert events.gate is not None
        events.gate.set()
        assert (await working.answer()).code is AckCode.AA
        working.close()


# bounds


async def test_thousand_idle_connections_do_not_hinder_a_sender(tmp_path: Path) -> None:
    async with mllp_server(MemoryEvents(), tmp_path, max_connections_per_peer=2000) as (server, _):
        idle = await asyncio.gather(*(Sender.connect(server.bound_port) for _ in range(1000)))
        await healthy(server.bound_port)
        for sender in idle:
            sender.close()


async def test_connections_beyond_the_bound_are_closed_and_counted(tmp_path: Path) -> None:
    async with mllp_server(MemoryEvents(), tmp_path, max_connections_per_peer=2) as (
        server,
        counters,
    ):
        kept = [await Sender.connect(server.bound_port) for _ in range(2)]
        assert (await kept[1].ask(message("C1"))).code is AckCode.AA
        extra = await Sender.connect(server.bound_port)
        assert await extra.closed() == b""
        assert counters.get("connection_refused", reason="too_many_connections_of_peer") == 1
        kept[0].close()
        await eventually(lambda: "1 connections" in server.health().detail, what="one left")
        await healthy(server.bound_port)
        kept[1].close()


async def test_peer_of_another_network_is_cut(tmp_path: Path) -> None:
    async with mllp_server(MemoryEvents(), tmp_path, allow=["10.0.0.0/8"]) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        assert await sender.closed() == b""
        assert counters.get("connection_refused", reason="peer_not_allowed") == 1


async def test_flood_waits_in_the_senders_kernel_while_the_mesh_is_slow(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with mllp_server(events, tmp_path) as (server, _):
        sender = await Sender.connect(server.bound_port)
        raw = message("C1", note="x" * 10_000)
        sender.write(*([raw] * 5000))
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: events.publishing == 1)
        await eventually(lambda: server.held_bytes > 0, what="something is buffered")
        assert server.held_bytes < 4 << 20  # of 50 MB
        sender.close()


# the end


async def test_drain_answers_what_was_accepted_and_takes_nothing_new(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with mllp_server(events, tmp_path) as (server, _):
        port = server.bound_port
        sender, idle = await Sender.connect(port), await Sender.connect(port)
        sender.write(message("C1"))
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: events.publishing == 1)
        draining = asyncio.create_task(server.drain(timeout_s=DEADLINE_S))
        assert await idle.closed() == b""
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await Sender.connect(port)
        assert events.gate is not None
        events.gate.set()
        answer = await sender.answer()
        assert (answer.code, answer.control_id) == (AckCode.AA, "C1")
        assert await sender.closed() == b""
        await draining
        assert events.bodies() == [message("C1")]


async def test_drain_ends_at_its_deadline(tmp_path: Path) -> None:
    events = MemoryEvents(gate=asyncio.Event())
    async with mllp_server(events, tmp_path) as (server, counters):
        sender = await Sender.connect(server.bound_port)
        sender.write(message("C1"))
        async with asyncio.timeout(DEADLINE_S):
            await events.until(lambda: events.publishing == 1)
        await server.drain(timeout_s=0.05)
        assert await sender.closed() == b""
        assert counters.get("connection_cut", reason="drain_timeout") == 1


async def test_address_in_use_says_so(tmp_path: Path) -> None:
    async with mllp_server(MemoryEvents(), tmp_path) as (server, _):
        with pytest.raises(ConnectionError, match="cannot listen"):
            async with mllp_server(
                MemoryEvents(), tmp_path, listen=f"127.0.0.1:{server.bound_port}"
            ):
                pass
