"""The client's side of one try: seal, send, open, and believe only the answer of the service that was asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from bus.envelope.seals import Seals
from bus.envelope.types import Envelope, Plain, Refused
from bus.events.content import MESSAGE_ID_BYTES
from bus.services.context import current_call
from bus.services.opening import MISSING, CallOpener
from bus.services.plain import error_of_headers
from bus.services.protocol import BadAnswer, Request, Response
from bus.services.sealing import TurnSealer
from bus.services.wire import CANCEL, read_response, request_content
from bus.telemetry.counters import Counters
from bus.transport.protocol import Incoming, Messenger
from schemas import subjects
from schemas.clock import Clock
from schemas.errors import (
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    MeshError,
    ResourceExhausted,
)
from schemas.subjects import SiteId, Subject

CALL_TTL_S: Final = 120.0
"""How long a request or a response can be believed: the longest call, and how long a copy of one could be replayed."""


class Carries(Protocol):
    """What a channel needs of a transport."""

    @property
    def messenger(self) -> Messenger:
        """Messages that are not stored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """Bounds of a channel."""

    max_call_s: float = CALL_TTL_S
    """The longest call, in seconds. Longer work is an event, or a call that begins it and calls that ask for it."""
    max_in_flight: int = 4096
    """Calls at a time; more are refused with `ResourceExhausted`. About 5 KB each, and their bodies."""


class SealedChannel:
    """`bus.services.protocol.Channel` on a transport, in the name of the service whose `seals` these are.

    A call made inside a handler gets no more time than the handler's own caller still waits, and its trace context.
    """

    def __init__(
        self,
        *,
        site: SiteId,
        transport: Carries,
        seals: Seals,
        clock: Clock,
        counters: Counters,
        fresh_id: Callable[[], bytes] = lambda: os.urandom(MESSAGE_ID_BYTES),
        limits: ChannelLimits | None = None,
    ) -> None:
        self._limits = limits or ChannelLimits()
        self._site = site
        self._transport = transport
        self._service = seals.service
        self._answers = subjects.answers(site, seals.service)
        self._counters = counters
        self._fresh_id = fresh_id
        self._sealer = TurnSealer(seals.short_lived(self._limits.max_call_s), counters)
        self._opener = CallOpener(seals, clock, counters, replay_window=False)
        self._in_flight = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        """How many calls wait for their answer."""
        return self._in_flight

    async def call(
        self, request: Request, *, timeout_s: float, instance: str = "", site: str = ""
    ) -> Response:
        """See `bus.services.protocol.Channel.call`.

        Raises also `ConfigurationError` above `max_call_s`, `ResourceExhausted` above `max_in_flight`, `Closed`.
        """
        at = SiteId(site) if site else self._site
        subject = _subject(request, at, instance)
        if timeout_s > self._limits.max_call_s:
            raise ConfigurationError(
                f"timeout_s is {timeout_s}; a call may take {self._limits.max_call_s} s (max_call_s)"
            )
        timeout_s, request = self._inherit(request, timeout_s)
        self._admit(timeout_s, subject)
        self._in_flight += 1
        try:
            return await self._ask(request, subject, at, timeout_s)
        finally:
            self._in_flight -= 1

    def _inherit(self, request: Request, timeout_s: float) -> tuple[float, Request]:
        parent = current_call()
        if not request.id:
            request = replace(request, id=self._fresh_id())
        if len(request.id) != MESSAGE_ID_BYTES:
            raise ValueError(f"an id has {MESSAGE_ID_BYTES} bytes, not {len(request.id)}")
        if parent is None:
            return timeout_s, request
        if parent.traceparent and not request.traceparent:
            request = replace(request, traceparent=parent.traceparent)
        return min(timeout_s, parent.left_s()), request

    def _admit(self, timeout_s: float, subject: Subject) -> None:
        if self._closed:
            raise Closed("this channel was stopped")
        if timeout_s <= 0:
            raise DeadlineExceeded(f"no time is left for a call on {subject}; it was not sent")
        if self._in_flight >= self._limits.max_in_flight:
            self._counters.add("call_not_sent", who=self._service, reason="too_many")
            raise ResourceExhausted(
                f"{self._in_flight} calls are under way; that is the bound (max_in_flight)"
            )

    async def _ask(
        self, request: Request, subject: Subject, site: SiteId, timeout_s: float
    ) -> Response:
        now_s = asyncio.get_running_loop().time
        end_s = now_s() + timeout_s
        content = request_content(request, timeout_s=timeout_s)
        plain = Plain(subject=subject, content=content, reply_to=self._answers)
        sealed = await self._sealer.seal(plain, timeout_s=timeout_s, is_alone=self._in_flight == 1)
        left_s = end_s - now_s()
        if left_s <= 0:
            raise DeadlineExceeded(f"sealing for {subject} took all of {timeout_s:.3f} s")
        try:
            incoming = await self._transport.messenger.request(
                subject, sealed.envelope, timeout_s=left_s
            )
        except asyncio.CancelledError:
            self._take_back(subject, sealed.leaf)
            raise
        try:
            if incoming.headers:
                _raise_told(incoming.headers)
            try:
                envelope = self._opener.open(self._answers, incoming.payload)
            except Refused as refusal:
                envelope = await self._open_later(incoming, refusal, end_s)
            _check_binding(envelope, sealed.leaf)
            _check_sender(envelope, site, request.service)
            return read_response(envelope.content)
        except BadAnswer:
            self._counters.add("answer_refused", who=self._service, reason=BadAnswer.code)
            raise

    def _take_back(self, subject: Subject, leaf: bytes) -> None:
        """Tell the instance that nobody waits any more; without that word the deadline ends the work."""
        self._counters.add("call_taken_back", who=self._service)
        with suppress(MeshError):
            self._transport.messenger.send(subject, b"", headers={CANCEL: leaf.hex()})

    async def _open_later(self, incoming: Incoming, refusal: Refused, end_s: float) -> Envelope:
        try:
            if refusal.reason not in MISSING:
                raise refusal
            async with asyncio.timeout_at(end_s):
                return await self._opener.open_later(self._answers, incoming.payload, refusal)
        except Refused as final:
            self._counters.add("envelope_refused", who=self._service, reason=final.reason.value)
            raise BadAnswer(f"the answer is not believed ({final.reason.value})") from None
        except TimeoutError as error:
            if isinstance(error, MeshError):
                raise
            raise DeadlineExceeded("the answer came, but not what it is opened with") from None

    async def stop(self) -> None:
        """Take no more calls; those that wait to be sealed get `Closed`."""
        self._closed = True
        await self._sealer.close()
        await self._opener.close()


def _subject(request: Request, site: SiteId, instance: str) -> Subject:
    if instance:
        return subjects.instance_call(
            site, request.service, request.major, instance, request.method
        )
    return subjects.call(site, request.service, request.major, request.method)


def _raise_told(headers: Mapping[str, str]) -> None:
    told = error_of_headers(headers)
    if told is not None:
        raise told


def _check_binding(envelope: Envelope, leaf: bytes) -> None:
    if envelope.in_reply_to != leaf:
        raise BadAnswer("the answer is to another request")


def _check_sender(envelope: Envelope, site: SiteId, service: str) -> None:
    """SPIFFE ids are `spiffe://<mesh>/<site>/<service>`; the mesh is the authority's own."""
    if not envelope.sender.service.endswith(f"/{site}/{service}"):
        raise BadAnswer(f"{envelope.sender.service} answered in place of {service} at {site}")


__all__ = ["CALL_TTL_S", "ChannelLimits", "SealedChannel"]
