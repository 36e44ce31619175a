"""What happens to one message that came in: checked, stored, answered with what is true, in the sender's mode.

Original mode (MSH-15 and MSH-16 empty): one answer, AA only when the declared level holds. Enhanced mode: CA, CE or CR
as MSH-15 asks once it is known whether the message is stored; with `delivered` and `applied` AA, AE or AR follow as
MSH-16 asks, when the destinations have answered; where MSH-16 asks for nothing the accept answer itself waits for the
declared level, as it is all that the sender hears. With `stored` and `replicated` a sender that asks for an application
answer alone gets one of that level; a sender that asks for both gets the accept answer alone, since nothing applied it.
A sender that asks for none is answered as in the original mode, unless `always_answer` is off.

When it cannot be known in time what became of a message the answer is AE (CE): its text says that the message may be
stored already, and that sending it again unchanged is safe, since it has the same identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from adapters.contract import AdapterRuntime
from adapters.hl7v2.codec.ack_codes import AckCode, AckError, Condition
from adapters.hl7v2.codec.acknowledgement import build_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import Header, peek, peek_batch
from adapters.hl7v2.codec.mllp import FrameProblem, Problem
from adapters.hl7v2.config import MllpServerConfig
from adapters.hl7v2.convert import Intent, to_event
from adapters.hl7v2.habits import Habit, Habits, single_code
from adapters.hl7v2.receipts import ReceiptWaiter
from adapters.hl7v2.verdict import (
    ACCEPTED,
    Verdict,
    VerdictKind,
    accept_code,
    application_code,
    is_condition,
)
from bus.envelope.types import ContentTooLarge
from bus.transport.protocol import PayloadTooLarge
from schemas.errors import DeadlineExceeded, MeshError, ResourceExhausted
from schemas.registry.errors import SchemaRefused

_RESEND: Final = "sending it again unchanged is safe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to tell the sender: at once, and later beside the messages that follow."""

    now: bytes | None = None
    later: Callable[[], Coroutine[Any, Any, bytes | None]] | None = None
    close: bool = False
    """The bytes cannot be answered: close the connection."""


class Intake:
    """Works the messages of one MLLP server; knows nothing of sockets."""

    def __init__(self, config: MllpServerConfig, runtime: AdapterRuntime) -> None:
        self._config = config
        self._runtime = runtime
        self._intent = Intent(
            site=runtime.site,
            site_key=runtime.site_key,
            adapter=config.name,
            event=config.event,
            charset=config.charset,
            receipts_from=config.receipts_from,
            random_bytes=runtime.random.randbytes,
        )
        self._receipts = ReceiptWaiter(config, runtime.events)
        self._habits = Habits(config)
        self._answers = itertools.count(1)
        self._run = f"{runtime.random.getrandbits(40):010X}"
        self.trouble = ""
        """Why the last message could not be stored, for operators; empty when it was."""

    async def accept(self, message: bytes) -> Reply:
        """Store one message and say what to answer. Never raises a `MeshError`."""
        try:
            header = peek(message, charset=self._config.charset)
        except Hl7Error as error:
            return self._without_header(message, error)
        habit = self._habits.of(header)
        verdict = habit.refusal
        message_id = b""
        if verdict is None:
            verdict, message_id = await self._store(message, header, habit)
        if verdict is not ACCEPTED:
            return Reply(now=self._answer(header, verdict, self._single_code(header, verdict)))
        if not self._config.ack.needs_receipts:
            return Reply(now=self._accepted(header, habit))
        return await self._reply_with_receipts(header, message_id)

    async def _reply_with_receipts(self, header: Header, message_id: bytes) -> Reply:
        """The message is stored, and the declared level asks for the destinations too."""
        if is_condition(header.application_acknowledgement):
            accepted = accept_code(header.accept_acknowledgement, ACCEPTED)
            return Reply(
                now=self._answer(header, ACCEPTED, accepted) if accepted else None,
                later=lambda: self._application_answer(header, message_id),
            )
        # One answer is all that this sender hears, so it waits until the declared level holds.
        verdict = await self._receipts.verdict(message_id, header)
        return Reply(now=self._answer(header, verdict, self._single_code(header, verdict)))

    def refuse(self, problem: Problem) -> bytes | None:
        """The negative answer to a frame that was cut short or too long; None when its MSH cannot be read."""
        try:
            header = peek(problem.head, charset=self._config.charset)
        except Hl7Error:
            return None
        condition = Condition.SEGMENT_SEQUENCE
        match problem.code:
            case FrameProblem.OVERSIZED:
                condition = Condition.VALUE_TOO_LONG
                text = f"message is larger than {self._config.max_message_bytes} bytes (max_message_bytes)"
            case FrameProblem.UNOPENED:
                text = "no MLLP start block (0x0B) before this message; it was not stored"
            case _:
                text = "a new frame began before this one ended; it was not stored"
        verdict = Verdict(
            kind=VerdictKind.REJECT, text=text, condition=condition, reason=problem.code.value
        )
        return self._answer(header, verdict, self._single_code(header, verdict))

    def _without_header(self, message: bytes, error: Hl7Error) -> Reply:
        """Nothing can be answered to bytes without a usable MSH, save to a batch: its own header says to whom."""
        try:
            header = peek_batch(message, charset=self._config.charset)
        except Hl7Error:
            self._count("message_refused", error.code)
            return Reply(close=True)
        verdict = Verdict(
            kind=VerdictKind.REJECT,
            text="a batch (FHS, BHS) in an MLLP frame is not taken and nothing of it was stored; "
            "send each message in a frame of its own",
            condition=Condition.SEGMENT_SEQUENCE,
            reason="batch_in_frame",
        )
        return Reply(now=self._answer(header, verdict, application_code("AL", verdict)))

    async def _store(self, message: bytes, header: Header, habit: Habit) -> tuple[Verdict, bytes]:
        try:
            event = to_event(
                message,
                header,
                self._intent,
                received_ms=self._runtime.clock.now_ms(),
                kind=habit.kind,
            )
            stored = await self._runtime.events.publish(
                event, timeout_s=self._config.publish_timeout_s
            )
        except Hl7Error as error:
            ack_error = AckError.of(error)
            verdict = Verdict(
                kind=VerdictKind.REJECT,
                text=ack_error.text,
                condition=ack_error.condition,
                location=error.location,
                reason=error.code,
            )
            return verdict, b""
        except MeshError as error:
            self.trouble = f"cannot store messages: {error.code}"
            return _not_stored(error), b""
        self.trouble = ""
        self._count("message_stored", "duplicate" if stored.duplicate else "")
        return ACCEPTED, stored.message_id

    async def _application_answer(self, header: Header, message_id: bytes) -> bytes | None:
        verdict = await self._receipts.verdict(message_id, header)
        code = application_code(header.application_acknowledgement, verdict)
        return self._answer(header, verdict, code)

    def _single_code(self, header: Header, verdict: Verdict) -> AckCode | None:
        return single_code(header, verdict, self._config)

    def _accepted(self, header: Header, habit: Habit) -> bytes | None:
        """The one answer to a message that is stored, as `_answer` would build it."""
        self._count("message_answered", habit.code.value if habit.code else "none")
        if habit.answer is None:
            return None
        return habit.answer.fill(
            control_id=self._own_control_id(),
            now_ms=self._runtime.clock.now_ms(),
            answered=header.raw(10),
        )

    def _own_control_id(self) -> str:
        return f"{self._run}{next(self._answers)}"

    def _answer(self, header: Header, verdict: Verdict, code: AckCode | None) -> bytes | None:
        """Build the answer, or pass the destination's own on."""
        self._count("message_answered", code.value if code else "none")
        if not verdict.is_positive:
            self._count("message_refused", verdict.reason)
        if code is None:
            return None
        if verdict.relayed and not code.value.startswith("C"):
            return verdict.relayed
        errors = (
            ()
            if verdict.is_positive
            else (
                AckError(condition=verdict.condition, location=verdict.location, text=verdict.text),
            )
        )
        return build_acknowledgement(
            header,
            code,
            control_id=self._own_control_id(),
            now_ms=self._runtime.clock.now_ms(),
            text=verdict.text,
            errors=errors,
        )

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who=self._config.name, reason=reason)


def _not_stored(error: MeshError) -> Verdict:
    """What a failed publish means to the sender."""
    if isinstance(error, ContentTooLarge | PayloadTooLarge):
        # the text has sizes and a setting, nothing else
        return Verdict(
            kind=VerdictKind.REJECT,
            text=f"not stored: {error}",
            condition=Condition.VALUE_TOO_LONG,
            reason=error.code,
        )
    if isinstance(error, SchemaRefused):
        # the text names the binding and types, nothing else
        return Verdict(
            kind=VerdictKind.REJECT,
            text=f"not stored: {error}",
            condition=Condition.UNSUPPORTED_MESSAGE_TYPE,
            reason=error.code,
        )
    if isinstance(error, ResourceExhausted):
        text = f"not stored: {error.code}; send it again later"
        return Verdict(kind=VerdictKind.ERROR, text=text, reason=error.code)
    if error.retryable or isinstance(error, DeadlineExceeded):
        text = f"not confirmed: {error.code}; the message may be stored already, {_RESEND}"
        return Verdict(kind=VerdictKind.ERROR, text=text, reason=error.code)
    # Only what is wrong with this message itself is rejected; what is wrong with the mesh can be mended.
    kind = VerdictKind.REJECT if isinstance(error, ValueError) else VerdictKind.ERROR
    return Verdict(kind=kind, text=f"not stored: {error.code}", reason=error.code)


__all__ = ["Intake", "Reply"]
