"""Opening for calls: what is missing is fetched once for all who need it, within bounds that hold against floods."""

from __future__ import annotations

import asyncio
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.seals import Opening, Seals
from bus.envelope.types import Envelope, KeyPackageMissing, Reason, Refused
from bus.flow import TokenBucket
from bus.telemetry.counters import Counters
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as envelope_pb

MISSING: Final = frozenset({Reason.KEY_PACKAGE_MISSING, Reason.UNKNOWN_SIGNER})
"""Refusals after which something may be fetched and opening tried again."""
_ROUNDS: Final = 4
"""A message may lack its certificate, its key package and that package's signer; each may come a moment late."""
_PAUSE_S: Final = 0.05
_MAX_LOOKUPS: Final = 256
_FAILURES_PER_S: Final = 2.0
_FAILURES_BURST: Final = 32
"""How many lookups may find nothing: anyone can name an unknown signer in every message."""


class CallOpener:
    """Opens the requests of a server, or the responses of a channel."""

    def __init__(
        self, seals: Seals, clock: Clock, counters: Counters, *, replay_window: bool
    ) -> None:
        self._seals = seals
        self._clock = clock
        self._counters = counters
        self._opening: Opening = seals.opener(replay_window=replay_window)
        self._lookups: dict[bytes, asyncio.Task[bool]] = {}
        self._failures = TokenBucket(
            per_s=_FAILURES_PER_S, burst=_FAILURES_BURST, now_s=clock.monotonic_s()
        )

    def open(self, subject: str, sealed: bytes) -> Envelope:
        """Open from what is known already. Raises `Refused`; with a reason in `MISSING`, `open_later` may help."""
        return self._opening.open(subject, sealed)

    def mark(self, envelope: Envelope) -> None:
        """Refuse copies of this message from now on."""
        self._opening.mark(envelope)

    async def open_later(self, subject: str, sealed: bytes, refusal: Refused) -> Envelope:
        """Fetch what `refusal` says is missing and open. The caller bounds the wait.

        Raises `Refused`, or `Unavailable` when it cannot be asked for now.
        """
        for _ in range(_ROUNDS):
            if not await self._fetch(refusal, sealed):
                await self._wait_after_failure(refusal)
            try:
                return self._opening.open(subject, sealed)
            except Refused as again:
                if again.reason not in MISSING:
                    raise
                refusal = again
        raise refusal

    async def _wait_after_failure(self, refusal: Refused) -> None:
        if self._failures.take(self._clock.monotonic_s()) > 0:
            raise refusal
        await asyncio.sleep(_PAUSE_S)

    async def _fetch(self, refusal: Refused, sealed: bytes) -> bool:
        """Whether something came; one lookup serves everyone who misses the same thing."""
        name = _name_of(refusal, sealed)
        task = self._lookups.get(name)
        if task is None:
            if len(self._lookups) >= _MAX_LOOKUPS:
                self._counters.add("lookup_refused", who=self._seals.service, reason="queue_full")
                raise refusal
            task = asyncio.get_running_loop().create_task(self._ask(refusal, sealed))
            self._lookups[name] = task
            task.add_done_callback(lambda done: self._looked_up(name, done))
        return await asyncio.shield(task)

    def _looked_up(self, name: bytes, done: asyncio.Task[bool]) -> None:
        self._lookups.pop(name, None)
        if not done.cancelled():
            done.exception()  # whoever asked may have left meanwhile

    async def _ask(self, refusal: Refused, sealed: bytes) -> bool:
        try:
            return await self._seals.supply(refusal, sealed, self._opening)
        except Refused as other:
            if other.reason not in MISSING:
                raise
            return False  # the package is there, and its signer's certificate not yet
        except MeshError as error:
            raise Unavailable(
                f"what is missing to open it cannot be asked for now ({error.code})"
            ) from None

    async def close(self) -> None:
        """End lookups."""
        tasks = tuple(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _name_of(refusal: Refused, sealed: bytes) -> bytes:
    """What is missing, as a key."""
    if isinstance(refusal, KeyPackageMissing):
        return refusal.epoch
    return signer_of(sealed)


def signer_of(sealed: bytes) -> bytes:
    """Who an envelope says that it is from; nothing of it is verified."""
    try:
        return envelope_pb.BatchHeader.FromString(
            envelope_pb.Envelope.FromString(sealed).batch
        ).signer
    except DecodeError:
        return b""


def is_sealed(payload: bytes) -> bool:
    """Whether a payload that could not be opened is an envelope at all, or a plain request. Nothing is verified."""
    try:
        shell = envelope_pb.Envelope.FromString(payload)
        if not (shell.batch and shell.head and shell.body and shell.sig):
            return False
        envelope_pb.BatchHeader.FromString(shell.batch)
        return bool(envelope_pb.MessageHead.FromString(shell.head).subject)
    except DecodeError:
        return False


__all__ = ["MISSING", "CallOpener", "is_sealed", "signer_of"]
