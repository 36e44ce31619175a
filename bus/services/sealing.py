"""Sealing for calls: whatever wants to leave in one turn of the event loop goes under one signature. No timer.

What is more than one batch leaves batch by batch, each on its way before the next is sealed: so both ends, and the
carrier, work at the same time. What is alone does not wait for the turn's end: the first of a burst costs a signature
more, and calls made one after the other are answered a turn sooner at each end.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from bus.envelope.seals import Seals
from bus.envelope.types import EpochId, Plain, SealedEnvelope
from bus.telemetry.counters import Counters
from schemas.errors import Closed, DeadlineExceeded, MeshError, ResourceExhausted
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb

MAX_BATCH: Final = 32
"""Measured at 64 calls at a time: 64 under one signature give 1 880 calls/s, since both ends wait for each other; 32
give 2 200 and cost no more; 16 and 8 give the same rate and cost 12 and 30 % more processor time."""
MAX_WAITING: Final = 8192
_MAX_UNPUBLISHED: Final = 4096
"""As many epochs as a sealer keeps: of older ones it makes no further use."""


class Sealed(NamedTuple):
    """One message, ready to leave: its key package is where its readers find it."""

    envelope: SealedEnvelope
    leaf: bytes


Done = Callable[[Sealed | MeshError], None]
"""Takes the message, or why there is none. Must not raise."""


class _Waiting(NamedTuple):
    """One message that is to be sealed, and who wants it: `future`, or `done`."""

    plain: Plain
    future: asyncio.Future[Sealed] | None = None
    done: Done | None = None
    timeout_s: float = 0.0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return self.future is None or not self.future.done()

    def give(self, sealed: Sealed) -> None:
        """Hand it over."""
        if self.done is not None:
            self.done(sealed)
        elif self.future is not None and not self.future.done():
            self.future.set_result(sealed)

    def fail(self, error: MeshError) -> None:
        """Tell why there is none."""
        if self.done is not None:
            self.done(error)
        elif self.future is not None and not self.future.done():
            self.future.set_exception(error)


_Ready = tuple[Sealed, _Waiting]


class _Package:
    """A key package that is not published yet, and what must not leave before it is."""

    __slots__ = ("held", "raw", "task")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.held: list[_Ready] = []
        self.task: asyncio.Task[None] | None = None


class TurnSealer:
    """Seals messages of one service, up to `max_batch` under one signature.

    At most `max_waiting` messages wait (for the turn's end, or for a key package to be stored); more are refused with
    `ResourceExhausted`. A package that cannot be stored holds up the messages under its key and no others.
    """

    def __init__(
        self,
        seals: Seals,
        counters: Counters,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._seals = seals
        self._counters = counters
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._turn: list[_Waiting] = []
        self._packages: OrderedDict[EpochId, _Package] = OrderedDict()
        self._held = 0
        self._closed = False

    def seal(
        self, plain: Plain, *, timeout_s: float = 0.0, is_alone: bool = False
    ) -> asyncio.Future[Sealed]:
        """Seal with all that is asked for in this turn. Cancelling the future leaves the message out if it still can.

        `is_alone` says that nobody else seems to want it now: then it is sealed at once, without a turn of the loop.
        Where a key package must be stored first, that is waited for `timeout_s` (0: as long as it takes).
        Raises `ResourceExhausted`, `Closed`; the future raises what `Seals.seal` and `publish_package` raise, and
        `DeadlineExceeded`.
        """
        future: asyncio.Future[Sealed] = asyncio.get_running_loop().create_future()
        self._add(_Waiting(plain, future=future, timeout_s=timeout_s), is_alone=is_alone)
        return future

    def seal_then(self, plain: Plain, done: Done, *, is_alone: bool = False) -> None:
        """As `seal`, but `done` is told at once when it is sealed: no task has to wake up.

        Raises `ResourceExhausted`, `Closed`.
        """
        self._add(_Waiting(plain, done=done), is_alone=is_alone)

    def _add(self, waiting: _Waiting, *, is_alone: bool) -> None:
        if self._closed:
            raise Closed(f"{self._seals.service} seals no more calls")
        if len(self._turn) + self._held >= self._max_waiting:
            self._counters.add("call_not_sealed", who=self._seals.service, reason="queue_full")
            raise ResourceExhausted(f"{self._max_waiting} messages wait to be sealed: the bound")
        if not self._turn:
            if is_alone:
                self._seal([waiting])
                return
            asyncio.get_running_loop().call_soon(self._flush)
        self._turn.append(waiting)

    def _flush(self) -> None:
        wanted = [one for one in self._turn if one.is_wanted]
        batch, self._turn = wanted[: self._max_batch], wanted[self._max_batch :]
        if batch:
            self._seal(batch)
        if self._turn:
            # two turns on: in the first who waits sends, in the second the carrier writes what was sent
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._flush)

    def _seal(self, batch: Sequence[_Waiting]) -> None:
        try:
            sealed = self._seals.seal([one.plain for one in batch])
        except MeshError as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            for one in batch:  # one that may not be sealed must not refuse its neighbours
                self._seal([one])
            return
        for epoch, raw in sealed.key_packages:
            self._packages[epoch] = _Package(raw)
        for one, envelope, leaf in zip(batch, sealed.envelopes, sealed.leaves, strict=True):
            ready = Sealed(envelope, leaf)
            if self._packages:
                self._settle(ready, one)
            else:
                one.give(ready)

    def _settle(self, ready: Sealed, waiting: _Waiting) -> None:
        epoch = _epoch_of(ready.envelope)
        package = self._packages.get(epoch)
        if package is None:
            waiting.give(ready)
            return
        package.held.append((ready, waiting))
        self._held += 1
        loop = asyncio.get_running_loop()
        if waiting.timeout_s > 0:
            late = DeadlineExceeded(f"not sealed within {waiting.timeout_s:.3f} s: no key package")
            timer = loop.call_later(waiting.timeout_s, waiting.fail, late)
            if waiting.future is not None:
                waiting.future.add_done_callback(partial(_cancel, timer))
        if package.task is None:
            package.task = loop.create_task(self._publish(epoch, package))

    async def _publish(self, epoch: EpochId, package: _Package) -> None:
        """Store one key package, then let go of what waits for it; it is tried again with the next message."""
        error: MeshError | None = None
        try:
            await self._seals.publish_package(epoch, package.raw)
        except MeshError as failed:
            self._counters.add("package_not_stored", who=self._seals.service, reason=failed.code)
            error = failed
        else:
            self._packages.pop(epoch, None)
        held, package.held, package.task = package.held, [], None
        self._held -= len(held)
        for sealed, waiting in held:
            if error is None:
                waiting.give(sealed)
            else:
                waiting.fail(error)
        self._forget_old()

    def _forget_old(self) -> None:
        while len(self._packages) > _MAX_UNPUBLISHED:
            oldest = next(iter(self._packages))
            if self._packages[oldest].task is not None:
                return
            del self._packages[oldest]

    async def close(self) -> None:
        """Seal nothing more; what waits gets `Closed`."""
        self._closed = True
        tasks = [package.task for package in self._packages.values() if package.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        held = [ready[1] for package in self._packages.values() for ready in package.held]
        turn, self._turn = self._turn, []
        for waiting in (*held, *turn):
            if waiting.is_wanted:
                waiting.fail(Closed("stopped before it was sealed"))
                if waiting.future is not None:
                    waiting.future.exception()  # whoever has left need not hear of it
        self._packages.clear()
        self._held = 0


def _cancel(timer: asyncio.TimerHandle, _: object) -> None:
    timer.cancel()


def _epoch_of(envelope: bytes) -> EpochId:
    """The key under which one of our own envelopes is sealed."""
    try:
        head = envelope_pb.Envelope.FromString(envelope).head
        return EpochId(envelope_pb.MessageHead.FromString(head).epoch)
    except DecodeError:  # pragma: no cover -- it was made a moment ago, by this process
        return EpochId(b"")


__all__ = ["MAX_BATCH", "MAX_WAITING", "Done", "Sealed", "TurnSealer"]
