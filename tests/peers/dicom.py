"""A small DICOM provider on our upper layer, for tests: answers echoes, keeps what is stored, gives what it has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from adapters.dicom.acceptor import Acceptor, Admission
from adapters.dicom.association import Association, Peer, Request
from adapters.dicom.channel import Channel
from adapters.dicom.dimse.commands import CommandField
from adapters.dicom.dimse.status import Status
from adapters.dicom.negotiation import Support, Supports
from adapters.dicom.pace import Deadlines
from adapters.dicom.sinks import MemorySink, Sink
from adapters.dicom.upper.errors import RejectResult, RejectSource
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.pdus import AssociateReject, AssociateRequest
from bus.clock import SystemClock

MAX_OBJECT_BYTES = 1 << 24


def anything(name: str) -> Support:
    """Every SOP class in whichever transfer syntax comes first, in both roles."""
    return Support(transfer_syntaxes=(), as_scu=True)


@dataclass
class Provider:
    """What it does, and what happened to it."""

    supports: Supports = anything
    title: str = "MEDMESH"
    window: int = 1
    deadlines: Deadlines = field(default_factory=lambda: Deadlines(artim_s=2.0))
    limits: Limits = field(default_factory=Limits)
    gate: asyncio.Event | None = None
    """Requests are worked once it is set."""
    matches: list[bytes] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    working: int = 0
    most_working: int = 0
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ends: asyncio.Queue[BaseException | None] = field(default_factory=asyncio.Queue)
    """How each association ended."""
    associations: list[Association] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def has_working(self, count: int) -> None:
        """Wait until so many requests are being worked."""
        while self.working < count:
            self._changed.clear()
            await self._changed.wait()

    def open_gate(self) -> None:
        """Let requests be worked."""
        assert self.gate is not None
        self.gate.set()

    def sink(self, request: Request) -> Sink:
        return MemorySink(MAX_OBJECT_BYTES)

    async def perform(self, request: Request, sink: Sink) -> None:
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        self._changed.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            await self._answer(request, sink)
        finally:
            self.working -= 1

    async def _answer(self, request: Request, sink: Sink) -> None:
        match request.command.field:
            case CommandField.C_ECHO_RQ:
                await request.respond(Status.SUCCESS)
            case CommandField.C_STORE_RQ:
                assert isinstance(sink, MemorySink)
                if sink.is_over:
                    await request.respond(Status.OUT_OF_RESOURCES)
                    return
                self.stored[str(request.command.affected_instance)] = sink.collected
                await request.respond(Status.SUCCESS)
            case CommandField.C_FIND_RQ:
                await self._find(request)
            case _:
                await request.respond(Status.UNRECOGNIZED_OPERATION)

    async def _find(self, request: Request) -> None:
        for found in self.matches:
            if request.cancelled.is_set():
                self.cancelled.set()
                await request.respond(Status.CANCEL)
                return
            await request.respond(Status.PENDING, found)
        await request.respond(Status.SUCCESS)

    def decide(self, request: AssociateRequest, channel: Channel) -> Admission | AssociateReject:
        if request.called != self.title:
            return AssociateReject(RejectResult.PERMANENT, RejectSource.USER, 7)
        peer = Peer(address=channel.address, title=request.calling, own_title=request.called)
        return Admission(peer=peer, supports=self.supports, services=self, window=self.window)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listens on a port of the system's choice."""
        acceptor = Acceptor(
            self.decide, clock=SystemClock(), deadlines=self.deadlines, limits=self.limits
        )
        tasks: set[asyncio.Task[None]] = set()

        async def serve(channel: Channel) -> None:
            try:
                await acceptor.serve(channel, began=self.associations.append)
            except Exception as error:  # noqa: BLE001  # what the test looks at
                self.ends.put_nowait(error)
            else:
                self.ends.put_nowait(None)

        def opened(channel: Channel) -> None:
            task = asyncio.get_running_loop().create_task(serve(channel))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.get_running_loop().create_server(
            lambda: Channel(opened=opened), "127.0.0.1", 0
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in tuple(tasks):
                task.cancel()
            if tasks:
                await asyncio.wait(tuple(tasks))


__all__ = ["MAX_OBJECT_BYTES", "Provider", "anything"]
