"""A second implementation of the wire format, written from its specification alone; slow, and free to lie.

It shares no line with `bus.envelope`: what both agree on is the format. Tests use it to build what an honest sealer
never would.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bus.envelope import KemKey, SigningKey, wrap
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

NAMESPACE = b"medmesh.env.v1/"
_HASH = {1: "sha256", 2: "sha384"}


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf(suite: int, secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 for 32 bytes, which is one block of either hash."""
    name = _HASH[suite]
    salt = salt or bytes(hashlib.new(name).digest_size)
    key = hmac.digest(salt, secret, name)
    return hmac.digest(key, NAMESPACE + info + b"\x01", name)[:32]


def commit_of(suite: int, secret: bytes) -> bytes:
    return hkdf(suite, secret, b"", b"commit")


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return sha256(b"\x01", mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def _split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def length(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big")


def leaf(batch: bytes, head: bytes, body: bytes) -> bytes:
    return sha256(b"\x00", length(batch), batch, length(head), head, body)


def signed_object(kind: str, body: bytes, key: SigningKey) -> bytes:
    sig = key.sign(NAMESPACE + kind.encode() + b"\0" + body)
    return pb.SignedObject(kind=kind, body=body, sig=sig).SerializeToString()


@dataclass
class Package:
    """An epoch key, wrapped for (service, KEM key) pairs. `commit` and `wrapped` may be made to lie."""

    key: SigningKey
    signer: bytes
    to: Sequence[tuple[str, KemKey]]
    secret: bytes = b"\x07" * 32
    not_before_ms: int = 1_800_000_000_000
    not_after_ms: int = 1_800_000_600_000
    scopes: Sequence[str] = ("evt.north.raw.>",)
    suite: int = 1
    commit: bytes | None = None
    wrapped: bytes | None = None
    kind: str = "KeyPackage"

    def body(self) -> bytes:
        commit = self.commit if self.commit is not None else commit_of(self.suite, self.secret)
        package = pb.KeyPackage(
            suite=self.suite,
            signer=self.signer,
            commit=commit,
            not_before_ms=self.not_before_ms,
            not_after_ms=self.not_after_ms,
            subjects=self.scopes,
        )
        for service, kem in self.to:
            key_id = sha256(kem.public_bytes)[:8]
            info = NAMESPACE + b"wrap\0" + self.signer + commit + key_id + service.encode()
            wrapped = self.wrapped or wrap(kem.suite.number, kem.public_bytes, self.secret, info)
            package.to.add(service=service, key_id=key_id, wrapped=wrapped)
        return package.SerializeToString()

    def signed(self) -> tuple[bytes, bytes]:
        """(epoch, serialised SignedObject)."""
        body = self.body()
        return sha256(body), signed_object(self.kind, body, self.key)


@dataclass
class Message:
    epoch: bytes
    plaintext: bytes
    subject: str = "evt.north.raw.hl7v2.17"
    expires_ms: int = 1_800_003_600_000
    subject_seq: int = 1
    secret: bytes = b"\x07" * 32
    index: int | None = None


@dataclass
class Batch:
    key: SigningKey
    signer: bytes
    messages: Sequence[Message]
    suite: int = 1
    run: bytes = b"\x03" * 8
    seq: int = 0
    prev: bytes = b""
    salt: bytes = b"\x05" * 32
    created_ms: int = 1_800_000_000_000
    size: int | None = None
    kdf_suite: int | None = None
    extra_header: bytes = field(default=b"")

    def seal(self) -> list[pb.Envelope]:
        batch = (
            pb.BatchHeader(
                suite=self.suite,
                signer=self.signer,
                seq=self.seq,
                prev=self.prev,
                salt=self.salt,
                size=len(self.messages) if self.size is None else self.size,
                created_ms=self.created_ms,
                run=self.run,
            ).SerializeToString()
            + self.extra_header
        )
        sealed: list[tuple[bytes, bytes]] = []
        for place, message in enumerate(self.messages):
            index = place if message.index is None else message.index
            head = pb.MessageHead(
                index=index,
                epoch=message.epoch,
                subject=message.subject,
                expires_ms=message.expires_ms,
                subject_seq=message.subject_seq,
            ).SerializeToString()
            suite = self.kdf_suite or self.suite
            key = hkdf(suite, message.secret, self.salt, b"batch" + self.signer)
            nonce = index.to_bytes(12, "big")
            text = AESGCM(key).encrypt(nonce, message.plaintext, length(batch) + batch + head)
            sealed.append((head, text))
        leaves = [leaf(batch, head, body) for head, body in sealed]
        sig = self.key.sign(NAMESPACE + b"batch\0" + sha256(batch) + mth(leaves))
        return [
            pb.Envelope(batch=batch, head=head, body=body, path=b"".join(path(i, leaves)), sig=sig)
            for i, (head, body) in enumerate(sealed)
        ]


def opened(
    suite: int, service: str, kem: KemKey, sign_key: bytes, envelope: bytes, package: bytes
) -> bytes:
    """Open as a receiver written from the specification would; returns the plaintext with its padding.

    Checks what makes a message authentic, and none of the receiver's policy.
    """
    from bus.envelope import verify

    shell = pb.Envelope.FromString(envelope)
    batch = pb.BatchHeader.FromString(shell.batch)
    head = pb.MessageHead.FromString(shell.head)
    node = leaf(shell.batch, shell.head, shell.body)
    siblings = [shell.path[at : at + 32] for at in range(0, len(shell.path), 32)]
    place, last = head.index, batch.size - 1
    while last:  # RFC 9162 section 2.1.3.2
        if place & 1 or place < last:
            sibling = siblings.pop(0)
            node = sha256(b"\x01", *((sibling, node) if place & 1 else (node, sibling)))
        place >>= 1
        last >>= 1
    assert not siblings
    verify(suite, sign_key, shell.sig, NAMESPACE + b"batch\0" + sha256(shell.batch) + node)
    outer = pb.SignedObject.FromString(package)
    verify(suite, sign_key, outer.sig, NAMESPACE + b"KeyPackage\0" + outer.body)
    assert sha256(outer.body) == head.epoch
    inner = pb.KeyPackage.FromString(outer.body)
    key_id = sha256(kem.public_bytes)[:8]
    own = next(one for one in inner.to if one.service == service and one.key_id == key_id)
    info = NAMESPACE + b"wrap\0" + inner.signer + inner.commit + key_id + service.encode()
    secret = kem.unwrap(own.wrapped, info)
    assert commit_of(suite, secret) == inner.commit
    key = hkdf(suite, secret, batch.salt, b"batch" + batch.signer)
    bound = length(shell.batch) + shell.batch + shell.head
    return AESGCM(key).decrypt(head.index.to_bytes(12, "big"), shell.body, bound)
