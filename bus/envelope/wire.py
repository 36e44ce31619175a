"""The outer shell of an envelope, in its one valid encoding.

The shell is the protobuf message `medmesh.envelope.v1.Envelope`, but only the encoding that protobuf libraries write is
taken: fields in ascending order, each once, none empty, none unknown, lengths as short as they can be. So no byte of
an envelope can change without being noticed, although the shell itself is not signed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bus.envelope.padding import varint
from bus.envelope.types import Reason, Refused, SealedEnvelope

_TAGS: Final = tuple(number << 3 | 2 for number in range(1, 7))
_LONGEST_PREFIX: Final = 4  # bytes of a length prefix: 256 MiB


class Parts(NamedTuple):
    """The parts of an envelope as they travelled; b"" where one is missing."""

    batch: bytes
    head: bytes
    body: bytes
    path: bytes
    sig: bytes
    key_package: bytes


def field(number: int, value: bytes) -> bytes:
    """One length-delimited field; b"" for an empty value, as proto3 writes it."""
    if not value:
        return b""
    return bytes((number << 3 | 2,)) + varint(len(value)) + value


def join(batch_field: bytes, head: bytes, body: bytes, path: bytes, sig_field: bytes) -> bytes:
    """An envelope of its parts; the two that a batch shares come as fields. `head` and `body` are not empty."""
    return b"".join(
        (
            batch_field,
            b"\x12",
            varint(len(head)),
            head,
            b"\x1a",
            varint(len(body)),
            body,
            field(4, path),
            sig_field,
        )
    )


def split(raw: bytes) -> Parts:
    """Take an envelope apart; nothing of it is trusted. Raises `Refused` (MALFORMED)."""
    try:
        return Parts._make(_fields(raw))
    except (IndexError, ValueError):
        raise Refused(Reason.MALFORMED, "not the encoding of an envelope") from None


def _fields(raw: bytes) -> list[bytes]:
    parts: list[bytes] = []
    at, end = 0, len(raw)
    for tag in _TAGS:
        if at == end or raw[at] != tag:
            parts.append(b"")
            continue
        size = raw[at + 1]
        at += 2
        if size > 127:
            size, at = _long_size(raw, at, size)
        start = at
        at += size
        if not size or at > end:
            raise ValueError
        parts.append(raw[start:at])
    if at != end:
        raise ValueError
    return parts


def _long_size(raw: bytes, at: int, first: int) -> tuple[int, int]:
    size = first & 127
    for prefix in range(1, _LONGEST_PREFIX):
        byte = raw[at]
        at += 1
        size |= (byte & 127) << 7 * prefix
        if byte < 128:
            if not byte:
                raise ValueError
            return size, at
    raise ValueError


def standalone(envelope: bytes, key_package: bytes) -> SealedEnvelope:
    """The self-contained form for archives and dead letters: the envelope with its signed key package inline.

    Raises `Refused` (MALFORMED) when `envelope` is none. A key package that was inline before is replaced.
    """
    parts = split(envelope)
    return SealedEnvelope(
        b"".join(field(number, part) for number, part in enumerate(parts[:5], 1))
        + field(6, key_package)
    )


__all__ = ["Parts", "field", "join", "split", "standalone"]
