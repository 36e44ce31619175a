"""One message and its acknowledgement, with strict matching: an answer counts only for the message that it names."""

from __future__ import annotations

from typing import ClassVar

from adapters.hl7v2.codec.acknowledgement import AckCode, Acknowledgement, parse_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import Header, peek
from adapters.hl7v2.codec.mllp import UnframableMessage
from adapters.hl7v2.config import Expects, MllpClientConfig, OnReject
from adapters.hl7v2.link import Count, Link
from bus.events.protocol import Outcome, Receipt, ReceivedEvent, Rejected
from schemas.errors import MeshError, Unavailable


class NegativeAnswer(MeshError):
    """The receiver answered AE, AR, CE or CR: an attempt that counts."""

    code: ClassVar[str] = "negative_acknowledgement"
    retryable: ClassVar[bool] = True

    def __init__(self, ack_code: AckCode, answer: bytes) -> None:
        super().__init__(f"the receiver answered {ack_code.value}")
        self.ack_code = ack_code
        self.answer = answer
        """The acknowledgement as it came: protected data, kept for the receipt."""


class RejectedByReceiver(Rejected):
    """The receiver answered AR or CR, and `on_reject` makes that final."""

    code: ClassVar[str] = "rejected_by_receiver"

    def __init__(self, ack_code: AckCode, answer: bytes) -> None:
        super().__init__(f"the receiver answered {ack_code.value}")
        self.answer = answer


class UnreadableAnswer(MeshError):
    """The receiver answered with a frame that is no acknowledgement: an attempt that counts."""

    code: ClassVar[str] = "unreadable_acknowledgement"
    retryable: ClassVar[bool] = True


class Exchange:
    """Sends a message over a link and interprets what comes back."""

    def __init__(self, config: MllpClientConfig, count: Count) -> None:
        self._config = config
        self._count = count

    async def run(self, link: Link, event: ReceivedEvent) -> Receipt:
        """Deliver one event.

        Raises `Unavailable` when the receiver is away (the link is closed then), `NegativeAnswer` and
        `UnreadableAnswer` for attempts that count, `Rejected` for what will never be accepted.
        """
        try:
            header = peek(event.body)
        except Hl7Error as error:
            self._count("message_unsendable", error.code)
            raise Rejected(f"not an HL7 v2 message: {error.code}") from error
        try:
            await link.send(event.body)
        except UnframableMessage as error:
            self._count("message_unsendable", error.code)
            raise Rejected(str(error)) from error
        raw, answer = await self._matching(link, header)
        if answer.code is AckCode.CA and self._awaits_application(header):
            return await self._application(link, event, header, raw)
        return self._receipt(event, raw, answer)

    async def _matching(self, link: Link, header: Header) -> tuple[bytes, Acknowledgement]:
        """Read until the answer to this message comes; the deadline is that of the exchange, not of each frame."""
        deadline_s = link.deadline(self._config.ack_timeout_s)
        while True:
            raw = await link.answer(deadline_s=deadline_s)
            try:
                answer = parse_acknowledgement(raw)
            except Hl7Error as error:
                self._count("answer_malformed", error.code)
                link.close()
                raise UnreadableAnswer(f"the receiver's answer: {error}") from error
            if answer.control_id_bytes == header.raw(10):
                return raw, answer
            self._count("answer_ignored", "other_control_id")

    def _awaits_application(self, header: Header) -> bool:
        wanted = header.application_acknowledgement.strip().upper() in ("AL", "SU")
        return self._config.expects is Expects.ENHANCED and wanted

    async def _application(
        self, link: Link, event: ReceivedEvent, header: Header, accepted: bytes
    ) -> Receipt:
        """After a CA the receiver has the message: without an application answer it is delivered and not sent again."""
        try:
            raw, answer = await self._matching(link, header)
        except (Unavailable, UnreadableAnswer) as error:
            self._count("application_answer_missing", error.code)
            return Receipt(
                message_id=event.message_id,
                consumer=self._config.name,
                outcome=Outcome.DELIVERED,
                answer=accepted,
                reason="no_application_answer",
            )
        return self._receipt(event, raw, answer)

    def _receipt(self, event: ReceivedEvent, raw: bytes, answer: Acknowledgement) -> Receipt:
        self._count("answer_received", answer.code.value)
        if not answer.code.is_accepted:
            final = self._config.on_reject is OnReject.DEAD_LETTER
            if final and answer.code in (AckCode.AR, AckCode.CR):
                raise RejectedByReceiver(answer.code, raw)
            raise NegativeAnswer(answer.code, raw)
        applied = answer.code is AckCode.AA
        return Receipt(
            message_id=event.message_id,
            consumer=self._config.name,
            outcome=Outcome.APPLIED if applied else Outcome.DELIVERED,
            answer=raw,
        )


__all__ = ["Exchange", "NegativeAnswer", "RejectedByReceiver", "UnreadableAnswer"]
