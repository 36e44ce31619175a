"""The outer shell of an envelope, in its one valid encoding."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from bus.envelope.types import Reason, Refused, SealedEnvelope
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb

Parts = tuple[bytes, bytes, bytes, bytes, bytes, bytes]
"""batch, head, body, path, sig, key_package as they travelled; b"" where one is missing."""


def split(raw: bytes) -> Parts:
    """Take an envelope apart; nothing of it is trusted. Raises `Refused` (MALFORMED).

    Only the encoding that protobuf libraries write is taken: fields in ascending order, each once, none empty, none
    unknown, lengths as short as they can be. So no byte of an envelope can change unnoticed, although the shell itself
    is not signed. A new field is a new version of the format.
    """
    try:
        shell = pb.Envelope.FromString(raw)
    except DecodeError:
        raise Refused(Reason.MALFORMED, "not the encoding of an envelope") from None
    shell.DiscardUnknownFields()
    if shell.SerializeToString() != raw:
        raise Refused(Reason.MALFORMED, "not the one valid encoding of its parts")
    return shell.batch, shell.head, shell.body, shell.path, shell.sig, shell.key_package


def join(batch: bytes, head: bytes, body: bytes, path: bytes, sig: bytes) -> SealedEnvelope:
    """Put an envelope together."""
    shell = pb.Envelope(batch=batch, head=head, body=body, path=path, sig=sig)
    return SealedEnvelope(shell.SerializeToString())


def standalone(envelope: bytes, key_package: bytes) -> SealedEnvelope:
    """The self-contained form for archives and dead letters: the envelope with its signed key package inline.

    Raises `Refused` (MALFORMED) when `envelope` is none. A key package that was inline before is replaced.
    """
    try:
        shell = pb.Envelope.FromString(envelope)
    except DecodeError:
        raise Refused(Reason.MALFORMED, "not the encoding of an envelope") from None
    shell.key_package = key_package
    return SealedEnvelope(shell.SerializeToString())


__all__ = ["Parts", "join", "split", "standalone"]
