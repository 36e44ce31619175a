"""A receiver's memory of batches: what one signature proved serves all messages under it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.limits import MAX_BATCH, MAX_HEADER_BYTES, Limits
from bus.envelope.merkle import HASH_BYTES, ProvenTree, leaf_prefix
from bus.envelope.signed import batch_signing_input
from bus.envelope.suites import verify
from bus.envelope.types import Certificate, CertificateId, Reason, Refused
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

_SIGNER_BYTES: Final = 16
_RUN_BYTES: Final = 8

Decrypt = Callable[[bytes, bytes, bytes], bytes]
"""(nonce, ciphertext, additional data) to plaintext."""
Cipher = tuple[Decrypt, tuple[str, ...], set[str]]
"""Decrypt, the scopes of the key, and the subjects that are known to be within them."""
BatchKey = tuple[bytes, bytes]
"""(header, signature) as they travelled."""


class Batch:
    """One batch: its header, and what of its tree, keys and rights is proven so far."""

    __slots__ = (
        "_check_root",
        "bound",
        "ciphers",
        "created_ms",
        "may_publish",
        "prefix",
        "prev",
        "run",
        "salt",
        "seq",
        "signer",
        "suite",
        "tree",
    )

    def __init__(self, raw: bytes, header: pb.BatchHeader) -> None:
        self._check_root: Callable[[bytes], None] | None = None
        self.suite = header.suite
        self.signer = CertificateId(header.signer)
        self.run = header.run
        self.seq = header.seq
        self.prev = header.prev
        self.salt = header.salt
        self.created_ms = header.created_ms
        self.prefix = leaf_prefix(raw)
        self.bound = self.prefix[1:]
        """len(batch) || batch: begins the additional data of every body."""
        self.tree = ProvenTree(header.size)
        self.may_publish: set[str] = set()
        """Subjects on which the signer's certificate lets it publish."""
        self.ciphers: dict[bytes, Cipher] = {}
        """By epoch."""

    def prove(
        self, key: BatchKey, sender: Certificate, index: int, leaf: bytes, path: bytes
    ) -> None:
        """Prove that the message with this leaf hash is part of the batch.

        Raises `Refused` (SUITE_NOT_ALLOWED, BAD_PATH, BAD_SIGNATURE).
        """
        if self._check_root is None:
            if sender.suite != self.suite:
                raise Refused(
                    Reason.SUITE_NOT_ALLOWED,
                    f"suite {self.suite}; {sender.service} signs with suite {sender.suite}",
                )
            self._check_root = partial(_check_root, sender, key)
        self.tree.prove(index, leaf, path, self._check_root)


class KnownBatches:
    """Batches of which one message at least was proven; the least recently used goes first at a bound."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._batches: OrderedDict[BatchKey, Batch] = OrderedDict()
        self._leaves = 0

    def __len__(self) -> int:
        return len(self._batches)

    def find(self, key: BatchKey) -> Batch | None:
        """The batch, when it is known."""
        batch = self._batches.get(key)
        if batch is not None:
            self._batches.move_to_end(key)
        return batch

    def keep(self, key: BatchKey, batch: Batch) -> None:
        """Remember a batch that was proven."""
        self._batches[key] = batch
        self._leaves += batch.tree.size
        limits = self._limits
        while len(self._batches) > limits.max_batches or self._leaves > limits.max_leaves:
            _, oldest = self._batches.popitem(last=False)
            self._leaves -= oldest.tree.size

    def read(self, raw: bytes) -> Batch:
        """Read a batch header; nothing in it is trusted yet.

        Raises `Refused` (TOO_LARGE, MALFORMED, SUITE_NOT_ALLOWED).
        """
        if len(raw) > MAX_HEADER_BYTES:
            raise Refused(
                Reason.TOO_LARGE,
                f"a batch header has {len(raw)} bytes; at most {MAX_HEADER_BYTES} are allowed",
            )
        try:
            header = pb.BatchHeader.FromString(raw)
        except DecodeError:
            raise Refused(Reason.MALFORMED, "not the encoding of a batch header") from None
        if header.suite not in self._limits.suites:
            raise Refused(
                Reason.SUITE_NOT_ALLOWED,
                f"suite {header.suite}; allowed are {sorted(self._limits.suites)}",
            )
        if (
            not 0 < header.size <= MAX_BATCH
            or len(header.signer) != _SIGNER_BYTES
            or len(header.run) != _RUN_BYTES
            or len(header.salt) != HASH_BYTES
            or len(header.prev) not in (0, HASH_BYTES)
        ):
            raise Refused(Reason.MALFORMED, "a batch header with fields of the wrong size")
        return Batch(raw, header)


def _check_root(sender: Certificate, key: BatchKey, root: bytes) -> None:
    header, signature = key
    verify(sender.suite, sender.sign_key, signature, batch_signing_input(header, root))


__all__ = ["Batch", "BatchKey", "Cipher", "Decrypt", "KnownBatches"]
