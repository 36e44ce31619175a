"""Signed objects: certificates, key packages, directory heads.

As with DSSE, the signed part travels as opaque bytes together with its kind; it is verified as received and parsed
only afterwards. The kind is part of what is signed, so an object of one kind never passes for another.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError

from bus.envelope.suites import NAMESPACE, SigningKey, verify
from bus.envelope.types import Reason, Refused
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

_RESERVED_KIND: Final = "batch"  # the domain of batch signatures


def batch_signing_input(header: bytes, root: bytes) -> bytes:
    """What the signature of a batch covers: domain || SHA-256(serialised BatchHeader) || Merkle root."""
    return NAMESPACE + b"batch\0" + sha256(header).digest() + root


def _signed_bytes(kind: str, body: bytes) -> bytes:
    if not kind or kind == _RESERVED_KIND or "\0" in kind:
        raise ValueError(f"{kind!r} cannot be the kind of a signed object")
    return NAMESPACE + kind.encode() + b"\0" + body


def sign_object(kind: str, body: bytes, key: SigningKey) -> bytes:
    """Sign `body` as an object of `kind` and return the serialised SignedObject.

    Raises `ValueError` for a kind that is empty, holds a zero byte, or is "batch" (the domain of batch signatures).
    """
    signature = key.sign(_signed_bytes(kind, body))
    return pb.SignedObject(kind=kind, body=body, sig=signature).SerializeToString()


def open_object(kind: str, raw: bytes, suite: int, public_key: bytes, *, max_bytes: int) -> bytes:
    """Verify a serialised SignedObject of `kind` and return its body, byte for byte as it was signed.

    Raises `Refused`: TOO_LARGE above `max_bytes`, MALFORMED for anything that is no object of this kind,
    BAD_SIGNATURE, SUITE_NOT_ALLOWED.
    """
    if len(raw) > max_bytes:
        raise Refused(
            Reason.TOO_LARGE, f"{kind} has {len(raw)} bytes; at most {max_bytes} are allowed"
        )
    try:
        signed = pb.SignedObject.FromString(raw)
    except DecodeError:
        raise Refused(Reason.MALFORMED, f"no signed object of kind {kind}") from None
    if signed.kind != kind:
        raise Refused(Reason.MALFORMED, f"a signed object of another kind than {kind}")
    verify(suite, public_key, signed.sig, _signed_bytes(kind, signed.body))
    return signed.body


__all__ = ["batch_signing_input", "open_object", "sign_object"]
