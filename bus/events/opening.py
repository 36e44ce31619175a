"""Opening on behalf of a consumer: what is missing is fetched, what passes is waited for, the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bus.bodies import DictionaryMissing
from bus.envelope.seals import Opening, Seals
from bus.envelope.types import Envelope, Reason, Refused
from bus.events.bodies import Bodies
from bus.events.items import Tries
from bus.flow import TokenBucket
from schemas.clock import Clock
from schemas.errors import MeshError, Unavailable

_LOOKUPS: Final = 4
"""How often something that is said not to exist is looked for: it can arrive a moment after its envelope."""
_PATIENCE_PER_S: Final = 0.2
_PATIENCE_BURST: Final = 16
"""How many such looks one consumer has: a hostile broker could name a new unknown signer in every message."""
_MISSING: Final = frozenset({Reason.KEY_PACKAGE_MISSING, Reason.UNKNOWN_SIGNER})


@dataclass(frozen=True, slots=True)
class NotNow:
    """Opening has to wait; the reason is a code for the operator."""

    reason: str


class EnvelopeReader:
    """Opens the envelopes of one consumer."""

    def __init__(
        self,
        seals: Seals,
        opener: Opening,
        clock: Clock,
        bodies: Bodies,
        *,
        reachable: Callable[[], bool],
    ) -> None:
        self._seals = seals
        self._bodies = bodies
        self._reachable = reachable
        self._clock = clock
        self._patience = TokenBucket(
            per_s=_PATIENCE_PER_S, burst=_PATIENCE_BURST, now_s=clock.monotonic_s()
        )
        self.opener = opener

    async def open(
        self, tries: Tries, subject: str, sealed: bytes, *, ordered: bool = False
    ) -> Envelope | NotNow:
        """Open an envelope; `ordered` when an operator's order carries it. Raises `Refused` for good."""
        while True:
            try:
                return self.opener.open(subject, sealed, authorised_replay=ordered)
            except Refused as refusal:
                if refusal.reason is Reason.DIRECTORY_STALE:
                    return NotNow(refusal.reason.value)
                if refusal.reason not in _MISSING:
                    raise
                wait = await self._supply(tries, sealed, refusal)
            if wait is not None:
                return wait

    async def restore(self, tries: Tries, envelope: Envelope) -> NotNow | None:
        """Decode the body of an opened envelope, in place; None when it is as its sender had it.

        Raises `BadBody` for good.
        """
        while True:
            try:
                self._bodies.codec.restore(envelope.content)
            except DictionaryMissing as refusal:
                wait = await self._fetch(tries, refusal)
                if wait is not None:
                    return wait
            else:
                return None

    async def _fetch(self, tries: Tries, refusal: DictionaryMissing) -> NotNow | None:
        try:
            found = await self._bodies.fetch(refusal.dictionary_id)
        except MeshError as error:
            return NotNow(error.code)
        return self._look_again(tries, refusal, found=found)

    async def _supply(self, tries: Tries, sealed: bytes, refusal: Refused) -> NotNow | None:
        """Fetch what is missing: None to try again at once. Raises the refusal when it cannot be had."""
        try:
            found = await self._seals.supply(refusal, sealed, self.opener)
        except Refused as other:
            if other.reason is Reason.DIRECTORY_STALE:
                return NotNow(other.reason.value)
            if other.reason not in _MISSING:
                raise
            found = False  # the package is there, and its signer's certificate not yet
        except MeshError as error:
            # it could not be asked for: that says nothing against the message
            return NotNow(error.code)
        return self._look_again(tries, refusal, found=found)

    def _look_again(
        self, tries: Tries, refusal: Refused | DictionaryMissing, *, found: bool
    ) -> NotNow | None:
        """None to try at once with what was found, or a wait. Raises the refusal when there was enough of both."""
        if not found and not self._reachable():
            return NotNow(Unavailable.code)
        tries.lookups += 1
        if found and tries.lookups <= _LOOKUPS:
            return None
        if tries.lookups >= _LOOKUPS:
            raise refusal
        if self._patience.take(self._clock.monotonic_s()) > 0:
            raise refusal
        return NotNow(refusal.reason.value)


__all__ = ["EnvelopeReader", "NotNow"]
