"""The sender's side: what was published in one turn of the event loop goes under one signature."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakSet

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bus.envelope.epochs import Epoch, EpochKeys
from bus.envelope.limits import MAX_BATCH, MAX_HEAD_BYTES, SHELL_BYTES, Limits
from bus.envelope.merkle import leaf_hash, leaf_prefix, paths, tree
from bus.envelope.padding import pad_field
from bus.envelope.scopes import covers
from bus.envelope.signed import batch_signing_input
from bus.envelope.suites import Entropy, SigningKey, batch_key, nonce_of
from bus.envelope.types import (
    Certificate,
    ContentTooLarge,
    Directory,
    NobodyMayRead,
    Plain,
    SealedBatch,
)
from bus.envelope.wire import join
from schemas.clock import Clock
from schemas.errors import ConfigurationError, PermissionRefused
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from schemas.subjects import subject as checked_subject

DEFAULT_TTL_MS: Final = 30 * 86_400_000
"""Thirty days: how long a receiver may take a message after it was sealed."""

_SALT_BYTES: Final = 32
_RUN_BYTES: Final = 8
_HEAD_FIXED_BYTES: Final = 128  # a MessageHead without its two subjects
_LEAF_HASH_BYTES: Final = 32


class _Stream:
    """What the sealer knows about one subject: how many messages it had, who reads it, under which key."""

    __slots__ = ("epoch", "readers", "sent", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.sent = 0
        self.readers: tuple[Certificate, ...] = ()
        self.epoch: Epoch | None = None


_Work = list[tuple[_Stream, Epoch, Plain, bytes]]
_Sealed = list[tuple[bytes, bytes]]


class Sealer:
    """Seals messages in the name of one instance. Not safe for several threads at once; a fork is noticed.

    `key` is the instance's signing key and `certificate` its own; `ttl_ms` says after how many milliseconds
    receivers refuse a message as expired.
    """

    def __init__(
        self,
        key: SigningKey,
        certificate: Certificate,
        directory: Directory,
        clock: Clock,
        entropy: Entropy = os.urandom,
        *,
        ttl_ms: int = DEFAULT_TTL_MS,
        limits: Limits | None = None,
    ) -> None:
        if ttl_ms <= 0:
            raise ConfigurationError(f"ttl_ms is {ttl_ms}; a message must live some time")
        self._directory = directory
        self._clock = clock
        self._entropy = entropy
        self._ttl_ms = ttl_ms
        self._limits = limits or Limits()
        self.renew(key, certificate)
        _sealers.add(self)

    @property
    def certificate(self) -> Certificate:
        """The certificate in whose name messages are sealed."""
        return self._certificate

    def renew(self, key: SigningKey, certificate: Certificate) -> None:
        """Go on under a renewed certificate: a new run with new epoch keys.

        Raises `ConfigurationError` when key and certificate do not belong together.
        """
        if key.suite.number != certificate.suite or key.public_bytes != certificate.sign_key:
            raise ConfigurationError(
                f"the certificate of {certificate.service} ({certificate.instance}) "
                "was issued for another signing key"
            )
        self._key = key
        self._certificate = certificate
        self.forget()

    def forget(self) -> None:
        """Drop every epoch key and begin a new run.

        Call it when a key package could not be stored: the next batch brings new ones.
        """
        self._epochs = EpochKeys(self._key, self._certificate, self._entropy, self._limits)
        self._begin_run()

    def _begin_run(self) -> None:
        self._run = self._entropy(_RUN_BYTES)
        self._seq = 0
        self._prev = b""
        self._streams: dict[str, _Stream] = {}

    def check(self, plain: Plain) -> None:
        """Raise what `seal` would raise for this message, so that one bad message need not fail its batch."""
        now_ms = self._clock.now_ms()
        self._check_certificate(now_ms)
        self._resolve(_Stream(plain.subject), now_ms)
        self._plaintext(plain)

    def seal(self, plains: Sequence[Plain]) -> SealedBatch:
        """Seal 1 to 1024 messages under one signature; all of them, or none when it raises.

        Raises `PermissionRefused` (own certificate out of date, or no right to publish on a subject), `SubjectError`,
        `NobodyMayRead`, `MayNotRead`, `ContentTooLarge`, and `ValueError` for an empty or too large batch.
        """
        if not 0 < len(plains) <= MAX_BATCH:
            raise ValueError(f"a batch has 1 to {MAX_BATCH} messages; {len(plains)} were given")
        now_ms = self._clock.now_ms()
        self._check_certificate(now_ms)
        if len(self._streams) + len(plains) > self._limits.max_subjects:
            self._begin_run()
        work = self._prepare(plains, now_ms)
        # nothing below fails: counters move only for messages that leave
        salt = self._entropy(_SALT_BYTES)
        batch = self._header(salt, len(work), now_ms)
        sealed, leaves = self._encrypt(work, batch, salt, now_ms + self._ttl_ms)
        levels = tree(leaves)
        root = levels[-1][0]
        signature = self._key.sign(batch_signing_input(batch, root))
        self._seq += 1
        self._prev = root
        return SealedBatch(
            envelopes=tuple(
                join(batch, head, body, path, signature)
                for (head, body), path in zip(sealed, paths(levels), strict=True)
            ),
            key_packages=self._epochs.take_unpublished(),
            leaves=tuple(leaves),
        )

    def _check_certificate(self, now_ms: int) -> None:
        own = self._certificate
        early_ms = own.not_before_ms - self._limits.max_clock_skew_ms  # our clock may be behind
        if not early_ms <= now_ms <= own.not_after_ms:
            raise PermissionRefused(
                f"the certificate of {own.service} ({own.instance}) is valid from {own.not_before_ms} "
                f"to {own.not_after_ms} ms; the clock says {now_ms} ms"
            )

    def _prepare(self, plains: Sequence[Plain], now_ms: int) -> _Work:
        work: _Work = []
        resolved: dict[str, tuple[_Stream, Epoch]] = {}
        begun: list[_Stream] = []
        for plain in plains:
            found = resolved.get(plain.subject)
            if found is None:
                stream = self._streams.get(plain.subject)
                if stream is None:
                    stream = _Stream(plain.subject)
                    begun.append(stream)
                found = resolved[plain.subject] = stream, self._resolve(stream, now_ms)
            work.append((*found, plain, self._plaintext(plain)))
        for stream in begun:
            self._streams[stream.subject] = stream
        return work

    def _resolve(self, stream: _Stream, now_ms: int) -> Epoch:
        """Who may read the subject now, and under which key; asked again for each batch, since it changes."""
        readers = tuple(self._directory.readers(stream.subject))
        epoch = stream.epoch
        if epoch is not None and readers == stream.readers and epoch.is_usable(now_ms):
            return epoch
        subject = checked_subject(stream.subject)
        if not covers(self._certificate.publish, subject):
            raise PermissionRefused(
                f"{self._certificate.service} may not publish on {subject}: "
                f"its certificate allows {', '.join(self._certificate.publish) or 'nothing'}"
            )
        if not readers:
            raise NobodyMayRead(
                f"no service may read {subject}: give one the right to subscribe, in the policy"
            )
        if len(readers) > self._limits.max_recipients:
            raise ContentTooLarge(
                f"{len(readers)} services may read {subject}; "
                f"at most {self._limits.max_recipients} are allowed (max_recipients)"
            )
        stream.epoch = self._epochs.resolve(readers, subject, now_ms)
        stream.readers = readers
        return stream.epoch

    def _plaintext(self, plain: Plain) -> bytes:
        text = plain.content.SerializeToString()
        text += pad_field(len(text))
        if len(text) > self._limits.max_envelope_bytes - SHELL_BYTES:
            raise ContentTooLarge(
                f"a message on {plain.subject} has {len(text)} bytes; its envelope may have "
                f"{self._limits.max_envelope_bytes} (max_envelope_bytes)"
            )
        if plain.reply_to or plain.in_reply_to:
            _check_reply(plain)
        return text

    def _header(self, salt: bytes, size: int, now_ms: int) -> bytes:
        return pb.BatchHeader(
            suite=self._key.suite.number,
            signer=self._certificate.id,
            seq=self._seq,
            prev=self._prev,
            salt=salt,
            size=size,
            created_ms=now_ms,
            run=self._run,
        ).SerializeToString()

    def _encrypt(
        self, work: _Work, batch: bytes, salt: bytes, expires_ms: int
    ) -> tuple[_Sealed, list[bytes]]:
        prefix = leaf_prefix(batch)
        bound = prefix[1:]  # len(batch) || batch: begins the additional data
        ciphers: dict[bytes, Callable[[bytes, bytes, bytes], bytes]] = {}
        sealed: _Sealed = []
        leaves: list[bytes] = []
        head = pb.MessageHead(expires_ms=expires_ms)
        at: _Stream | None = None
        for index, (stream, epoch, plain, text) in enumerate(work):
            if stream is not at:
                at = stream
                head.subject = stream.subject
                head.epoch = epoch.id
            stream.sent += 1
            epoch.messages_left -= 1
            head.index = index
            head.subject_seq = stream.sent
            head.reply_to = plain.reply_to
            head.in_reply_to = plain.in_reply_to
            head_bytes = head.SerializeToString()
            encrypt = ciphers.get(epoch.id)
            if encrypt is None:
                key = batch_key(self._key.suite, epoch.secret, salt, self._certificate.id)
                encrypt = ciphers[epoch.id] = AESGCM(key).encrypt
            body = encrypt(nonce_of(index), text, bound + head_bytes)
            sealed.append((head_bytes, body))
            leaves.append(leaf_hash(prefix, head_bytes, body))
        return sealed, leaves


def _check_reply(plain: Plain) -> None:
    head_bytes = _HEAD_FIXED_BYTES + len(plain.subject) + len(plain.reply_to.encode())
    if head_bytes > MAX_HEAD_BYTES:
        raise ContentTooLarge(f"reply_to has {len(plain.reply_to)} characters; that is too many")
    if plain.in_reply_to and len(plain.in_reply_to) != _LEAF_HASH_BYTES:
        raise ValueError(
            f"in_reply_to is the leaf hash of a request, {_LEAF_HASH_BYTES} bytes; "
            f"{len(plain.in_reply_to)} were given"
        )


_sealers: WeakSet[Sealer] = WeakSet()


def _forget_after_fork() -> None:
    """Two processes must never share a run, its counters or its epoch keys."""
    for sealer in tuple(_sealers):
        sealer.forget()


os.register_at_fork(after_in_child=_forget_after_fork)

__all__ = ["DEFAULT_TTL_MS", "Sealer"]
