"""Messages from fragments (DICOM PS3.7 §6.3, PS3.8 annex E): a command set, then pieces of its data set. Pure.

A data set is never put together here: its pieces are passed on as they come.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.dicom.dimse.commands import MAX_COMMAND_BYTES, Command, read_command
from adapters.dicom.upper.errors import AbortReason, ProtocolViolation
from adapters.dicom.upper.events import Fragment


@dataclass(frozen=True, slots=True)
class Began:
    """A command set is complete; pieces of its data set follow when it has one."""

    context: int
    command: Command


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the data set of the command that came last. The view is valid only until more bytes are fed."""

    data: memoryview = field(repr=False)
    is_last: bool


Part: TypeAlias = Began | Piece


class Assembler:
    """The incoming messages of one association."""

    def __init__(self, *, max_command_bytes: int = MAX_COMMAND_BYTES) -> None:
        self._max_command_bytes = max_command_bytes
        self._command = bytearray()
        self._context: int | None = None
        """Of the message that is being received; None between messages."""
        self._in_data_set = False

    @property
    def is_between(self) -> bool:
        """Whether no message is partly received."""
        return self._context is None

    def add(self, fragment: Fragment) -> Part | None:
        """What the fragment completes or carries. Raises `ProtocolViolation`."""
        if self._context is not None and fragment.context != self._context:
            raise ProtocolViolation(
                f"presentation context {fragment.context} inside a message of context {self._context}"
            )
        if fragment.is_command is self._in_data_set:
            raise ProtocolViolation(
                "a command set inside a data set"
                if self._in_data_set
                else "a data set without a command that has one",
                AbortReason.UNEXPECTED_PARAMETER,
            )
        if self._in_data_set:
            if fragment.is_last:
                self._in_data_set, self._context = False, None
            return Piece(fragment.data, fragment.is_last)
        return self._add_command(fragment)

    def _add_command(self, fragment: Fragment) -> Began | None:
        if len(self._command) + len(fragment.data) > self._max_command_bytes:
            raise ProtocolViolation(f"a command set of more than {self._max_command_bytes} bytes")
        self._context = fragment.context
        self._command += fragment.data
        if not fragment.is_last:
            return None
        command = read_command(bytes(self._command))
        self._command.clear()
        self._in_data_set = command.has_data_set
        if not command.has_data_set:
            self._context = None
        return Began(fragment.context, command)


__all__ = ["Assembler", "Began", "Part", "Piece"]
