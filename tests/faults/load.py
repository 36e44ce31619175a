"""A load whose fate can be checked to the last message: accepted means delivered, in order, as it was sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence

from tests.peers.sender import Tally, control_id, send_all, synthetic
from tests.peers.sink import Journal

SENDERS = 8


class Load:
    """Eight senders, each with patients of its own, so that the order of a patient's messages is known."""

    def __init__(self, port: int, *, each: int) -> None:
        self.tally = Tally()
        self.batches = [
            [synthetic(sender * 100_000 + n, patient=sender * 10 + n % 5) for n in range(each)]
            for sender in range(SENDERS)
        ]
        self.sent = {
            control_id(message).decode(): message for batch in self.batches for message in batch
        }
        self.tasks = [
            asyncio.create_task(send_all(port, batch, self.tally)) for batch in self.batches
        ]

    async def done(self, *, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*self.tasks)

    def check(self, journal: Journal, *, duplicates_allowed: int) -> None:
        """Every acknowledged message arrived; none was invented; order holds; duplicates stay within reason."""
        received = [control for control, _ in journal.received]
        accepted = {control.decode() for control in self.tally.accepted}
        assert accepted - set(received) == set(), "acknowledged, but not delivered"
        digests = {
            hashlib.sha256(message).hexdigest(): control for control, message in self.sent.items()
        }
        for control, digest in journal.received:
            assert digests.get(digest) == control, "a message that nobody sent"
        assert self.tally.mismatched == 0
        self.check_order(received)
        repeated = sum(count - 1 for count in Counter(received).values())
        assert repeated <= duplicates_allowed, (
            f"{repeated} duplicates, at most {duplicates_allowed} can be explained"
        )

    def check_order(self, controls: Sequence[str]) -> None:
        """Each patient's messages came for the first time in the order in which they were sent."""
        first: dict[str, int] = {}
        for place, control in enumerate(controls):
            first.setdefault(control, place)
        for batch in self.batches:
            by_patient: dict[int, list[int]] = {}
            for n, message in enumerate(batch):
                by_patient.setdefault(n % 5, []).append(first[control_id(message).decode()])
            for places in by_patient.values():
                assert places == sorted(places), "a patient's messages changed their order"
