"""Sealing for calls: whatever wants to leave in one turn of the event loop goes under one signature. No timer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from bus.envelope.seals import Seals
from bus.envelope.types import EpochId, Plain, SealedEnvelope
from bus.telemetry.counters import Counters
from schemas.errors import Closed, MeshError, ResourceExhausted
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb

MAX_BATCH: Final = 64
MAX_WAITING: Final = 8192
_MAX_UNPUBLISHED: Final = 4096
"""As many epochs as a sealer keeps: of older ones it makes no further use."""


class Sealed(NamedTuple):
    """One message, ready to leave: its key package is where its readers find it."""

    envelope: SealedEnvelope
    leaf: bytes


_Waiting = tuple[Plain, "asyncio.Future[Sealed]"]
_Ready = tuple[Sealed, "asyncio.Future[Sealed]"]


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

    def seal(self, plain: Plain) -> asyncio.Future[Sealed]:
        """Seal with all that is asked for in this turn. Cancelling the future leaves the message out if it still can.

        Raises `ResourceExhausted`, `Closed`; the future raises what `Seals.seal` and `publish_package` raise.
        """
        if self._closed:
            raise Closed(f"{self._seals.service} seals no more calls")
        if len(self._turn) + self._held >= self._max_waiting:
            self._counters.add("call_not_sealed", who=self._seals.service, reason="queue_full")
            raise ResourceExhausted(f"{self._max_waiting} messages wait to be sealed: the bound")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sealed] = loop.create_future()
        if not self._turn:
            loop.call_soon(self._flush)
        self._turn.append((plain, future))
        return future

    def _flush(self) -> None:
        turn, self._turn = self._turn, []
        wanted = [one for one in turn if not one[1].done()]
        for at in range(0, len(wanted), self._max_batch):
            self._seal(wanted[at : at + self._max_batch])

    def _seal(self, batch: Sequence[_Waiting]) -> None:
        try:
            sealed = self._seals.seal([plain for plain, _ in batch])
        except MeshError as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for one in batch:  # one that may not be sealed must not refuse its neighbours
                self._seal([one])
            return
        for epoch, raw in sealed.key_packages:
            self._packages[epoch] = _Package(raw)
        for (_, future), envelope, leaf in zip(batch, sealed.envelopes, sealed.leaves, strict=True):
            self._settle((Sealed(envelope, leaf), future))

    def _settle(self, ready: _Ready) -> None:
        package = self._packages.get(_epoch_of(ready[0].envelope)) if self._packages else None
        if package is None:
            ready[1].set_result(ready[0])
            return
        package.held.append(ready)
        self._held += 1
        if package.task is None:
            epoch = _epoch_of(ready[0].envelope)
            package.task = asyncio.get_running_loop().create_task(self._publish(epoch, package))

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
        for sealed, future in held:
            if future.done():
                continue
            if error is None:
                future.set_result(sealed)
            else:
                future.set_exception(error)
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
        for future in (*held, *(one[1] for one in turn)):
            if not future.done():
                future.set_exception(Closed("stopped before it was sealed"))
                future.exception()  # whoever has left need not hear of it
        self._packages.clear()
        self._held = 0


def _epoch_of(envelope: bytes) -> EpochId:
    """The key under which one of our own envelopes is sealed."""
    try:
        head = envelope_pb.Envelope.FromString(envelope).head
        return EpochId(envelope_pb.MessageHead.FromString(head).epoch)
    except DecodeError:  # pragma: no cover -- it was made a moment ago, by this process
        return EpochId(b"")


__all__ = ["MAX_BATCH", "MAX_WAITING", "Sealed", "TurnSealer"]
