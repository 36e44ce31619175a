"""Command sets (DICOM PS3.7 §6.3, annex E): group 0000, implicit VR little endian, as values and as bytes. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

from adapters.dicom.uids import BadUid, Uid, uid_of
from adapters.dicom.upper.errors import ProtocolViolation

MAX_COMMAND_BYTES: Final = 65_536
NO_DATA_SET: Final = 0x0101
"""Value of (0000,0800) when no data set follows; any other value says that one does."""
_HAS_DATA_SET: Final = 0x0001
_RESPONSE: Final = 0x8000


class CommandField(IntEnum):
    """(0000,0100) (PS3.7 table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self & _RESPONSE)

    @property
    def response(self) -> CommandField:
        """The field of the answer to this request; C-CANCEL has none: `ValueError`."""
        return CommandField(self | _RESPONSE)


class Priority(IntEnum):
    """(0000,0700)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


Tags: TypeAlias = tuple[tuple[int, int], ...]
"""(group, element) pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set. What is None or empty is not written."""

    field: CommandField
    message_id: int | None = None
    """Of a request, 0 to 65535."""
    responds_to: int | None = None
    """Of a response and of C-CANCEL: the message id of the request."""
    has_data_set: bool = False
    status: int | None = None
    priority: int | None = None
    affected_class: Uid | None = None
    requested_class: Uid | None = None
    affected_instance: Uid | None = None
    requested_instance: Uid | None = None
    move_destination: str | None = None
    move_originator: str | None = None
    move_originator_message: int | None = None
    remaining: int | None = None
    """Sub-operations of C-MOVE and C-GET; also `completed`, `failed`, `warned`."""
    completed: int | None = None
    failed: int | None = None
    warned: int | None = None
    event_type: int | None = None
    action_type: int | None = None
    attributes: Tags = ()
    offending: Tags = ()
    error_comment: str | None = None
    """At most 64 characters go on the wire."""
    error_id: int | None = None

    @property
    def sop_class(self) -> Uid | None:
        """The class that it is about, whichever element says so."""
        return self.affected_class or self.requested_class

    @property
    def sop_instance(self) -> Uid | None:
        """The instance that it is about, whichever element says so."""
        return self.affected_instance or self.requested_instance


def _short(raw: bytes) -> int:
    if len(raw) != 2:
        raise ProtocolViolation(f"a US element of {len(raw)} bytes in a command set; it has 2")
    return int.from_bytes(raw, "little")


def _uid(raw: bytes) -> Uid | None:
    try:
        return uid_of(raw) if raw.strip(b"\0 ") else None
    except BadUid as error:
        raise ProtocolViolation(f"a command set: {error}") from error


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


def _tags(raw: bytes) -> Tags:
    if len(raw) % 4:
        raise ProtocolViolation(f"an AT element of {len(raw)} bytes in a command set")
    return tuple(struct.iter_unpack("<HH", raw))


def _write_short(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _write_uid(value: str) -> bytes:
    raw = value.encode("ascii")
    return raw + b"\0" * (len(raw) & 1)


def _write_text(value: str) -> bytes:
    raw = value.encode("latin-1", "replace")[:64]
    return raw + b" " * (len(raw) & 1)


def _write_tags(value: Tags) -> bytes:
    return b"".join(struct.pack("<HH", *tag) for tag in value)


@dataclass(frozen=True, slots=True)
class _Kind:
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


_US: Final = _Kind(_short, _write_short)
_UI: Final = _Kind(_uid, _write_uid)
_LO: Final = _Kind(_text, _write_text)
_AT: Final = _Kind(_tags, _write_tags)

_ELEMENTS: Final[dict[int, tuple[str, _Kind]]] = {
    0x0002: ("affected_class", _UI),
    0x0003: ("requested_class", _UI),
    0x0100: ("field", _US),
    0x0110: ("message_id", _US),
    0x0120: ("responds_to", _US),
    0x0600: ("move_destination", _LO),
    0x0700: ("priority", _US),
    0x0800: ("has_data_set", _US),
    0x0900: ("status", _US),
    0x0901: ("offending", _AT),
    0x0902: ("error_comment", _LO),
    0x0903: ("error_id", _US),
    0x1000: ("affected_instance", _UI),
    0x1001: ("requested_instance", _UI),
    0x1002: ("event_type", _US),
    0x1005: ("attributes", _AT),
    0x1008: ("action_type", _US),
    0x1020: ("remaining", _US),
    0x1021: ("completed", _US),
    0x1022: ("failed", _US),
    0x1023: ("warned", _US),
    0x1030: ("move_originator", _LO),
    0x1031: ("move_originator_message", _US),
}
"""Elements of group 0000 by number, in the order in which they are written (PS3.7 table E.1-1)."""

_ELEMENT: Final = struct.Struct("<HHI")


def read_command(raw: bytes) -> Command:
    """A command set. Unknown elements of group 0000 are passed over. Raises `ProtocolViolation`."""
    found: dict[str, Any] = {}
    position = 0
    while position < len(raw):
        if position + _ELEMENT.size > len(raw):
            raise ProtocolViolation("a command set that ends inside an element")
        group, element, length = _ELEMENT.unpack_from(raw, position)
        position += _ELEMENT.size
        if group or length > len(raw) - position:
            raise ProtocolViolation(
                f"element ({group:04X},{element:04X}) says {length} bytes where {len(raw) - position} are left"
            )
        known = _ELEMENTS.get(element)
        if known is not None:
            name, kind = known
            found[name] = kind.read(raw[position : position + length])
        position += length
    return _checked(found)


def _checked(found: dict[str, Any]) -> Command:
    try:
        found["field"] = CommandField(found["field"])
    except KeyError:
        raise ProtocolViolation("a command set without a command field (0000,0100)") from None
    except ValueError:
        raise ProtocolViolation(
            f"command field {found['field']:04X}H, which PS3.7 does not have"
        ) from None
    command = Command(
        **{**found, "has_data_set": found.get("has_data_set", NO_DATA_SET) != NO_DATA_SET}
    )
    answers = command.field.is_response or command.field is CommandField.C_CANCEL_RQ
    if (command.responds_to if answers else command.message_id) is None:
        raise ProtocolViolation(f"a {command.field.name} without its message id")
    if command.field.is_response and command.status is None:
        raise ProtocolViolation(f"a {command.field.name} without a status")
    return command


def write_command(command: Command) -> bytes:
    """The command set, with its group length."""
    parts: list[bytes] = []
    for element, (name, kind) in _ELEMENTS.items():
        value = getattr(command, name)
        if name == "has_data_set":
            value = _HAS_DATA_SET if value else NO_DATA_SET
        elif value is None or value == ():
            continue
        raw = kind.write(value)
        parts.append(_ELEMENT.pack(0, element, len(raw)) + raw)
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


__all__ = [
    "MAX_COMMAND_BYTES",
    "NO_DATA_SET",
    "Command",
    "CommandField",
    "Priority",
    "Tags",
    "read_command",
    "write_command",
]
