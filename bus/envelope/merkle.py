"""The Merkle tree of a batch (RFC 6962 section 2.1, SHA-256): one signature over the root proves every message."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from bus.envelope.types import Reason, Refused

HASH_BYTES: Final = 32
_u32 = struct.Struct(">I").pack


def leaf_prefix(batch: bytes) -> bytes:
    """What the leaves of one batch share: 0x00 || len(batch) || batch."""
    return b"\0" + _u32(len(batch)) + batch


def leaf_hash(prefix: bytes, head: bytes, body: bytes) -> bytes:
    """SHA-256(0x00 || len(batch) || batch || len(head) || head || body); lengths are 4 bytes, big-endian."""
    return sha256(b"".join((prefix, _u32(len(head)), head, body))).digest()


def tree(leaves: Sequence[bytes]) -> list[Sequence[bytes]]:
    """All levels of the tree, leaves first, root last. Lifting an odd last node up gives exactly RFC 6962's tree."""
    level = leaves
    levels = [level]
    while len(level) > 1:
        above = [
            sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)
        ]
        if len(level) & 1:
            above.append(level[-1])
        level = above
        levels.append(level)
    return levels


def paths(levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The inclusion path of each leaf: siblings from the leaf to the root, concatenated."""
    found = [b""]
    for level in reversed(levels[:-1]):
        below: list[bytes] = []
        for i in range(0, len(level) - 1, 2):
            above = found[i >> 1]
            below.append(level[i + 1] + above)
            below.append(level[i] + above)
        if len(level) & 1:
            below.append(found[-1])
        found = below
    return found


class ProvenTree:
    """What a receiver knows for certain about the tree of one batch.

    After one signature the siblings on that path are authentic too, so that the next messages stop at the first known
    node: one inner hash each at most, on average. A known node other than the root always has a known sibling and a
    known parent; this is why the rest of a path can be compared, and is: a path has one valid value.
    """

    __slots__ = ("_nodes", "_rests", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        """Number of leaves."""
        nodes, width = size, size
        while width > 1:
            width = (width + 1) >> 1
            nodes += width
        self._nodes: list[bytes | None] = [None] * nodes  # level by level, leaves first
        self._rests: dict[int, bytes] = {}

    @property
    def root(self) -> bytes | None:
        """The root, once one message was proven."""
        return self._nodes[-1]

    def prove(
        self, index: int, leaf: bytes, path: bytes, check_root: Callable[[bytes], None]
    ) -> None:
        """Prove that `leaf` stands at `index`; `check_root` raises unless the computed root is signed.

        It is called at most once for a tree that proves. Raises `Refused` (BAD_PATH) and what `check_root` raises.
        """
        if index >= self.size:
            raise Refused(Reason.BAD_PATH, f"leaf {index} in a batch of {self.size}")
        nodes = self._nodes
        learned: list[tuple[int, bytes]] = []
        node, place, last, base, used = leaf, index, self.size - 1, 0, 0
        while (known := nodes[base + place]) is None:
            learned.append((base + place, node))
            if not last:
                _end(path, used)
                check_root(node)
                break
            if place & 1 or place < last:
                sibling = path[used : used + HASH_BYTES]
                used += HASH_BYTES
                learned.append((base + (place ^ 1), sibling))
                node = sha256(
                    b"\1" + sibling + node if place & 1 else b"\1" + node + sibling
                ).digest()
            base += last + 1
            place >>= 1
            last >>= 1
        else:
            if known != node:
                raise Refused(Reason.BAD_PATH, "the path leads to another node than the signed one")
            if path[used:] != self._rest(base + place, place, last):
                raise Refused(Reason.BAD_PATH, "the path holds other siblings than the tree")
        for at, value in learned:
            nodes[at] = value

    def _rest(self, at: int, place: int, last: int) -> bytes:
        """The path from a known node to the root; kept for inner nodes."""
        if not last:
            return b""
        rest = self._rests.get(at)
        if rest is None:
            begin = at - place
            rest = self._rest(begin + last + 1 + (place >> 1), place >> 1, last >> 1)
            if place & 1 or place < last:
                rest = (self._nodes[begin + (place ^ 1)] or b"") + rest
            if begin:
                self._rests[at] = rest
        return rest


def _end(path: bytes, used: int) -> None:
    if used != len(path):
        raise Refused(Reason.BAD_PATH, f"the path has {len(path)} bytes; {used} were expected")


__all__ = ["HASH_BYTES", "ProvenTree", "leaf_hash", "leaf_prefix", "paths", "tree"]
