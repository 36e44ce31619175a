"""The upper layer's state machine for one association (DICOM PS3.8 §9.2), without sockets and without time.

Bytes go in by `feed`, which yields events; what is to be sent stands in `outgoing`. How long a state may last (ARTIM
and the rest) is for whoever feeds to watch: `state` says what is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from adapters.dicom.uids import Uid
from adapters.dicom.upper import events, parsing, pdus
from adapters.dicom.upper.errors import AbortReason, AbortSource, ProtocolViolation
from adapters.dicom.upper.framing import Limits, PduReader, Whole
from adapters.dicom.upper.pdus import (
    Abort,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    PduType,
    ProposedContext,
)
from schemas.errors import MeshError


class State(Enum):
    """States of PS3.8 §9.2.1; 1 and 4 are those of the connection before the machine begins."""

    AWAITING_REQUEST = "Sta2"
    AWAITING_DECISION = "Sta3"
    AWAITING_ANSWER = "Sta5"
    ESTABLISHED = "Sta6"
    RELEASING = "Sta7"
    """We asked to end."""
    RELEASE_ASKED = "Sta8"
    """The peer asked to end."""
    COLLIDED_AWAITING_LOCAL = "Sta9"
    """Both asked, we are the requestor: our reply comes first."""
    COLLIDED_AWAITING_PEER = "Sta10"
    """Both asked, we are the acceptor: the peer's reply comes first."""
    COLLIDED_REPLIED = "Sta11"
    """Both asked, we are the requestor and have replied."""
    COLLIDED_TO_REPLY = "Sta12"
    """Both asked, we are the acceptor and have the peer's reply."""
    CLOSING = "Sta13"
    """Nothing more is read; the connection is to be closed."""


class WrongState(MeshError, RuntimeError):
    """A local call that the state of the association does not allow: a fault of the caller."""

    code = "dicom_wrong_state"


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    id: int
    abstract_syntax: Uid
    transfer_syntax: Uid


_EXPECTED: Final[Mapping[PduType, frozenset[State]]] = {
    PduType.ASSOCIATE_RQ: frozenset({State.AWAITING_REQUEST}),
    PduType.ASSOCIATE_AC: frozenset({State.AWAITING_ANSWER}),
    PduType.ASSOCIATE_RJ: frozenset({State.AWAITING_ANSWER}),
    PduType.P_DATA: frozenset({State.ESTABLISHED, State.RELEASING}),
    PduType.RELEASE_RQ: frozenset({State.ESTABLISHED, State.RELEASING}),
    PduType.RELEASE_RP: frozenset(
        {State.RELEASING, State.COLLIDED_AWAITING_PEER, State.COLLIDED_REPLIED}
    ),
    PduType.ABORT: frozenset(State) - {State.CLOSING},
}
"""In which states a PDU may come (PS3.8 table 9-10); anywhere else it is answered by A-ABORT."""

_AGREED: Final = {
    State.RELEASE_ASKED: State.CLOSING,
    State.COLLIDED_AWAITING_LOCAL: State.COLLIDED_REPLIED,
    State.COLLIDED_TO_REPLY: State.CLOSING,
}
"""Where our A-RELEASE-RP leads."""

_AGREED_BY_PEER: Final = {
    State.RELEASING: State.CLOSING,
    State.COLLIDED_AWAITING_PEER: State.COLLIDED_TO_REPLY,
    State.COLLIDED_REPLIED: State.CLOSING,
}
"""Where the peer's A-RELEASE-RP leads."""


class Machine:
    """One association, seen from one side."""

    def __init__(self, limits: Limits) -> None:
        self.state = State.AWAITING_REQUEST
        self.outgoing = bytearray()
        """Bytes to be sent, in order; whoever sends them clears it."""
        self.contexts: dict[int, Context] = {}
        self.peer_max_pdu_bytes = 0
        """Largest P-DATA PDU that the peer takes; 0: any."""
        self.had_last_word = False
        """Whether it was we who ended: then the peer closes the connection (Sta13)."""
        self._request: AssociateRequest | None = None
        self._is_requestor = False
        self._reader = PduReader(limits, self._admit, self.contexts)

    # what we say

    def request(self, request: AssociateRequest) -> None:
        """Ask for an association; the machine is the requestor's from here on."""
        self._need(State.AWAITING_REQUEST)
        self._request, self._is_requestor = request, True
        self.outgoing += pdus.write_request(request)
        self.state = State.AWAITING_ANSWER

    def accept(self, accept: AssociateAccept) -> None:
        """Take the association that was requested."""
        self._need(State.AWAITING_DECISION)
        self._establish(accept.contexts, self._requested.user.max_pdu_bytes)
        self.outgoing += pdus.write_accept(accept)

    def reject(self, reject: AssociateReject) -> None:
        """Refuse the association that was requested."""
        self._need(State.AWAITING_DECISION)
        self.outgoing += pdus.write_reject(reject)
        self.state, self.had_last_word = State.CLOSING, True

    def release(self) -> None:
        """Ask to end, or agree to the peer's wish to end."""
        if self.state is State.ESTABLISHED:
            self.outgoing += pdus.write_release_request()
            self.state = State.RELEASING
            return
        self._need(*_AGREED)
        self.outgoing += pdus.write_release_reply()
        self.state = _AGREED[self.state]
        self.had_last_word = self.state is State.CLOSING

    def abort(
        self,
        source: AbortSource = AbortSource.USER,
        reason: AbortReason = AbortReason.NOT_SPECIFIED,
    ) -> None:
        """End at once."""
        if self.state is not State.CLOSING:
            self.outgoing += pdus.write_abort(Abort(source, reason))
            self.state, self.had_last_word = State.CLOSING, True

    @property
    def may_send(self) -> bool:
        """Whether messages may be sent now: a peer that asked to end still takes answers (PS3.8 §7.2.2)."""
        return self.state in (State.ESTABLISHED, State.RELEASE_ASKED)

    def is_closing(self) -> bool:
        """Whether the connection is to be closed once `outgoing` is sent."""
        return self.state is State.CLOSING

    # what the peer says

    def feed(self, chunk: memoryview) -> Iterator[events.Event]:
        """Events of the bytes that came; take all of them before feeding more. Never raises for what a peer sent."""
        if self.is_closing():
            return
        try:
            for found in self._reader.read(chunk):
                if isinstance(found, events.Fragment):
                    yield found
                    continue
                yield from self._work(found)
                if self.state is State.CLOSING:
                    return
        except ProtocolViolation as error:
            self.abort(AbortSource.PROVIDER, error.reason)
            yield events.Violated(error)

    def _admit(self, kind: PduType) -> None:
        if self.state not in _EXPECTED[kind]:
            raise ProtocolViolation(
                f"an {kind.name} PDU in state {self.state.value} ({self.state.name.lower()})",
                AbortReason.UNEXPECTED_PDU,
            )

    def _work(self, pdu: Whole) -> Iterator[events.Event]:
        match pdu.kind:
            case PduType.ASSOCIATE_RQ:
                self._request = parsing.read_request(pdu.body)
                self.state = State.AWAITING_DECISION
                yield events.Requested(self._request)
            case PduType.ASSOCIATE_AC:
                accept = parsing.read_accept(pdu.body)
                self._establish(accept.contexts, accept.user.max_pdu_bytes)
                yield events.Accepted(accept)
            case PduType.ASSOCIATE_RJ:
                self.state = State.CLOSING
                yield events.Rejected(parsing.read_reject(pdu.body))
            case PduType.RELEASE_RQ:
                self.state = self._asked_to_release()
                yield events.ReleaseRequested()
            case PduType.RELEASE_RP:
                self.state = _AGREED_BY_PEER[self.state]
                if self.state is State.CLOSING:
                    yield events.Released()
            case PduType.ABORT:
                self.state = State.CLOSING
                yield events.Aborted(parsing.read_abort(pdu.body))
            case PduType.P_DATA:  # the reader passes it on in fragments
                raise WrongState("a P-DATA PDU was put together")

    def _asked_to_release(self) -> State:
        if self.state is State.ESTABLISHED:
            return State.RELEASE_ASKED
        if self._is_requestor:
            return State.COLLIDED_AWAITING_LOCAL
        return State.COLLIDED_AWAITING_PEER

    @property
    def _requested(self) -> AssociateRequest:
        if self._request is None:
            raise WrongState("no association was requested")
        return self._request

    def _establish(self, answers: Sequence[AnsweredContext], peer_max_pdu: int) -> None:
        proposed = {context.id: context for context in self._requested.contexts}
        for answer in answers:
            if answer.result == ContextResult.ACCEPTED:
                self.contexts[answer.id] = _context(answer, proposed)
        self.peer_max_pdu_bytes = peer_max_pdu
        self.state = State.ESTABLISHED

    def _need(self, *states: State) -> None:
        if self.state not in states:
            raise WrongState(
                f"the association is in state {self.state.value} ({self.state.name.lower()})"
            )


def _context(answer: AnsweredContext, proposed: Mapping[int, ProposedContext]) -> Context:
    offer = proposed.get(answer.id)
    syntax = answer.transfer_syntax
    if offer is None or syntax is None or syntax not in offer.transfer_syntaxes:
        raise ProtocolViolation(
            f"presentation context {answer.id} was accepted as it had not been proposed"
        )
    return Context(offer.id, offer.abstract_syntax, syntax)


__all__ = ["Context", "Machine", "State", "WrongState"]
