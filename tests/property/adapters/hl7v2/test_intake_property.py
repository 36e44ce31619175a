"""Whatever a peer sends as a message or an answer, the result is an answer, a closed connection, or a typed error."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.codec.acknowledgement import parse_acknowledgement
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.mllp import FrameProblem, Problem
from adapters.hl7v2.config import MllpServerConfig
from adapters.hl7v2.intake import Intake, Reply
from adapters.hl7v2.receipts import ReceiptWaiter
from bus.events.protocol import Outcome, Receipt
from tests.unit.adapters.memory_events import MemoryEvents
from tests.unit.adapters.parts import message, runtime

_PIECE = st.sampled_from(
    [
        b"MSH",
        b"|",
        b"^~\\&",
        b"#",
        b"\r",
        b"\n",
        b"PID",
        b"||||||",
        b"NE",
        b"AL",
        b"\xff",
        b"\0M",
        b"8859/1",
        b"\x1b$B",
    ]
)
_SOUP = st.lists(_PIECE, max_size=40).map(b"".join)
_EDITED = st.tuples(st.integers(0, 160), st.binary(max_size=4)).map(
    lambda edit: message("C1")[: edit[0]] + edit[1] + message("C1")[edit[0] + len(edit[1]) :]
)
_BYTES = st.one_of(
    _SOUP.map(lambda soup: b"MSH|^~\\&|" + soup), _SOUP, _EDITED, st.binary(max_size=300)
)


def intake(events: MemoryEvents, **more: object) -> Intake:
    base: dict[str, object] = {"name": "emr-in", "kind": "hl7v2.mllp-server", "listen": ":0"}
    folder = Path(tempfile.gettempdir())
    return Intake(MllpServerConfig.model_validate(base | more), runtime(events, folder))


@given(raw=_BYTES)
@settings(max_examples=300)
def test_any_bytes_get_one_answer_or_a_closed_connection(raw: bytes) -> None:
    async def run() -> tuple[Reply, int]:
        events = MemoryEvents()
        return await intake(events).accept(raw), len(events.events)

    reply, stored = asyncio.run(run())
    assert (reply.now is None) == reply.close
    if reply.now is not None:
        answer = parse_acknowledgement(reply.now)
        assert answer.code.is_accepted == (stored == 1)
        assert answer.control_id_bytes == peek(raw).raw(10) or not peek(raw).raw(10).isascii()
    else:
        assert stored == 0


@given(raw=_BYTES, code=st.sampled_from(list(FrameProblem)))
def test_any_bad_frame_is_answered_negatively_or_not_at_all(raw: bytes, code: FrameProblem) -> None:
    answer = intake(MemoryEvents()).refuse(Problem(code, len(raw), raw))
    assert answer is None or not parse_acknowledgement(answer).code.is_accepted


@given(answer=_BYTES, outcome=st.sampled_from(list(Outcome)))
def test_any_answer_of_a_destination_gives_a_verdict_as_true_as_its_receipt(
    answer: bytes, outcome: Outcome
) -> None:
    async def run() -> bool:
        events = MemoryEvents()
        settings: dict[str, object] = {
            "name": "emr-in",
            "kind": "hl7v2.mllp-server",
            "listen": ":0",
            "ack": "applied",
            "receipts_from": ["his-out"],
        }
        waiter = ReceiptWaiter(MllpServerConfig.model_validate(settings), events)
        receipt = Receipt(message_id=b"1" * 16, consumer="his-out", outcome=outcome, answer=answer)
        await events.give(receipt)
        verdict = await waiter.verdict(b"1" * 16, peek(message("C1")))
        return verdict.is_positive

    assert asyncio.run(run()) == (outcome is Outcome.APPLIED)
