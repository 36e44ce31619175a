"""Cuts what comes from a peer into PDUs and fragments (DICOM PS3.8 §9.3), checking every length before a byte is kept.

An A-ASSOCIATE PDU is put together up to `max_associate_bytes`; P-DATA is passed on as it comes and never kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from adapters.dicom.upper.errors import AbortReason, ProtocolViolation
from adapters.dicom.upper.events import Fragment
from adapters.dicom.upper.pdus import HEADER_BYTES, PDV_HEADER_BYTES, PduType

_HEADER: Final = struct.Struct(">BxI")
_PDV: Final = struct.Struct(">IBB")
_SHORT_BYTES: Final = 4
"""Length of every PDU besides A-ASSOCIATE-RQ, -AC and P-DATA."""
_LONG: Final = (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of what a peer may send."""

    max_pdu_bytes: int = 131_072
    """Of a P-DATA PDU without its header; announced to the peer. 0 (any) is not allowed here."""
    max_associate_bytes: int = 65_536


@dataclass(frozen=True, slots=True)
class Whole:
    """A PDU other than P-DATA, without its header."""

    kind: PduType
    body: bytes = field(repr=False)


Admit: TypeAlias = Callable[[PduType], None]
"""Raises `ProtocolViolation` when a PDU of this type may not come now."""


@dataclass(slots=True)
class _Value:
    """The presentation data value that is being passed on."""

    context: int
    is_command: bool
    is_last: bool
    left: int
    """Bytes of it that are still to come."""

    def piece(self, chunk: memoryview, position: int) -> Fragment:
        data = chunk[position : position + self.left]
        self.left -= len(data)
        is_last = self.is_last and not self.left
        return Fragment(self.context, self.is_command, is_last, data)


class PduReader:
    """The incoming bytes of one association."""

    def __init__(self, limits: Limits, admit: Admit, contexts: Container[int]) -> None:
        self._limits = limits
        self._admit = admit
        self._contexts = contexts
        self._pending = bytearray()
        """The beginning of a PDU header, of a value's header or of a PDU that is put together."""
        self._step: Callable[[bytes], Whole | Fragment | None] = self._on_pdu_header
        """What to do with the next `_wanted` bytes."""
        self._wanted = HEADER_BYTES
        self._kind = PduType.ABORT
        self._pdu_left = 0
        """Bytes of the present P-DATA PDU behind the present value."""
        self._value: _Value | None = None

    def read(self, chunk: memoryview) -> Iterator[Whole | Fragment]:
        """What the bytes hold; take all of it before reading more. Raises `ProtocolViolation`."""
        position, end = 0, len(chunk)
        while position < end:
            value = self._value
            if value is not None:
                fragment = value.piece(chunk, position)
                position += len(fragment.data)
                if not value.left:
                    self._end_value()
                yield fragment
                continue
            taken = chunk[position : position + self._wanted - len(self._pending)]
            position += len(taken)
            self._pending += taken
            if len(self._pending) == self._wanted:
                raw = bytes(self._pending)
                self._pending.clear()
                found = self._step(raw)
                if found is not None:
                    yield found

    def _next(self, step: Callable[[bytes], Whole | Fragment | None], wanted: int) -> None:
        self._step, self._wanted = step, wanted

    def _on_pdu_header(self, raw: bytes) -> None:
        number, length = _HEADER.unpack(raw)
        try:
            self._kind = PduType(number)
        except ValueError:
            raise ProtocolViolation(
                f"a PDU of type {number:02X}H, which PS3.8 does not have",
                AbortReason.UNRECOGNIZED_PDU,
            ) from None
        self._admit(self._kind)
        least, most = self._bounds()
        if not least <= length <= most:
            raise ProtocolViolation(
                f"an {self._kind.name} PDU of {length} bytes; {least} to {most} are allowed"
            )
        if self._kind is PduType.P_DATA:
            self._pdu_left = length
            self._next(self._on_value_header, PDV_HEADER_BYTES)
        else:
            self._next(self._on_body, length)

    def _bounds(self) -> tuple[int, int]:
        if self._kind is PduType.P_DATA:
            return PDV_HEADER_BYTES, self._limits.max_pdu_bytes
        return _SHORT_BYTES, self._limits.max_associate_bytes if self._kind in _LONG else 4

    def _on_body(self, raw: bytes) -> Whole:
        self._next(self._on_pdu_header, HEADER_BYTES)
        return Whole(self._kind, raw)

    def _on_value_header(self, raw: bytes) -> Fragment | None:
        length, context, control = _PDV.unpack(raw)
        left = self._pdu_left - PDV_HEADER_BYTES
        if not 2 <= length <= left + 2:
            raise ProtocolViolation(
                f"a presentation data value of {length} bytes where {left + 2} are left"
            )
        if context not in self._contexts:
            raise ProtocolViolation(f"presentation context {context}, which was not accepted")
        self._pdu_left = left - (length - 2)
        if 0 < self._pdu_left < PDV_HEADER_BYTES:
            raise ProtocolViolation(f"{self._pdu_left} bytes behind the last value of a P-DATA PDU")
        value = _Value(context, bool(control & 1), bool(control & 2), length - 2)
        if value.left:
            self._value = value
            return None
        self._end_value()
        return value.piece(memoryview(b""), 0)

    def _end_value(self) -> None:
        self._value = None
        if self._pdu_left:
            self._next(self._on_value_header, PDV_HEADER_BYTES)
        else:
            self._next(self._on_pdu_header, HEADER_BYTES)


__all__ = ["Admit", "Limits", "PduReader", "Whole"]
