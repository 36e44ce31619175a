"""The receiver's side: every check, in an order in which nothing is believed before it is proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from bus.envelope.batches import Batch, BatchKey, Cipher, Decrypt, KnownBatches
from bus.envelope.limits import MAX_HEAD_BYTES, Limits
from bus.envelope.merkle import leaf_hash
from bus.envelope.packages import KnownEpochs
from bus.envelope.scopes import covers
from bus.envelope.sequence import Sequence
from bus.envelope.suites import KemKey, batch_key, nonce_of, suite_of
from bus.envelope.types import (
    Certificate,
    Directory,
    Envelope,
    EpochId,
    Reason,
    Refused,
)
from bus.envelope.window import Mark, ReplayWindow
from bus.envelope.wire import split
from schemas.clock import Clock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb


class Opener:
    """Opens the messages of one service. Use one for each durable consumer: each has its own replay window.

    `service` is the SPIFFE id; `kem_keys` maps key ids to the service's KEM keys and may change as generations rotate.
    `keeps_window` False is for those who read stored messages again and again: nothing counts as seen.
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
        keeps_window: bool = True,
    ) -> None:
        self._keeps_window = keeps_window
        self._directory = directory
        self._clock = clock
        self._limits = limits = limits or Limits()
        self._epochs = KnownEpochs(service, kem_keys, directory, limits)
        self._batches = KnownBatches(limits)
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

    def acknowledge(self, envelope: Envelope) -> bytes:
        """Mark a message as seen: from now on its replay is refused.

        Returns the mark, 52 bytes to be written to a journal: `restore_window` takes marks that are newer than the
        snapshot.
        """
        mark = Mark(
            envelope.sender.id,
            envelope.run,
            envelope.batch_seq,
            envelope.index,
            envelope.created_ms,
            envelope.expires_ms,
        )
        if self._keeps_window:
            self._window.mark(mark, now_ms=self._clock.now_ms())
        return mark.to_bytes()

    def window_to_bytes(self) -> bytes:
        """The replay window as a snapshot, to be kept over a restart: about 11 bytes for each batch it remembers."""
        return self._window.to_bytes()

    def restore_window(self, snapshot: bytes, marks: Iterable[bytes] = ()) -> None:
        """Take up a snapshot (b"" for none) and the marks that were made after it; marks may repeat.

        Raises `Refused` (MALFORMED) for damaged bytes; the marks before a damaged one hold.
        """
        if snapshot:
            self._window.restore(snapshot)
        now_ms = self._clock.now_ms()
        for mark in marks:
            self._window.mark(Mark.from_bytes(mark), now_ms=now_ms)

    def _open(self, subject: str, raw: bytes, *, is_ordered_again: bool) -> Envelope:
        if len(raw) > self._limits.max_envelope_bytes:
            self._check_inline_size(raw)
        header_bytes, head_bytes, body, path, signature, inline = split(raw)
        if not (header_bytes and head_bytes and body and signature):
            raise Refused(Reason.MALFORMED, "a part of the envelope is missing")
        head = _head(head_bytes)
        if head.subject != subject:
            raise Refused(Reason.SUBJECT_MISMATCH, "it was sealed for another subject")
        key = (header_bytes, signature)
        known = self._batches.find(key)
        batch = known or self._batches.read(header_bytes)
        sender = self._directory.certificate(batch.signer, at_ms=batch.created_ms)
        leaf = leaf_hash(batch.prefix, head_bytes, body)
        index, expires_ms = head.index, head.expires_ms
        batch.prove(key, sender, index, leaf, path)
        if known is None:
            self._keep(key, batch)
        if subject not in batch.may_publish:
            _check_publish(sender, subject)
            batch.may_publish.add(subject)
        now_ms = self._clock.now_ms()
        self._check_clock(batch.created_ms, now_ms)
        if not is_ordered_again:
            _check_expiry(expires_ms, now_ms)
            self._check_seen(batch, index)
        decrypt = self._cipher(batch, EpochId(head.epoch), subject, inline)
        content = _content(decrypt, nonce_of(index), body, batch.bound + head_bytes)
        gap = 0
        if not is_ordered_again:
            gap = self._sequence.gap(batch.signer, batch.run, subject, head.subject_seq)
        return Envelope(
            subject,
            sender,
            content,
            leaf,
            batch.run,
            batch.seq,
            index,
            batch.created_ms,
            expires_ms,
            gap,
            head.reply_to,
            head.in_reply_to,
        )

    def _check_inline_size(self, raw: bytes) -> None:
        """A self-contained envelope may be larger by its key package, and only by that."""
        limits = self._limits
        most = limits.max_envelope_bytes + limits.max_key_package_bytes
        if len(raw) > most:
            raise _too_large("an envelope with its key package", len(raw), most)
        size = len(raw) - len(split(raw)[-1])
        if size > limits.max_envelope_bytes:
            raise _too_large("an envelope", size, limits.max_envelope_bytes)

    def _keep(self, key: BatchKey, batch: Batch) -> None:
        self._batches.keep(key, batch)
        is_chained = self._sequence.chain(
            batch.signer,
            batch.run,
            batch.seq,
            batch.prev,
            batch.tree.root or b"",
            is_run_known=self._window.knows(batch.signer, batch.run) or not self._keeps_window,
        )
        if not is_chained:
            self.chain_breaks += 1

    def _check_seen(self, batch: Batch, index: int) -> None:
        if self._keeps_window and self._window.is_seen(
            batch.signer, batch.run, batch.seq, index, batch.created_ms
        ):
            raise Refused(Reason.REPLAYED, f"message {index} of batch {batch.seq} came before")

    def _check_clock(self, created_ms: int, now_ms: int) -> None:
        ahead_ms = created_ms - now_ms
        if ahead_ms > self._limits.max_clock_skew_ms:
            raise Refused(
                Reason.CLOCK_SKEW,
                f"its sender's clock is {ahead_ms} ms ahead; at most "
                f"{self._limits.max_clock_skew_ms} are allowed (max_clock_skew_ms)",
            )

    def _cipher(self, batch: Batch, epoch_id: EpochId, subject: str, inline: bytes) -> Decrypt:
        known = batch.ciphers.get(epoch_id)
        if known is None or inline:
            known = self._new_cipher(batch, epoch_id, inline)
        decrypt, scopes, covered = known
        if subject not in covered:
            if not covers(scopes, subject):
                raise Refused(Reason.KEY_PACKAGE_INVALID, "the key is not for this subject")
            covered.add(subject)
        return decrypt

    def _new_cipher(self, batch: Batch, epoch_id: EpochId, inline: bytes) -> Cipher:
        epoch = self._epochs.require(epoch_id, inline)
        if epoch.signer != batch.signer:
            raise Refused(Reason.KEY_PACKAGE_INVALID, "the key belongs to another sender")
        if not epoch.not_before_ms <= batch.created_ms <= epoch.not_after_ms:
            raise Refused(Reason.KEY_PACKAGE_INVALID, "the key was not in use at that time")
        key = batch_key(suite_of(batch.suite), epoch.secret, batch.salt, batch.signer)
        cipher: Cipher = (AESGCM(key).decrypt, epoch.scopes, set())
        batch.ciphers[epoch_id] = cipher
        return cipher


def _check_expiry(expires_ms: int, now_ms: int) -> None:
    if expires_ms < now_ms:
        raise Refused(Reason.EXPIRED, f"it expired {now_ms - expires_ms} ms ago")


def _content(decrypt: Decrypt, nonce: bytes, body: bytes, bound: bytes) -> content_pb.Content:
    try:
        text = decrypt(nonce, body, bound)
    except InvalidTag:
        raise Refused(Reason.DECRYPTION_FAILED, "the body does not decrypt") from None
    try:
        content = content_pb.Content.FromString(text)
    except DecodeError:
        raise Refused(Reason.BAD_CONTENT, "the body is not the encoding of a content") from None
    content.ClearField("pad")
    return content


def _head(raw: bytes) -> pb.MessageHead:
    if len(raw) > MAX_HEAD_BYTES:
        raise _too_large("the head of an envelope", len(raw), MAX_HEAD_BYTES)
    try:
        return pb.MessageHead.FromString(raw)
    except DecodeError:
        raise Refused(Reason.MALFORMED, "not the encoding of a message head") from None


def _check_publish(sender: Certificate, subject: str) -> None:
    if not covers(sender.publish, subject):
        raise Refused(Reason.MAY_NOT_PUBLISH, f"{sender.service} has no right to {subject}")


def _too_large(what: str, size: int, most: int) -> Refused:
    return Refused(Reason.TOO_LARGE, f"{what} has {size} bytes; at most {most} are allowed")


__all__ = ["Opener"]
