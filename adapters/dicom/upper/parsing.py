"""Reads A-ASSOCIATE, A-RELEASE and A-ABORT PDUs of a peer (DICOM PS3.8 §9.3). Pure; raises `ProtocolViolation` alone.

Unknown items are passed over, as PS3.8 §9.3.1 asks; reserved bytes are not tested.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from adapters.dicom.uids import BadUid, Uid, uid_of
from adapters.dicom.upper.errors import AbortReason, ProtocolViolation
from adapters.dicom.upper.pdus import (
    PDV_HEADER_BYTES,
    Abort,
    AeTitle,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ItemType,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    UserInformation,
)

_FIXED_BYTES: Final = 68
"""Version, titles and reserved bytes before the first item of an A-ASSOCIATE PDU."""
_CONTEXT_HEAD_BYTES: Final = 4
_MAX_CONTEXTS: Final = 128


def read_request(body: bytes) -> AssociateRequest:
    """An A-ASSOCIATE-RQ without its six header bytes."""
    version, called, calling = _head(body)
    items = list(_items(body, _FIXED_BYTES))
    contexts = tuple(_proposed(raw) for kind, raw in items if kind == ItemType.PROPOSED_CONTEXT)
    _check_ids([context.id for context in contexts])
    return AssociateRequest(
        version=version,
        called=called,
        calling=calling,
        application_context=_application_context(items),
        contexts=contexts,
        user=_user(items),
    )


def read_accept(body: bytes) -> AssociateAccept:
    """An A-ASSOCIATE-AC without its six header bytes."""
    version, called, calling = _head(body)
    items = list(_items(body, _FIXED_BYTES))
    contexts = tuple(_answered(raw) for kind, raw in items if kind == ItemType.ANSWERED_CONTEXT)
    _check_ids([context.id for context in contexts])
    return AssociateAccept(
        version=version,
        called=called,
        calling=calling,
        application_context=_application_context(items),
        contexts=contexts,
        user=_user(items),
    )


def read_reject(body: bytes) -> AssociateReject:
    """An A-ASSOCIATE-RJ without its six header bytes."""
    _, result, source, reason = _four(body)
    return AssociateReject(result, source, reason)


def read_abort(body: bytes) -> Abort:
    """An A-ABORT without its six header bytes."""
    _, _, source, reason = _four(body)
    return Abort(source, reason)


def _four(body: bytes) -> tuple[int, int, int, int]:
    if len(body) != 4:
        raise ProtocolViolation(f"a PDU of {len(body)} bytes where PS3.8 has 4")
    return body[0], body[1], body[2], body[3]


def _head(body: bytes) -> tuple[int, AeTitle, AeTitle]:
    if len(body) < _FIXED_BYTES:
        raise ProtocolViolation(
            f"an A-ASSOCIATE PDU of {len(body)} bytes; it has {_FIXED_BYTES} at least"
        )
    version: int = struct.unpack_from(">H", body)[0]
    return version, _title(body[4:20]), _title(body[20:36])


def _title(raw: bytes) -> AeTitle:
    bare = raw.strip(b" \0")
    if any(byte < 0x20 or byte > 0x7E or byte == 0x5C for byte in bare):
        raise ProtocolViolation("an AE title with characters that PS3.5 does not allow (AE)")
    return AeTitle(bare.decode("ascii"))


def _items(raw: bytes, position: int = 0) -> Iterator[tuple[int, bytes]]:
    while position < len(raw):
        if position + 4 > len(raw):
            raise ProtocolViolation(f"{len(raw) - position} bytes behind the last item of a PDU")
        kind, length = struct.unpack_from(">BxH", raw, position)
        position += 4
        if position + length > len(raw):
            raise ProtocolViolation(
                f"item {kind:02X}H says {length} bytes where {len(raw) - position} are left"
            )
        yield kind, raw[position : position + length]
        position += length


def _uid(raw: bytes) -> Uid:
    try:
        return uid_of(raw)
    except BadUid as error:
        raise ProtocolViolation(str(error)) from error


def _application_context(items: list[tuple[int, bytes]]) -> Uid:
    for kind, raw in items:
        if kind == ItemType.APPLICATION_CONTEXT:
            return _uid(raw)
    raise ProtocolViolation("an A-ASSOCIATE PDU without an application context item")


def _check_ids(ids: list[int]) -> None:
    if len(ids) > _MAX_CONTEXTS or len(set(ids)) != len(ids):
        raise ProtocolViolation(
            f"{len(ids)} presentation contexts, {len(set(ids))} different; at most {_MAX_CONTEXTS}, all different"
        )


def _context_head(raw: bytes) -> int:
    if len(raw) < _CONTEXT_HEAD_BYTES:
        raise ProtocolViolation(f"a presentation context item of {len(raw)} bytes")
    if not raw[0] & 1:
        raise ProtocolViolation(f"presentation context id {raw[0]}; ids are odd")
    return raw[0]


def _proposed(raw: bytes) -> ProposedContext:
    identifier = _context_head(raw)
    abstract: Uid | None = None
    transfers: list[Uid] = []
    for kind, value in _items(raw, _CONTEXT_HEAD_BYTES):
        if kind == ItemType.ABSTRACT_SYNTAX and abstract is None:
            abstract = _uid(value)
        elif kind == ItemType.TRANSFER_SYNTAX:
            transfers.append(_uid(value))
    if abstract is None or not transfers:
        raise ProtocolViolation(
            f"presentation context {identifier} without an abstract syntax or a transfer syntax"
        )
    return ProposedContext(identifier, abstract, tuple(transfers))


def _answered(raw: bytes) -> AnsweredContext:
    identifier, result = _context_head(raw), raw[2]
    transfer: Uid | None = None
    if result == ContextResult.ACCEPTED:
        found = [value for kind, value in _items(raw, 4) if kind == ItemType.TRANSFER_SYNTAX]
        if len(found) != 1:
            raise ProtocolViolation(
                f"presentation context {identifier} accepted with {len(found)} transfer syntaxes"
            )
        transfer = _uid(found[0])
    return AnsweredContext(identifier, result, transfer)


def _user(items: list[tuple[int, bytes]]) -> UserInformation:
    raw = next((raw for kind, raw in items if kind == ItemType.USER_INFORMATION), b"")
    max_pdu, implementation, version = 0, None, ""
    window: tuple[int, int] | None = None
    roles: list[RoleSelection] = []
    extended: list[tuple[Uid, bytes]] = []
    identity: UserIdentity | None = None
    for kind, value in _items(raw):
        if kind == ItemType.MAXIMUM_LENGTH:
            (max_pdu,) = _unpacked(">I", value)
            if 0 < max_pdu <= PDV_HEADER_BYTES:
                raise ProtocolViolation(
                    f"a maximum PDU length of {max_pdu} bytes: no message fits into it"
                )
        elif kind == ItemType.IMPLEMENTATION_CLASS:
            implementation = _uid(value)
        elif kind == ItemType.IMPLEMENTATION_VERSION:
            version = value.decode("latin-1").strip()
        elif kind == ItemType.ASYNCHRONOUS_WINDOW:
            invoked, performed = _unpacked(">HH", value)
            window = (invoked, performed)
        elif kind == ItemType.ROLE_SELECTION:
            name, rest = _counted(value)
            is_scu, is_scp = _unpacked(">BB", rest)
            roles.append(RoleSelection(_uid(name), bool(is_scu), bool(is_scp)))
        elif kind == ItemType.EXTENDED_NEGOTIATION:
            name, rest = _counted(value)
            extended.append((_uid(name), rest))
        elif kind == ItemType.USER_IDENTITY:
            identity = _identity(value)
    return UserInformation(
        max_pdu_bytes=max_pdu,
        implementation_class=implementation,
        implementation_version=version,
        window=window,
        roles=tuple(roles),
        extended=tuple(extended),
        identity=identity,
    )


def _identity(raw: bytes) -> UserIdentity:
    if len(raw) < 2:
        raise ProtocolViolation(f"a user identity item of {len(raw)} bytes")
    primary, rest = _counted(raw[2:])
    secondary, _ = _counted(rest)
    return UserIdentity(raw[0], bool(raw[1]), primary, secondary)


def _counted(raw: bytes) -> tuple[bytes, bytes]:
    if len(raw) < 2 or len(raw) < 2 + int.from_bytes(raw[:2], "big"):
        raise ProtocolViolation(f"a counted field that overruns its item of {len(raw)} bytes")
    end = 2 + int.from_bytes(raw[:2], "big")
    return raw[2:end], raw[end:]


def _unpacked(shape: str, raw: bytes) -> tuple[int, ...]:
    if len(raw) != struct.calcsize(shape):
        raise ProtocolViolation(
            f"an item of {len(raw)} bytes where PS3.8 has {struct.calcsize(shape)}",
            AbortReason.INVALID_PARAMETER,
        )
    return struct.unpack(shape, raw)


__all__ = ["read_abort", "read_accept", "read_reject", "read_request"]
