"""Drops and reordering: what the counters and the chain of a sender say about messages that did not come."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Run:
    """The newest batch of one run of a sender, as far as this receiver saw it."""

    seq: int
    prev: bytes
    root: bytes
    followed_from_start: bool


class Sequence:
    """Follows each (signer, run, subject) in bounded memory; what was forgotten is never reported as a gap."""

    def __init__(self, *, max_subjects: int, max_runs: int) -> None:
        self._max_subjects = max_subjects
        self._max_runs = max_runs
        self._highest: OrderedDict[tuple[bytes, bytes, str], int] = OrderedDict()
        self._runs: OrderedDict[tuple[bytes, bytes], _Run] = OrderedDict()

    def __len__(self) -> int:
        """How many (signer, run, subject) triples are followed."""
        return len(self._highest)

    def chain(
        self,
        signer: bytes,
        run: bytes,
        seq: int,
        prev: bytes,
        root: bytes,
        *,
        is_run_known: bool = False,
    ) -> bool:
        """Take note of a proven batch; False when it contradicts a proven batch of the same run.

        `is_run_known` says that messages of the run were received before, by an earlier process: then its first
        messages are not missing.

        Two batches with one number, or a batch whose `prev` is not the root of the one before: the sender's state was
        copied (a cloned machine), or the sender lies.
        """
        key = (signer, run)
        known = self._runs.get(key)
        if known is None:
            from_start = seq == 0 and not is_run_known
            self._runs[key] = _Run(seq, prev, root, followed_from_start=from_start)
            if len(self._runs) > self._max_runs:
                self._runs.popitem(last=False)
            return seq > 0 or not prev
        self._runs.move_to_end(key)
        if seq == known.seq:
            return root == known.root
        if seq == known.seq - 1:
            return root == known.prev
        fits = seq != known.seq + 1 or prev == known.root
        if seq > known.seq:
            known.seq, known.prev, known.root = seq, prev, root
        return fits

    def gap(self, signer: bytes, run: bytes, subject: str, subject_seq: int) -> int:
        """Messages missing before this one; negative when it comes late or again, 0 in order.

        The first message of a subject counts from 1 when the run was followed from its first batch; otherwise there is
        nothing to compare it with, and the answer is 0.
        """
        key = (signer, run, subject)
        highest = self._highest.get(key)
        if highest is None:
            known = self._runs.get((signer, run))
            gap = subject_seq - 1 if known is not None and known.followed_from_start else 0
            self._highest[key] = subject_seq
            if len(self._highest) > self._max_subjects:
                self._forget_oldest()
            return gap
        self._highest.move_to_end(key)
        if subject_seq > highest:
            self._highest[key] = subject_seq
        return subject_seq - highest - 1

    def _forget_oldest(self) -> None:
        (signer, run, _), _ = self._highest.popitem(last=False)
        known = self._runs.get((signer, run))
        if known is not None:
            known.followed_from_start = False


__all__ = ["Sequence"]
