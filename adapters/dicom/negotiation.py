"""Which presentation contexts an acceptor takes (DICOM PS3.8 §7.1.1.13, PS3.7 annex D.3). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from adapters.dicom.uids import (
    APPLICATION_CONTEXT,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    Uid,
)
from adapters.dicom.upper.errors import RejectResult, RejectSource
from adapters.dicom.upper.pdus import (
    PROTOCOL_VERSION,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    RoleSelection,
    UserInformation,
)

LITTLE_ENDIAN: Final = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """How the acceptor supports a SOP class."""

    transfer_syntaxes: Sequence[Uid] = LITTLE_ENDIAN
    """In the acceptor's order of preference; empty: whichever the requestor proposed first and `takes` allows."""
    takes: Callable[[Uid], bool] = lambda syntax: True
    as_scp: bool = True
    """The requestor may be its user (the usual role)."""
    as_scu: bool = False
    """The requestor may be its provider, by role selection (C-GET's C-STORE, storage commitment's reports)."""


Supports: TypeAlias = Callable[[Uid], Support | None]
"""SOP class to how it is supported; None: not at all."""


def answer(
    request: AssociateRequest, supports: Supports, *, max_pdu_bytes: int, max_window: int = 1
) -> AssociateAccept:
    """The acceptance of a request: each context answered, roles and window as far as both sides go."""
    proposed_roles = {role.sop_class: role for role in request.user.roles}
    roles = tuple(
        RoleSelection(name, role.is_scu and support.as_scp, role.is_scp and support.as_scu)
        for name, role in proposed_roles.items()
        if (support := supports(name)) is not None
    )
    return AssociateAccept(
        called=request.called,
        calling=request.calling,
        contexts=tuple(
            _answered(context, supports(context.abstract_syntax)) for context in request.contexts
        ),
        user=UserInformation(
            max_pdu_bytes=max_pdu_bytes,
            window=_window(request.user.window, max_window),
            roles=roles,
        ),
    )


def unacceptable(request: AssociateRequest) -> AssociateReject | None:
    """The rejection of a request that speaks of another protocol; None when it can be considered."""
    if not request.version & PROTOCOL_VERSION:
        return AssociateReject(RejectResult.PERMANENT, RejectSource.ACSE, 2)
    if request.application_context != APPLICATION_CONTEXT:
        return AssociateReject(RejectResult.PERMANENT, RejectSource.USER, 2)
    return None


def _answered(context: ProposedContext, support: Support | None) -> AnsweredContext:
    if support is None:
        return _refused(context, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)
    order = support.transfer_syntaxes or context.transfer_syntaxes
    for syntax in order:
        if syntax in context.transfer_syntaxes and support.takes(syntax):
            return AnsweredContext(context.id, ContextResult.ACCEPTED, syntax)
    return _refused(context, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)


def _refused(context: ProposedContext, result: ContextResult) -> AnsweredContext:
    return AnsweredContext(context.id, result, context.transfer_syntaxes[0])


def _window(offered: tuple[int, int] | None, most: int) -> tuple[int, int] | None:
    """(invoked, performed) of the requestor, cut to what the acceptor takes; 0 offers any number."""
    if offered is None:
        return None
    invoked, performed = offered
    return (min(invoked, most) if invoked else most, min(performed, most) if performed else most)


__all__ = ["LITTLE_ENDIAN", "Support", "Supports", "answer", "unacceptable"]
