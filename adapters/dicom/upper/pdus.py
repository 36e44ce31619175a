"""The protocol data units of the upper layer (DICOM PS3.8 §9.3) as values, and how each is written. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NewType

from adapters.dicom.uids import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS,
    IMPLEMENTATION_VERSION,
    Uid,
)

AeTitle = NewType("AeTitle", str)
"""1 to 16 characters, without leading and trailing spaces (PS3.5 §6.2, AE)."""

MAX_AE_CHARS: Final = 16
PROTOCOL_VERSION: Final = 1
HEADER_BYTES: Final = 6
PDV_HEADER_BYTES: Final = 6
"""Length (4), presentation context id (1), message control header (1)."""


class PduType(IntEnum):
    """First byte of a PDU."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class ItemType(IntEnum):
    """First byte of an item inside A-ASSOCIATE-RQ and -AC (PS3.8 §9.3.2, annex D; PS3.7 annex D)."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    ANSWERED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS = 0x52
    ASYNCHRONOUS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION = 0x55
    EXTENDED_NEGOTIATION = 0x56
    USER_IDENTITY = 0x58
    USER_IDENTITY_ANSWER = 0x59


class ContextResult(IntEnum):
    """What became of a proposed presentation context (PS3.8 table 9-18)."""

    ACCEPTED = 0
    USER_REJECTED = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One SOP class with the transfer syntaxes that the requestor can use for it."""

    id: int
    """Odd, 1 to 255."""
    abstract_syntax: Uid
    transfer_syntaxes: tuple[Uid, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """What the acceptor made of a proposed context."""

    id: int
    result: int
    transfer_syntax: Uid | None
    """The chosen one; meaningless unless accepted."""


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """Roles of the requestor for a SOP class (PS3.7 annex D.3.3.4)."""

    sop_class: Uid
    is_scu: bool
    is_scp: bool


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor says it is (PS3.7 annex D.3.3.7). A secret: never shown."""

    kind: int
    """1 user name, 2 user name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON web token."""
    wants_answer: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInformation:
    """What both sides say of themselves (PS3.8 annex D, PS3.7 annex D)."""

    max_pdu_bytes: int = 0
    """Largest P-DATA PDU, without its header, that the sender of this can receive; 0: any."""
    implementation_class: Uid | None = IMPLEMENTATION_CLASS
    implementation_version: str = IMPLEMENTATION_VERSION
    window: tuple[int, int] | None = None
    """Operations (invoked, performed) that may be outstanding; 0: any; None: one each."""
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[tuple[Uid, bytes], ...] = ()
    """SOP class extended negotiation."""
    identity: UserIdentity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ."""

    called: AeTitle
    calling: AeTitle
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = UserInformation()
    application_context: Uid = APPLICATION_CONTEXT
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAccept:
    """A-ASSOCIATE-AC. The titles are those of the request, repeated."""

    called: AeTitle
    calling: AeTitle
    contexts: tuple[AnsweredContext, ...]
    user: UserInformation = UserInformation()
    application_context: Uid = APPLICATION_CONTEXT
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT."""

    source: int
    reason: int


_ITEM: Final = struct.Struct(">BxH")
_HEADER: Final = struct.Struct(">BxI")
_ASSOCIATE: Final = struct.Struct(">Hxx16s16s32x")


def write_request(request: AssociateRequest) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    contexts = b"".join(
        _item(
            ItemType.PROPOSED_CONTEXT,
            bytes((context.id, 0, 0, 0))
            + _item(ItemType.ABSTRACT_SYNTAX, context.abstract_syntax.encode())
            + b"".join(
                _item(ItemType.TRANSFER_SYNTAX, syntax.encode())
                for syntax in context.transfer_syntaxes
            ),
        )
        for context in request.contexts
    )
    return _associate(PduType.ASSOCIATE_RQ, request, contexts)


def write_accept(accept: AssociateAccept) -> bytes:
    """An A-ASSOCIATE-AC PDU."""
    contexts = b"".join(
        _item(
            ItemType.ANSWERED_CONTEXT,
            bytes((context.id, 0, context.result, 0))
            + _item(ItemType.TRANSFER_SYNTAX, (context.transfer_syntax or "").encode()),
        )
        for context in accept.contexts
    )
    return _associate(PduType.ASSOCIATE_AC, accept, contexts)


def write_reject(reject: AssociateReject) -> bytes:
    """An A-ASSOCIATE-RJ PDU."""
    return _pdu(PduType.ASSOCIATE_RJ, bytes((0, reject.result, reject.source, reject.reason)))


def write_release_request() -> bytes:
    """An A-RELEASE-RQ PDU."""
    return _pdu(PduType.RELEASE_RQ, bytes(4))


def write_release_reply() -> bytes:
    """An A-RELEASE-RP PDU."""
    return _pdu(PduType.RELEASE_RP, bytes(4))


def write_abort(abort: Abort) -> bytes:
    """An A-ABORT PDU."""
    return _pdu(PduType.ABORT, bytes((0, 0, abort.source, abort.reason)))


_P_DATA: Final = struct.Struct(">BxIIBB")


def p_data_header(context: int, length: int, *, is_command: bool, is_last: bool) -> bytes:
    """What stands before `length` bytes of a fragment that fills one P-DATA-TF PDU alone (PS3.8 §9.3.5, annex E.2)."""
    return _P_DATA.pack(
        PduType.P_DATA,
        length + PDV_HEADER_BYTES,
        length + 2,
        context,
        is_command | is_last << 1,
    )


def _associate(kind: PduType, said: AssociateRequest | AssociateAccept, contexts: bytes) -> bytes:
    head = _ASSOCIATE.pack(said.version, _title(said.called), _title(said.calling))
    name = _item(ItemType.APPLICATION_CONTEXT, said.application_context.encode())
    user = _item(
        ItemType.USER_INFORMATION, _user(said.user, is_request=kind is PduType.ASSOCIATE_RQ)
    )
    return _pdu(kind, head + name + contexts + user)


def _user(user: UserInformation, *, is_request: bool) -> bytes:
    parts = [_item(ItemType.MAXIMUM_LENGTH, struct.pack(">I", user.max_pdu_bytes))]
    if user.implementation_class is not None:
        parts.append(_item(ItemType.IMPLEMENTATION_CLASS, user.implementation_class.encode()))
    if user.window is not None:
        parts.append(_item(ItemType.ASYNCHRONOUS_WINDOW, struct.pack(">HH", *user.window)))
    parts += [_item(ItemType.ROLE_SELECTION, _role(role)) for role in user.roles]
    if user.implementation_version:
        parts.append(_item(ItemType.IMPLEMENTATION_VERSION, user.implementation_version.encode()))
    parts += [
        _item(ItemType.EXTENDED_NEGOTIATION, _counted(name.encode()) + said)
        for name, said in user.extended
    ]
    if user.identity is not None and is_request:
        parts.append(_item(ItemType.USER_IDENTITY, _identity(user.identity)))
    return b"".join(parts)


def _role(role: RoleSelection) -> bytes:
    return _counted(role.sop_class.encode()) + bytes((role.is_scu, role.is_scp))


def _identity(identity: UserIdentity) -> bytes:
    return (
        bytes((identity.kind, identity.wants_answer))
        + _counted(identity.primary)
        + _counted(identity.secondary)
    )


def _counted(raw: bytes) -> bytes:
    return struct.pack(">H", len(raw)) + raw


def _title(title: AeTitle) -> bytes:
    return title.encode("latin-1").ljust(MAX_AE_CHARS)


def _item(kind: ItemType, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _pdu(kind: PduType, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body)) + body


__all__ = [
    "HEADER_BYTES",
    "MAX_AE_CHARS",
    "PDV_HEADER_BYTES",
    "PROTOCOL_VERSION",
    "Abort",
    "AeTitle",
    "AnsweredContext",
    "AssociateAccept",
    "AssociateReject",
    "AssociateRequest",
    "ContextResult",
    "ItemType",
    "PduType",
    "ProposedContext",
    "RoleSelection",
    "UserIdentity",
    "UserInformation",
    "p_data_header",
    "write_abort",
    "write_accept",
    "write_reject",
    "write_release_reply",
    "write_release_request",
    "write_request",
]
