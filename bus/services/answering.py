"""How answers leave: sealed for the caller and bound to its request, or in plain words to who sent no envelope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bus.envelope.types import ContentTooLarge, Envelope, Plain
from bus.services.protocol import Load
from bus.services.sealing import TurnSealer
from bus.services.wire import Answer, answer_content
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Messenger, PayloadTooLarge
from schemas.errors import MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

INBOX: Final = "_INBOX"
"""Answers go to inboxes and nowhere else: a request must not make the service publish to a subject of its choice."""

_TOO_LARGE: Final = Answer(
    status=pb.REPLY_STATUS_FAILED, code="answer_too_large", detail="the answer fits into no message"
)
_log = logger(__name__)


def is_inbox(reply: str) -> bool:
    """Whether an answer may go there."""
    return reply.startswith(INBOX)


class Answers:
    """Sends the answers of one instance."""

    def __init__(
        self,
        *,
        instance: str,
        service: str,
        messenger: Callable[[], Messenger],
        sealer: TurnSealer,
        load: Callable[[], Load],
        counters: Counters,
    ) -> None:
        self._instance = instance
        self._service = service
        self._messenger = messenger
        self._sealer = sealer
        self._load = load
        self._counters = counters
        self.answered = 0
        """Answers that left since the start."""

    async def sealed(self, reply: str, request: Envelope, answer: Answer) -> None:
        """Seal an answer for the caller, under one signature with the others of this turn, and send it.

        Never raises `MeshError`: what could not be sent is counted, and the caller's deadline tells it.
        """
        try:
            try:
                await self._seal_and_send(reply, request, answer)
            except (ContentTooLarge, PayloadTooLarge) as error:
                self._counters.add("answer_lost", who=self._service, reason=error.code)
                await self._seal_and_send(reply, request, _TOO_LARGE)
        except MeshError as error:
            self._lost(error)

    async def _seal_and_send(self, reply: str, request: Envelope, answer: Answer) -> None:
        content = answer_content(
            answer, request_id=request.content.id, instance=self._instance, load=self._load()
        )
        sealed = await self._sealer.seal(
            Plain(subject=request.reply_to, content=content, in_reply_to=request.leaf)
        )
        await self._messenger().publish(reply, sealed.envelope)
        self.answered += 1

    async def plain(
        self, reply: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send without an envelope. Never raises `MeshError`."""
        try:
            await self._messenger().publish(reply, body, headers=headers)
        except MeshError as error:
            self._lost(error)
        else:
            self.answered += 1

    def _lost(self, error: MeshError) -> None:
        self._counters.add("answer_lost", who=self._service, reason=error.code)
        _log.warning("answer_lost", service=self._service, error_code=error.code)


__all__ = ["INBOX", "Answers", "is_inbox"]
