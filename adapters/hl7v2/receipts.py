"""From the receipts of destinations to one verdict: `delivered` and `applied` hold only when each of them says so."""

from __future__ import annotations

import asyncio
from typing import Final

from adapters.hl7v2.codec.acknowledgement import AckCode, Acknowledgement, parse_acknowledgement
from adapters.hl7v2.codec.errors import Hl7Error
from adapters.hl7v2.codec.header import Header
from adapters.hl7v2.codec.mllp import UnframableMessage, frame
from adapters.hl7v2.config import AckLevel, MllpServerConfig
from adapters.hl7v2.verdict import ACCEPTED, Verdict, VerdictKind
from bus.events.protocol import Events, Outcome, Receipt
from schemas.errors import MeshError

FILTERED: Final = "filtered"
"""The reason in the receipt of a consumer whose filter turned the message down."""


class ReceiptWaiter:
    """Waits for what the destinations did with a message."""

    def __init__(self, config: MllpServerConfig, events: Events) -> None:
        self._events = events
        self._destinations = config.receipts_from
        self._level = config.ack
        self._timeout_s = config.ack_timeout_s

    async def verdict(self, message_id: bytes, header: Header) -> Verdict:
        """Wait for all destinations, each until the deadline; what is true then."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(message_id, name)) for name in self._destinations]
        outcomes = [task.result() for task in tasks]
        verdicts = [
            self._judge(name, outcome, header)
            for name, outcome in zip(self._destinations, outcomes, strict=True)
        ]
        refused = [v for v in verdicts if not v.is_positive]
        if refused:
            return next((v for v in refused if v.kind is VerdictKind.REJECT), refused[0])
        return verdicts[0] if len(verdicts) == 1 else ACCEPTED

    async def _one(self, message_id: bytes, destination: str) -> Receipt | MeshError:
        try:
            return await self._events.await_receipt(
                message_id, destination, timeout_s=self._timeout_s
            )
        except MeshError as error:
            return error

    def _judge(self, name: str, outcome: Receipt | MeshError, header: Header) -> Verdict:
        if isinstance(outcome, MeshError):
            text = (
                f"stored, but {name} has not {self._level.value} it within {self._timeout_s:g} s; it stays on its way, "
                "and sending it again unchanged is safe"
            )
            return Verdict(kind=VerdictKind.ERROR, text=text, reason=f"receipt_{outcome.code}")
        answer = _answer_of(outcome, header)
        if outcome.outcome is Outcome.REFUSED:
            return _refused(name, outcome, answer)
        if self._level is AckLevel.APPLIED and outcome.outcome is not Outcome.APPLIED:
            text = f"stored, and {name} has accepted it, but does not say that it applied it"
            return Verdict(kind=VerdictKind.ERROR, text=text, reason="not_applied")
        relayed = outcome.answer if answer is not None and answer.code is AckCode.AA else b""
        return Verdict(kind=VerdictKind.POSITIVE, relayed=relayed)


def _answer_of(receipt: Receipt, header: Header) -> Acknowledgement | None:
    """The destination's acknowledgement, if it is one, answers this very message, and can go into a frame."""
    try:
        answer = parse_acknowledgement(receipt.answer)
        frame(receipt.answer)
    except (Hl7Error, UnframableMessage):
        return None
    return answer if answer.control_id_bytes == header.raw(10) else None


def _refused(name: str, receipt: Receipt, answer: Acknowledgement | None) -> Verdict:
    if receipt.reason == FILTERED:
        text = f"stored, but the filter of {name} does not let it through"
        return Verdict(kind=VerdictKind.REJECT, text=text, reason="filtered_by_destination")
    rejected = answer is not None and answer.code in (AckCode.AR, AckCode.CR)
    relayable = answer is not None and answer.code in (AckCode.AE, AckCode.AR)
    return Verdict(
        kind=VerdictKind.REJECT if rejected else VerdictKind.ERROR,
        text=f"stored, but {name} refused it",
        reason="refused_by_destination",
        relayed=receipt.answer if relayable else b"",
    )


__all__ = ["ReceiptWaiter"]
