"""Dead letters: what could not be worked, stored with its reason and its original envelope before it is acknowledged.

Operators list, show and replay them without ever decrypting what the original envelope holds.
"""

from __future__ import annotations

from typing import Final

from bus.events.items import Item
from bus.events.protocol import NewEvent
from bus.events.publisher import Publisher
from bus.events.sizes import TOO_LARGE, shortened
from bus.events.streams import derived_id
from bus.telemetry.counters import Counters
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import MeshError
from schemas.generated.medmesh.control.v1 import control_pb2 as control_pb

DEAD_LETTER_TYPE: Final = "medmesh/dead-letter"
_STORE_TIMEOUT_S: Final = 30.0


class DeadLetterWriter:
    """Stores the dead letters of one consumer."""

    def __init__(
        self,
        *,
        stream: str,
        incarnation: str,
        consumer: str,
        publisher: Publisher,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._stream = stream
        self.incarnation = incarnation
        """Which stream of that name: a dead letter of an earlier one is another dead letter."""
        self._consumer = consumer
        self._publisher = publisher
        self._clock = clock
        self._counters = counters

    async def store(self, item: Item) -> None:
        """Return when the dead letter is durable; the same message is stored once. Raises `MeshError`."""
        try:
            await self._publish(item, self._letter(item, with_envelope=True))
        except MeshError as error:
            if error.code not in TOO_LARGE:
                raise
            # The carrier's limit was lowered since it was accepted: the original stays in its stream, where a replay
            # finds it by its sequence.
            await self._publish(item, self._letter(item, with_envelope=False))
        reason = item.failure.reason if item.failure else ""
        self._counters.add("message_dead_lettered", who=self._consumer, reason=reason)

    async def _publish(self, item: Item, letter: control_pb.DeadLetter) -> None:
        await self._publisher.publish(
            NewEvent(
                subject=subjects.dead_letter(self._stream, self._consumer),
                type=DEAD_LETTER_TYPE,
                body=letter.SerializeToString(),
                message_id=derived_id(
                    "dead-letter",
                    self._stream,
                    self.incarnation,
                    self._consumer,
                    item.delivery.seq,
                ),
            ),
            timeout_s=_STORE_TIMEOUT_S,
        )

    def _letter(self, item: Item, *, with_envelope: bool) -> control_pb.DeadLetter:
        failure, now_ms = item.failure, self._clock.now_ms()
        return control_pb.DeadLetter(
            stream=self._stream,
            consumer=self._consumer,
            stream_seq=item.delivery.seq,
            subject=item.subject,
            envelope=item.sealed if with_envelope else b"",
            message_id=item.envelope.content.id if item.envelope else b"",
            reason=failure.reason if failure else "",
            detail=shortened(failure.detail) if failure else "",
            attempts=item.failures,
            first_attempt_ms=item.first_attempt_ms or now_ms,
            last_attempt_ms=item.last_attempt_ms or now_ms,
            stack=shortened(failure.stack) if failure else "",
        )


__all__ = ["DEAD_LETTER_TYPE", "DeadLetterWriter"]
