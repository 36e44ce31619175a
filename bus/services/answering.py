"""How answers leave: sealed for the caller and bound to its request, or in plain words to who sent no envelope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from bus.envelope.types import ContentTooLarge, Envelope, Plain
from bus.services.protocol import Load
from bus.services.sealing import Sealed, TurnSealer
from bus.services.wire import Answer, answer_content
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from bus.transport.protocol import Messenger, PayloadTooLarge
from schemas.errors import MeshError, ResourceExhausted, Unavailable
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
        self._patient: set[asyncio.Task[None]] = set()
        self.answered = 0
        """Answers that left since the start."""

    def sealed(
        self,
        reply: str,
        request: Envelope,
        answer: Answer,
        left: Callable[[], None],
        *,
        is_alone: bool = False,
    ) -> None:
        """Seal an answer for the caller, under one signature with the others of this turn, and send it; then `left`.

        `is_alone`: there are no others. Takes no task, and no turn more than that. Never raises `MeshError`: what could
        not be sent is counted, and the caller's deadline tells it.
        """
        content = answer_content(
            answer, request_id=request.content.id, instance=self._instance, load=self._load()
        )
        plain = Plain(subject=request.reply_to, content=content, in_reply_to=request.leaf)
        try:
            self._sealer.seal_then(
                plain,
                lambda sealed: self._sealed(reply, request, answer, left, sealed),
                is_alone=is_alone,
            )
        except MeshError as error:
            self._lost(error)
            left()

    def _sealed(
        self,
        reply: str,
        request: Envelope,
        answer: Answer,
        left: Callable[[], None],
        sealed: Sealed | MeshError,
    ) -> None:
        try:
            if isinstance(sealed, MeshError):
                raise sealed
            self._messenger().send(reply, sealed.envelope)
        except (ContentTooLarge, PayloadTooLarge) as error:
            self._lost(error)
            if answer is not _TOO_LARGE:
                self.sealed(reply, request, _TOO_LARGE, left)
                return
        except (Unavailable, ResourceExhausted) as error:
            if isinstance(sealed, Sealed):
                self._send_later(reply, sealed.envelope, left)
                return
            self._lost(error)
        except MeshError as error:
            self._lost(error)
        else:
            self.answered += 1
        left()

    def _send_later(self, reply: str, envelope: bytes, left: Callable[[], None]) -> None:
        """The connection is away or full for the moment: wait for it, for as long as the messenger does."""
        task = asyncio.get_running_loop().create_task(self.plain(reply, envelope))
        self._patient.add(task)
        task.add_done_callback(self._patient.discard)
        task.add_done_callback(lambda _: left())

    async def close(self) -> None:
        """Give up what still waits for the connection."""
        tasks = tuple(self._patient)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def plain(
        self, reply: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send as it is. Never raises `MeshError`."""
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
