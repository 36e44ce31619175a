"""The replay window: which messages a receiver has acknowledged, in bounded memory.

A message is looked up when it is opened and marked only when its receiver acknowledges it; otherwise the honest
redelivery of a message whose handler died would be refused as a replay.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import sha256
from typing import Final, NamedTuple

from bus.envelope.limits import MAX_BATCH
from bus.envelope.types import Reason, Refused

_FORMAT: Final = b"medmesh.window.v1\n"
_CHECKSUM_BYTES: Final = 16
_Head = struct.Struct(">QI")  # created_floor_ms, runs
_RunHead = struct.Struct(">16s8sQQQQI")  # signer, run, then as the slots of _Run; batches by number
_MarkBytes = struct.Struct(">16s8sQIQQ")
_BatchHead = struct.Struct(">QB")  # seq, bitmap bytes


class Mark(NamedTuple):
    """One acknowledged message, as the window and its journal know it."""

    signer: bytes
    run: bytes
    seq: int
    leaf_index: int
    created_ms: int
    expires_ms: int

    def to_bytes(self) -> bytes:
        """52 bytes for a journal."""
        return _MarkBytes.pack(*self)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Mark:
        """Read what `to_bytes` gave. Raises `Refused` (MALFORMED)."""
        try:
            mark = cls._make(_MarkBytes.unpack(raw))
        except struct.error:
            raise Refused(
                Reason.MALFORMED, f"a mark has {_MarkBytes.size} bytes; this has {len(raw)}"
            ) from None
        if mark.leaf_index >= MAX_BATCH:
            raise Refused(Reason.MALFORMED, f"a mark with leaf number {mark.leaf_index}")
        return mark


class _Run:
    """One process run of one sender: a bitmap of leaf numbers for each batch from `floor` on."""

    __slots__ = ("batches", "created_floor_ms", "created_ms", "expires_ms", "floor")

    def __init__(self, created_floor_ms: int) -> None:
        self.floor = 0
        """Batches below are refused."""
        self.created_floor_ms = created_floor_ms
        """Messages older than this are refused: the run may have been known before, and forgotten."""
        self.created_ms = 0
        """The newest time at which a marked message was made."""
        self.expires_ms = 0
        """When the last of the marked messages expires: from then on the run need not be remembered."""
        self.batches: dict[int, int] = {}

    def drop_oldest_half(self) -> None:
        oldest = sorted(self.batches)[: len(self.batches) // 2 + 1]
        for seq in oldest:
            del self.batches[seq]
        self.floor = oldest[-1] + 1


class ReplayWindow:
    """Remembers acknowledged messages by (signer, run, batch seq, leaf index).

    At a bound it forgets the oldest and from then on refuses everything as old as that: it may refuse a message that
    was never seen, but never lets one pass that was. `max_batches` counts over all senders.
    """

    def __init__(self, *, max_runs: int, max_batches: int) -> None:
        self._max_runs = max_runs
        self._max_batches = max_batches
        self._runs: OrderedDict[tuple[bytes, bytes], _Run] = OrderedDict()
        self._batches = 0
        self._created_floor_ms = 0

    def __len__(self) -> int:
        """How many batches are remembered."""
        return self._batches

    def is_seen(self, signer: bytes, run: bytes, seq: int, index: int, created_ms: int) -> bool:
        """Whether the message was acknowledged, or is too old to tell."""
        known = self._runs.get((signer, run))
        if known is None:
            return created_ms < self._created_floor_ms
        return (
            seq < known.floor
            or created_ms < known.created_floor_ms
            or bool(known.batches.get(seq, 0) >> index & 1)
        )

    def knows(self, signer: bytes, run: bytes) -> bool:
        """Whether a message of this run was acknowledged."""
        return (signer, run) in self._runs

    def mark(self, mark: Mark, *, now_ms: int) -> None:
        """Remember a message as acknowledged. Marking twice does no harm."""
        key = (mark.signer, mark.run)
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= self._max_runs:
                self._forget_runs(now_ms)
            run = self._runs[key] = _Run(self._created_floor_ms)
        run.created_ms = max(run.created_ms, mark.created_ms)
        run.expires_ms = max(run.expires_ms, mark.expires_ms)
        self._runs.move_to_end(key)
        if mark.seq < run.floor:
            return
        bits = run.batches.get(mark.seq)
        if bits is None:
            self._batches += 1
            bits = 0
        run.batches[mark.seq] = bits | 1 << mark.leaf_index
        if self._batches > self._max_batches:
            self._shrink()

    def _forget_runs(self, now_ms: int) -> None:
        """Forget runs whose messages have all expired; where there is none, the one marked longest ago."""
        expired = [key for key, run in self._runs.items() if run.expires_ms < now_ms]
        for key in expired:
            self._batches -= len(self._runs.pop(key).batches)
        if not expired:
            _, oldest = self._runs.popitem(last=False)
            self._batches -= len(oldest.batches)
            self._created_floor_ms = max(self._created_floor_ms, oldest.created_ms + 1)

    def _shrink(self) -> None:
        largest = max(self._runs.values(), key=lambda run: len(run.batches))
        before = len(largest.batches)
        largest.drop_oldest_half()
        self._batches -= before - len(largest.batches)

    def to_bytes(self) -> bytes:
        """The window as bytes, to be kept over a restart: about 11 bytes a batch, with a checksum."""
        parts = [_FORMAT, _Head.pack(self._created_floor_ms, len(self._runs))]
        for (signer, run_id), run in self._runs.items():
            parts.append(
                _RunHead.pack(
                    signer,
                    run_id,
                    run.floor,
                    run.created_floor_ms,
                    run.created_ms,
                    run.expires_ms,
                    len(run.batches),
                )
            )
            for seq, bits in run.batches.items():
                bitmap = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
                parts.append(_BatchHead.pack(seq, len(bitmap)) + bitmap)
        text = b"".join(parts)
        return text + sha256(text).digest()[:_CHECKSUM_BYTES]

    def restore(self, snapshot: bytes) -> None:
        """Take up what `to_bytes` gave, in place of what is known now.

        Raises `Refused` (MALFORMED) for bytes that are no whole snapshot; the window then is as it was.
        """
        text, checksum = snapshot[:-_CHECKSUM_BYTES], snapshot[-_CHECKSUM_BYTES:]
        if sha256(text).digest()[:_CHECKSUM_BYTES] != checksum or not text.startswith(_FORMAT):
            raise Refused(Reason.MALFORMED, "not a whole snapshot of a replay window")
        try:
            floor_ms, self._runs = _read_runs(text)
        except struct.error:
            raise Refused(Reason.MALFORMED, "a snapshot that ends too early") from None
        self._created_floor_ms = floor_ms
        self._batches = sum(len(run.batches) for run in self._runs.values())
        self._fit()

    def _fit(self) -> None:
        """Bring a snapshot that was made under larger bounds under ours."""
        while len(self._runs) > self._max_runs:
            self._forget_runs(0)
        while self._batches > self._max_batches:
            self._shrink()


def _read_runs(text: bytes) -> tuple[int, OrderedDict[tuple[bytes, bytes], _Run]]:
    floor_ms, count = _Head.unpack_from(text, len(_FORMAT))
    at = len(_FORMAT) + _Head.size
    runs: OrderedDict[tuple[bytes, bytes], _Run] = OrderedDict()
    for _ in range(count):
        signer, run_id, floor, created_floor_ms, created_ms, expires_ms, batches = (
            _RunHead.unpack_from(text, at)
        )
        run = _Run(created_floor_ms)
        run.floor, run.created_ms, run.expires_ms = floor, created_ms, expires_ms
        at = _read_batches(text, at + _RunHead.size, batches, run)
        runs[signer, run_id] = run
    return floor_ms, runs


def _read_batches(text: bytes, at: int, count: int, run: _Run) -> int:
    for _ in range(count):
        seq, size = _BatchHead.unpack_from(text, at)
        at += _BatchHead.size
        run.batches[seq] = int.from_bytes(text[at : at + size], "big")
        at += size
    return at


__all__ = ["Mark", "ReplayWindow"]
