"""The receiver's side: every check, in an order in which nothing is believed before it is proven."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from bus.envelope.limits import (
    MAX_BATCH,
    MAX_HEAD_BYTES,
    MAX_HEADER_BYTES,
    MAX_PATH_BYTES,
    MAX_SIGNATURE_BYTES,
    Limits,
)
from bus.envelope.merkle import HASH_BYTES, ProvenTree, leaf_hash, leaf_prefix
from bus.envelope.packages import KnownEpochs
from bus.envelope.scopes import covers
from bus.envelope.sealer import batch_signing_input, nonce_of
from bus.envelope.sequence import Sequence
from bus.envelope.suites import KemKey, batch_key, suite_of, verify
from bus.envelope.types import (
    Certificate,
    CertificateId,
    Directory,
    Envelope,
    EpochId,
    Reason,
    Refused,
)
from bus.envelope.window import ReplayWindow
from bus.envelope.wire import Parts, split
from schemas.clock import Clock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

_SIGNER_BYTES: Final = 16
_RUN_BYTES: Final = 8
_GCM_TAG_BYTES: Final = 16

_Decrypt = Callable[[bytes, bytes, bytes], bytes]


class _Batch:
    """One batch: its header, and what of its tree, keys and rights is proven so far."""

    __slots__ = ("ciphers", "header", "may_publish", "prefix", "signer", "tree")

    def __init__(self, raw: bytes, header: pb.BatchHeader) -> None:
        self.header = header
        self.signer = CertificateId(header.signer)
        self.prefix = leaf_prefix(raw)
        self.tree = ProvenTree(header.size)
        self.may_publish: set[str] = set()
        """Subjects on which the signer's certificate lets it publish."""
        self.ciphers: dict[bytes, tuple[_Decrypt, tuple[str, ...], set[str]]] = {}
        """Epoch to (decrypt, scopes of the key, subjects known to be within them)."""


class Opener:
    """Opens the messages of one service. Use one for each durable consumer: each has its own replay window.

    `service` is the SPIFFE id; `kem_keys` maps key ids to the service's KEM keys and may change as generations rotate.
    Not safe for several threads at once.
    """

    def __init__(
        self,
        service: str,
        kem_keys: Mapping[bytes, KemKey],
        directory: Directory,
        clock: Clock,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._limits = limits = limits or Limits()
        self._epochs = KnownEpochs(service, kem_keys, directory, limits)
        self._batches: OrderedDict[tuple[bytes, bytes], _Batch] = OrderedDict()
        self._leaves = 0
        self._window = ReplayWindow(
            max_runs=limits.max_window_runs, max_batches=limits.max_window_batches
        )
        self._sequence = Sequence(
            max_subjects=limits.max_tracked_subjects, max_runs=limits.max_window_runs
        )
        self.chain_breaks = 0
        """Batches that contradicted another of the same run: a sender's state was copied, or it lies. Never refused
        for it, since each message is authentic; to be counted and shown."""

    def learn(self, raw: bytes) -> EpochId:
        """Verify and keep a signed key package (the value of KV `keys.<epoch hex>`); returns its epoch.

        Raises `Refused`: KEY_PACKAGE_INVALID, or what the directory says against its signer.
        """
        return self._epochs.learn(raw).id

    def open(self, subject: str, raw: bytes) -> Envelope:
        """Verify and decrypt an envelope that was delivered on `subject`.

        Raises `KeyPackageMissing` (fetch the package, `learn` it, open again) or `Refused` with its reason. The message
        counts as seen only after `acknowledge`.
        """
        return self._open(subject, raw, is_ordered_again=False)

    def open_authorised(self, subject: str, raw: bytes) -> Envelope:
        """As `open`, for a replay that an operator ordered: the replay window and the expiry are not asked.

        Everything else holds. `gap` is 0. The caller has verified the order.
        """
        return self._open(subject, raw, is_ordered_again=True)

    def acknowledge(self, envelope: Envelope) -> None:
        """Mark a message as seen: from now on its replay is refused."""
        self._window.mark(
            envelope.sender.id,
            envelope.run,
            envelope.batch_seq,
            envelope.index,
            created_ms=envelope.created_ms,
            expires_ms=envelope.expires_ms,
            now_ms=self._clock.now_ms(),
        )

    def window_to_bytes(self) -> bytes:
        """The replay window, to be kept over a restart."""
        return self._window.to_bytes()

    def restore_window(self, snapshot: bytes) -> None:
        """Take up what `window_to_bytes` gave. Raises `Refused` (MALFORMED) and changes nothing when it is damaged."""
        self._window.restore(snapshot)

    def _open(self, subject: str, raw: bytes, *, is_ordered_again: bool) -> Envelope:
        parts = self._parts(raw)
        head = _head(parts.head)
        if head.subject != subject:
            raise Refused(Reason.SUBJECT_MISMATCH, "it was sealed for another subject")
        batch = self._batches.get((parts.batch, parts.sig)) or self._new_batch(parts.batch)
        sender = self._directory.certificate(batch.signer, at_ms=batch.header.created_ms)
        leaf = leaf_hash(batch.prefix, parts.head, parts.body)
        self._prove(batch, sender, parts, head.index, leaf)
        if subject not in batch.may_publish:
            _check_publish(sender, subject)
            batch.may_publish.add(subject)
        header = batch.header
        created_ms, run, seq = header.created_ms, header.run, header.seq
        if not is_ordered_again:
            self._check_time(created_ms, head.expires_ms)
            if self._window.is_seen(batch.signer, run, seq, head.index, created_ms):
                raise Refused(Reason.REPLAYED, f"message {head.index} of batch {seq} came before")
        content = self._decrypt(batch, head, parts)
        gap = 0
        if not is_ordered_again:
            gap = self._sequence.gap(batch.signer, run, subject, head.subject_seq)
        return Envelope(
            subject=subject,
            sender=sender,
            content=content,
            leaf=leaf,
            run=run,
            batch_seq=seq,
            index=head.index,
            created_ms=created_ms,
            expires_ms=head.expires_ms,
            gap=gap,
            reply_to=head.reply_to,
            in_reply_to=head.in_reply_to,
        )

    def _parts(self, raw: bytes) -> Parts:
        limits = self._limits
        if len(raw) > limits.max_envelope_bytes + limits.max_key_package_bytes:
            raise _too_large("an envelope with its key package", len(raw))
        parts = split(raw)
        if (
            len(parts.batch) > MAX_HEADER_BYTES
            or len(parts.head) > MAX_HEAD_BYTES
            or len(parts.path) > MAX_PATH_BYTES
            or len(parts.sig) > MAX_SIGNATURE_BYTES
            or len(raw) - len(parts.key_package) > limits.max_envelope_bytes
        ):
            raise _too_large("an envelope or a part of it", len(raw))
        if not (parts.batch and parts.head and parts.sig) or len(parts.body) < _GCM_TAG_BYTES:
            raise Refused(Reason.MALFORMED, "a part of the envelope is missing")
        return parts

    def _new_batch(self, raw: bytes) -> _Batch:
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
        return _Batch(raw, header)

    def _prove(
        self, batch: _Batch, sender: Certificate, parts: Parts, index: int, leaf: bytes
    ) -> None:
        tree = batch.tree
        is_new = tree.root is None
        if is_new:
            _check_suite(sender, batch.header.suite)
        tree.prove(index, leaf, parts.path, partial(_check_root, sender, parts))
        if is_new:
            self._keep(batch, parts)
        else:
            self._batches.move_to_end((parts.batch, parts.sig))

    def _keep(self, batch: _Batch, parts: Parts) -> None:
        self._batches[parts.batch, parts.sig] = batch
        self._leaves += batch.tree.size
        while (
            len(self._batches) > self._limits.max_batches or self._leaves > self._limits.max_leaves
        ):
            _, oldest = self._batches.popitem(last=False)
            self._leaves -= oldest.tree.size
        header, root = batch.header, batch.tree.root or b""
        if not self._sequence.chain(batch.signer, header.run, header.seq, header.prev, root):
            self.chain_breaks += 1

    def _check_time(self, created_ms: int, expires_ms: int) -> None:
        now_ms = self._clock.now_ms()
        if expires_ms < now_ms:
            raise Refused(Reason.EXPIRED, f"it expired {now_ms - expires_ms} ms ago")
        ahead_ms = created_ms - now_ms
        if ahead_ms > self._limits.max_clock_skew_ms:
            raise Refused(
                Reason.CLOCK_SKEW,
                f"its sender's clock is {ahead_ms} ms ahead; at most {self._limits.max_clock_skew_ms} "
                "are allowed (max_clock_skew_ms)",
            )

    def _decrypt(self, batch: _Batch, head: pb.MessageHead, parts: Parts) -> content_pb.Content:
        cipher = batch.ciphers.get(head.epoch)
        if cipher is None or parts.key_package:
            cipher = self._cipher(batch, EpochId(head.epoch), parts.key_package)
        decrypt, scopes, covered = cipher
        if head.subject not in covered:
            if not covers(scopes, head.subject):
                raise Refused(Reason.KEY_PACKAGE_INVALID, "the key is not for this subject")
            covered.add(head.subject)
        try:
            text = decrypt(nonce_of(head.index), parts.body, batch.prefix[1:] + parts.head)
        except InvalidTag:
            raise Refused(Reason.DECRYPTION_FAILED, "the body does not decrypt") from None
        try:
            content = content_pb.Content.FromString(text)
        except DecodeError:
            raise Refused(Reason.BAD_CONTENT, "the body is not the encoding of a content") from None
        content.ClearField("pad")
        return content

    def _cipher(
        self, batch: _Batch, epoch_id: EpochId, inline: bytes
    ) -> tuple[_Decrypt, tuple[str, ...], set[str]]:
        epoch = self._epochs.require(epoch_id, inline)
        header = batch.header
        if epoch.signer != header.signer:
            raise Refused(Reason.KEY_PACKAGE_INVALID, "the key belongs to another sender")
        if not epoch.not_before_ms <= header.created_ms <= epoch.not_after_ms:
            raise Refused(Reason.KEY_PACKAGE_INVALID, "the key was not in use at that time")
        key = batch_key(suite_of(header.suite), epoch.secret, header.salt, header.signer)
        cipher = AESGCM(key).decrypt, epoch.scopes, set[str]()
        batch.ciphers[epoch_id] = cipher
        return cipher


def _head(raw: bytes) -> pb.MessageHead:
    try:
        return pb.MessageHead.FromString(raw)
    except DecodeError:
        raise Refused(Reason.MALFORMED, "not the encoding of a message head") from None


def _check_suite(sender: Certificate, suite: int) -> None:
    if sender.suite != suite:
        raise Refused(
            Reason.SUITE_NOT_ALLOWED,
            f"suite {suite}; {sender.service} signs with suite {sender.suite}",
        )


def _check_root(sender: Certificate, parts: Parts, root: bytes) -> None:
    verify(sender.suite, sender.sign_key, parts.sig, batch_signing_input(parts.batch, root))


def _check_publish(sender: Certificate, subject: str) -> None:
    if not covers(sender.publish, subject):
        raise Refused(Reason.MAY_NOT_PUBLISH, f"{sender.service} has no right to {subject}")


def _too_large(what: str, size: int) -> Refused:
    return Refused(
        Reason.TOO_LARGE, f"{what} has {size} bytes, more than allowed (max_envelope_bytes)"
    )


__all__ = ["Opener"]
