"""Asks a peer for an association (DICOM PS3.8 §9.2, requestor)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.dicom.association import Association, Peer, Request, Services
from adapters.dicom.channel import Channel
from adapters.dicom.dimse.status import Status
from adapters.dicom.pace import Deadlines
from adapters.dicom.sinks import Discard, Sink
from adapters.dicom.uids import Uid
from adapters.dicom.upper import events
from adapters.dicom.upper.errors import AssociationAborted, AssociationRejected
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.machine import Machine
from adapters.dicom.upper.pdus import (
    AeTitle,
    AssociateRequest,
    ProposedContext,
    RoleSelection,
    UserInformation,
)
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, Unavailable


class NoServices:
    """Performs nothing for the peer."""

    def sink(self, request: Request) -> Sink:
        """Nothing is kept."""
        return Discard()

    async def perform(self, request: Request, sink: Sink) -> None:
        """Say that it is not known here."""
        await request.respond(Status.UNRECOGNIZED_OPERATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A peer to ask."""

    host: str
    port: int
    title: AeTitle
    """Its AE title."""
    own_title: AeTitle
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    """Name in its certificate, where that is not `host`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What an association is asked for."""

    contexts: tuple[ProposedContext, ...]
    roles: tuple[RoleSelection, ...] = ()
    window: int = 1
    """Operations that may be outstanding."""
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)


def propose(*wanted: tuple[Uid, Sequence[Uid]]) -> tuple[ProposedContext, ...]:
    """Presentation contexts for (SOP class, transfer syntaxes) pairs, with odd ids in their order; 128 at most."""
    return tuple(
        ProposedContext(2 * position + 1, abstract, tuple(syntaxes))
        for position, (abstract, syntaxes) in enumerate(wanted)
    )


@contextlib.asynccontextmanager
async def associate(
    destination: Destination,
    proposal: Proposal,
    *,
    clock: Clock,
    services: Services | None = None,
) -> AsyncIterator[Association]:
    """An association that is released at the end of the block, or aborted when the block raises.

    `services`: what is performed for the peer meanwhile (C-GET, storage commitment). Raises `Unavailable`,
    `AssociationRejected`, `AssociationAborted`, `DeadlineExceeded`.
    """
    channel = await _connect(destination, proposal.deadlines)
    machine = Machine(proposal.limits)
    try:
        accepted, rest = await _negotiate(channel, machine, destination, proposal)
    except BaseException:
        channel.abort()
        raise
    agreed = accepted.accept.user.window
    association = Association(
        channel,
        machine,
        Peer(address=channel.address, title=destination.title, own_title=destination.own_title),
        services or NoServices(),
        clock=clock,
        deadlines=proposal.deadlines,
        window=max(1, agreed[1]) if agreed else 1,
    )
    reading = asyncio.get_running_loop().create_task(association.run(rest))
    try:
        yield association
    except BaseException:
        await association.abort()
        await channel.linger(proposal.deadlines.artim_s if machine.had_last_word else 0.0)
        raise
    else:
        await association.release()
        channel.close()
    finally:
        channel.end_reading()
        await asyncio.wait([reading])
        reading.exception()  # the block saw it by its own calls, or had no further use for the peer


async def _connect(destination: Destination, deadlines: Deadlines) -> Channel:
    where = f"{destination.title} at {destination.host}:{destination.port}"
    try:
        async with asyncio.timeout(deadlines.artim_s):
            _, channel = await asyncio.get_running_loop().create_connection(
                lambda: Channel(quick_ack=True),
                destination.host,
                destination.port,
                ssl=destination.tls,
                server_hostname=destination.server_name if destination.tls else None,
            )
    except TimeoutError as error:
        raise Unavailable(f"{where} did not answer within {deadlines.artim_s:g} s") from error
    except OSError as error:
        raise Unavailable(f"{where} cannot be reached: {error.strerror or error}") from error
    return channel


_Answer: TypeAlias = tuple[events.Accepted, Iterator[events.Event]]
"""The acceptance, and the events that came behind it."""


async def _negotiate(
    channel: Channel, machine: Machine, destination: Destination, proposal: Proposal
) -> _Answer:
    window = proposal.window
    machine.request(
        AssociateRequest(
            called=destination.title,
            calling=destination.own_title,
            contexts=proposal.contexts,
            user=UserInformation(
                max_pdu_bytes=proposal.limits.max_pdu_bytes,
                window=(window, window) if window > 1 else None,
                roles=proposal.roles,
            ),
        )
    )
    await channel.send(bytes(machine.outgoing))
    machine.outgoing.clear()
    response_s = proposal.deadlines.response_s
    try:
        async with asyncio.timeout(response_s):
            return await _accepted(channel, machine, destination)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"{destination.title} did not answer the request for an association within {response_s:g} s"
        ) from error


async def _accepted(channel: Channel, machine: Machine, destination: Destination) -> _Answer:
    while chunk := await channel.receive():
        found = machine.feed(chunk)
        for event in found:
            match event:
                case events.Accepted():
                    return event, found
                case events.Rejected(reject):
                    raise AssociationRejected(reject.result, reject.source, reject.reason)
                case events.Aborted(abort):
                    raise AssociationAborted(
                        f"{destination.title} aborted instead of answering"
                        f" (source {abort.source}, reason {abort.reason})"
                    )
                case events.Violated(error):
                    await channel.send(bytes(machine.outgoing))
                    raise error
                case _:
                    pass
    raise AssociationAborted(f"{destination.title} closed the connection instead of answering")


__all__ = ["Destination", "NoServices", "Proposal", "associate", "propose"]
