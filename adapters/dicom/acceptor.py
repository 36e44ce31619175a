"""Answers a peer that asks for an association (DICOM PS3.8 §9.2, acceptor)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from adapters.dicom.association import Association, Peer, Services
from adapters.dicom.channel import Channel
from adapters.dicom.negotiation import Supports, answer, unacceptable
from adapters.dicom.pace import Deadlines
from adapters.dicom.upper import events
from adapters.dicom.upper.errors import AssociationAborted, AssociationRejected
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.machine import Machine
from adapters.dicom.upper.pdus import AssociateReject, AssociateRequest
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a peer may do."""

    peer: Peer
    supports: Supports
    services: Services
    window: int = 1
    """Operations of the peer that may be outstanding, where it asks for more than one."""


Decide: TypeAlias = Callable[[AssociateRequest, Channel], Admission | AssociateReject]
"""Whether a peer is let in; never raises."""


class Acceptor:
    """Leads one connection after another through its association."""

    def __init__(
        self, decide: Decide, *, clock: Clock, deadlines: Deadlines, limits: Limits
    ) -> None:
        self._decide = decide
        self._clock = clock
        self._deadlines = deadlines
        self._limits = limits

    async def serve(self, channel: Channel, *, began: Callable[[Association], None]) -> None:
        """Negotiate, then run until the association has ended; the connection is closed in any case.

        `began` is called with the association once it stands. Raises why it did not stand or did not end in order:
        `DeadlineExceeded`, `ProtocolViolation`, `AssociationRejected` (by us), `AssociationAborted`.
        """
        machine = Machine(self._limits)
        try:
            association, rest = await self._negotiate(channel, machine)
            began(association)
            await association.run(rest)
        finally:
            await channel.linger(self._deadlines.artim_s if machine.had_last_word else 0.0)

    async def _negotiate(
        self, channel: Channel, machine: Machine
    ) -> tuple[Association, Iterator[events.Event]]:
        request, rest = await self._requested(channel, machine)
        decided = unacceptable(request) or self._decide(request, channel)
        if isinstance(decided, AssociateReject):
            machine.reject(decided)
            await self._flush(channel, machine)
            raise AssociationRejected(decided.result, decided.source, decided.reason)
        accept = answer(
            request,
            decided.supports,
            max_pdu_bytes=self._limits.max_pdu_bytes,
            max_window=decided.window,
        )
        machine.accept(accept)
        await self._flush(channel, machine)
        association = Association(
            channel,
            machine,
            decided.peer,
            decided.services,
            clock=self._clock,
            deadlines=self._deadlines,
            window=accept.user.window[0] if accept.user.window else 1,
        )
        return association, rest

    async def _requested(
        self, channel: Channel, machine: Machine
    ) -> tuple[AssociateRequest, Iterator[events.Event]]:
        try:
            async with asyncio.timeout(self._deadlines.artim_s):
                while chunk := await channel.receive():
                    found = machine.feed(chunk)
                    for event in found:
                        match event:
                            case events.Requested(request):
                                return request, found
                            case events.Violated(error):
                                await self._flush(channel, machine)
                                raise error
                            case _:  # an A-ABORT: nothing else may come here
                                raise AssociationAborted("the peer aborted before it asked")
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no whole A-ASSOCIATE-RQ within {self._deadlines.artim_s:g} s (artim_s)"
            ) from error
        raise AssociationAborted("the peer closed the connection before it asked for anything")

    @staticmethod
    async def _flush(channel: Channel, machine: Machine) -> None:
        chunk = bytes(machine.outgoing)
        machine.outgoing.clear()
        with contextlib.suppress(ConnectionError):
            await channel.send(chunk)


__all__ = ["Acceptor", "Admission", "Decide"]
