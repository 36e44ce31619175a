"""An association at work: one task reads, requests of the peer are performed, ours are answered (DICOM PS3.7, PS3.8).

Both sides are the same once the association stands. Data sets are written into the service's sink as they come from the
network and are never put together here; a sink that holds enough makes the reading wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from adapters.dicom.calls import Call, Calls, Response
from adapters.dicom.channel import Channel
from adapters.dicom.dimse.commands import Command, CommandField
from adapters.dicom.dimse.messages import Assembler, Began, Piece
from adapters.dicom.dimse.status import Outcome, outcome
from adapters.dicom.pace import Deadlines, Pace
from adapters.dicom.sender import Body, Sender
from adapters.dicom.sinks import Discard, MemorySink, Sink
from adapters.dicom.upper import events
from adapters.dicom.upper.errors import (
    AbortReason,
    AbortSource,
    AssociationAborted,
    ProtocolViolation,
)
from adapters.dicom.upper.machine import Context, Machine, State
from adapters.dicom.upper.pdus import AeTitle
from schemas.clock import Clock
from schemas.errors import DeadlineExceeded, MeshError

_CANCELLABLE: Final = (CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.C_GET_RQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end."""

    address: str
    title: AeTitle
    """The AE title that it calls itself: no proof of anything."""
    own_title: AeTitle
    """The AE title by which it calls us."""
    certificate: str = ""
    """Subject of its verified certificate; empty without mutual TLS."""


@dataclass(slots=True)
class Request:
    """A request of the peer that is being performed."""

    association: Association
    context: Context
    command: Command
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the peer sends C-CANCEL, and when the association ends."""

    def answer(self, status: int) -> Command:
        """A response with the fields that every response repeats."""
        asked = self.command
        return Command(
            field=asked.field.response,
            responds_to=asked.message_id,
            status=status,
            affected_class=asked.sop_class,
            affected_instance=asked.sop_instance,
        )

    async def respond(self, answer: Command | int, body: Body = None) -> None:
        """Send a response: `answer` with what was added to it, or a status alone. Raises `Unavailable`."""
        command = answer if isinstance(answer, Command) else self.answer(answer)
        await self.association.send(self.context, command, body)


class Services(Protocol):
    """What one side performs for its peer."""

    def sink(self, request: Request) -> Sink:
        """Where the data set of a request goes. It keeps its own troubles until `perform` answers them."""
        ...

    async def perform(self, request: Request, sink: Sink) -> None:
        """Work a request whose data set is complete, and send its responses.

        Raising aborts the association; a `ConnectionError` says only that it has ended.
        """
        ...


class Association:
    """One established association."""

    def __init__(
        self,
        channel: Channel,
        machine: Machine,
        peer: Peer,
        services: Services,
        *,
        clock: Clock,
        deadlines: Deadlines,
        window: int = 1,
        max_response_bytes: int = 1 << 24,
    ) -> None:
        self.peer = peer
        self.contexts: Mapping[int, Context] = machine.contexts
        self.ended = asyncio.Event()
        self._channel = channel
        self._machine = machine
        self._services = services
        self._deadlines = deadlines
        self._max_response_bytes = max_response_bytes
        self._sender = Sender(channel, machine)
        self._assembler = Assembler()
        self._pace = Pace(deadlines, clock)
        self._request: Request | None = None
        """Of the peer, whose data set is coming."""
        self._response: tuple[Call, Command] | None = None
        """To us, whose data set is coming."""
        self._sink: Sink = Discard()
        self._slots = asyncio.Semaphore(window)
        self._performing: dict[int, tuple[Request, asyncio.Task[None]]] = {}
        self._calls = Calls()
        self._failure: Exception | None = None

    # our requests

    def context_for(self, sop_class: str, *, transfer_syntax: str | None = None) -> Context | None:
        """An accepted context for a SOP class, in a given transfer syntax where one is given."""
        for context in self.contexts.values():
            if context.abstract_syntax == sop_class and transfer_syntax in (
                None,
                context.transfer_syntax,
            ):
                return context
        return None

    async def request(
        self, context: Context, command: Command, body: Body = None
    ) -> AsyncGenerator[Response, None]:
        """Send a request; yield its responses up to the final one. Leaving early sends C-CANCEL where there is one.

        Raises `AssociationAborted`, `DeadlineExceeded`, `Unavailable`, `ProtocolViolation`.
        """
        number, call = self._calls.begin()
        is_final = False
        try:
            await self.send(context, replace(command, message_id=number), body)
            while not is_final:
                response = await self._next(call)
                is_final = outcome(response.status) is not Outcome.PENDING
                yield response
        finally:
            self._calls.end(number)
            if not is_final and command.field in _CANCELLABLE and not self.ended.is_set():
                cancel = Command(field=CommandField.C_CANCEL_RQ, responds_to=number)
                with contextlib.suppress(ConnectionError):
                    await self.send(context, cancel)

    async def ask(self, context: Context, command: Command, body: Body = None) -> Response:
        """Send a request that has one response. Raises as `request` does."""
        async with contextlib.aclosing(self.request(context, command, body)) as responses:
            return await anext(responses)

    async def _next(self, call: Call) -> Response:
        try:
            async with asyncio.timeout(self._deadlines.response_s):
                return await call.get()
        except TimeoutError as error:
            if isinstance(error, MeshError):
                raise
            raise DeadlineExceeded(
                f"{self.peer.title} gave no response within {self._deadlines.response_s:g} s (response_timeout_s)"
            ) from error

    async def send(self, context: Context, command: Command, body: Body = None) -> None:
        """Send one message. Raises `AssociationAborted`, `Unavailable`."""
        if self.ended.is_set():
            raise self._gone()
        await self._sender.send(context, command, body)

    # the end

    async def release(self) -> None:
        """End in order, when nothing of ours is unanswered; return when the peer agreed or had its time to."""
        if self._machine.state is State.ESTABLISHED:
            self._machine.release()
            with contextlib.suppress(ConnectionError):
                await self._sender.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadlines.artim_s):
                await self.ended.wait()

    async def abort(self, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        """End at once."""
        source = AbortSource.USER if reason is AbortReason.NOT_SPECIFIED else AbortSource.PROVIDER
        self._machine.abort(source, reason)
        with contextlib.suppress(ConnectionError):
            await self._sender.flush()
        self._channel.end_reading()

    # reading

    async def run(self, rest: Iterable[events.Event] = ()) -> None:
        """Read until the association ends, beginning with events that came with its acceptance.

        Raises why it did not end in order: `AssociationAborted` and its kin.
        """
        try:
            await self._work(rest)
            await self._read()
            if self._failure is not None:
                raise self._failure
        except MeshError as error:
            self._failure = error
            raise
        finally:
            await self._finish()

    async def _read(self) -> None:
        while not self._machine.is_closing():
            chunk = await self._receive()
            if not chunk:
                if self._machine.is_closing():  # by `abort`
                    return
                raise AssociationAborted("the peer closed the connection without a release")
            await self._work(self._machine.feed(chunk))

    async def _work(self, found: Iterable[events.Event]) -> None:
        for event in found:
            await self._on_event(event)
        await self._sender.flush()

    async def _receive(self) -> memoryview:
        while True:
            is_working = bool(self._performing or self._calls)
            left_s = self._pace.left_s(is_between=self._assembler.is_between, is_working=is_working)
            try:
                async with asyncio.timeout(left_s):
                    return await self._channel.receive()
            except TimeoutError as error:
                if self._assembler.is_between and (self._performing or self._calls):
                    continue
                await self.abort()
                raise DeadlineExceeded(
                    f"{self.peer.title} sent too little within its deadline ({self._pace.words})"
                ) from error

    async def _on_event(self, event: events.Event) -> None:
        match event:
            case events.Fragment():
                await self._on_fragment(event)
            case events.ReleaseRequested():
                await self._performed()
                self._machine.release()
            case events.Aborted(abort):
                raise AssociationAborted(
                    f"the peer aborted the association (source {abort.source}, reason {abort.reason})"
                )
            case events.Violated(error):
                await self._sender.flush()
                raise error
            case _:
                pass  # `Released` ends the loop; the others cannot come on an established association

    async def _on_fragment(self, fragment: events.Fragment) -> None:
        if self._assembler.is_between:
            self._pace.begin()
        try:
            part = self._assembler.add(fragment)
        except ProtocolViolation as error:
            await self.abort(error.reason)
            raise
        if isinstance(part, Began):
            await self._on_command(part)
        elif part is not None:
            await self._on_piece(part)

    async def _on_command(self, part: Began) -> None:
        command = part.command
        if command.field is CommandField.C_CANCEL_RQ:
            found = self._performing.get(command.responds_to or 0)
            if found is not None:
                found[0].cancelled.set()
        elif command.field.is_response:
            call = self._calls.get(command.responds_to)
            if call is not None:
                self._response = (call, command)
                self._sink = MemorySink(self._max_response_bytes)
        else:
            with self._pace.waiting():
                await self._slots.acquire()
            self._request = Request(self, self.contexts[part.context], command)
            if command.has_data_set:
                self._sink = self._services.sink(self._request)
        if not command.has_data_set:
            await self._complete()

    async def _on_piece(self, piece: Piece) -> None:
        self._pace.add(len(piece.data))
        self._sink.write(piece.data)
        if self._sink.is_full:
            with self._pace.waiting():
                await self._sink.ready()
        if piece.is_last:
            await self._complete()

    async def _complete(self) -> None:
        """A message is whole: hand it to whoever waits for it."""
        sink, self._sink = self._sink, Discard()
        request, self._request = self._request, None
        response, self._response = self._response, None
        if response is not None and isinstance(sink, MemorySink | Discard):
            call, command = response
            await call.put(self._answer(command, sink))
        elif request is not None:
            task = asyncio.get_running_loop().create_task(self._perform(request, sink))
            self._performing[request.command.message_id or 0] = (request, task)
        self._pace.end()

    def _answer(self, command: Command, sink: MemorySink | Discard) -> Response | Exception:
        if isinstance(sink, Discard):
            return Response(command)
        if sink.is_over:
            return ProtocolViolation(
                f"a response of more than {self._max_response_bytes} bytes (max_response_bytes)"
            )
        return Response(command, sink.collected)

    async def _perform(self, request: Request, sink: Sink) -> None:
        number = request.command.message_id or 0
        try:
            await self._services.perform(request, sink)
        except ConnectionError:
            pass  # the reading task notices too, and says why
        except Exception as error:  # noqa: BLE001  # a task's outermost edge: `run` raises it
            self._failure = error
            await self.abort()
        finally:
            sink.close()
            self._performing.pop(number, None)
            self._slots.release()

    async def _performed(self) -> None:
        """Wait for what the peer asked to be answered."""
        tasks = [task for _, task in self._performing.values()]
        if tasks:
            with self._pace.waiting():
                await asyncio.wait(tasks)

    async def _finish(self) -> None:
        self.ended.set()
        self._sink.close()
        for request, _ in tuple(self._performing.values()):
            request.cancelled.set()
        self._calls.fail(self._gone())
        await self._performed()

    def _gone(self) -> AssociationAborted:
        reason = f": {self._failure}" if isinstance(self._failure, MeshError) else ""
        return AssociationAborted(f"the association with {self.peer.title} has ended{reason}")


__all__ = ["Association", "Body", "Peer", "Request", "Response", "Services"]
