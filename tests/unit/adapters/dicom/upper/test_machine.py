"""The state machine of an association: in order, out of order, cut anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.dicom.uids import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, VERIFICATION, Uid
from adapters.dicom.upper import events, pdus
from adapters.dicom.upper.errors import AbortReason
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.machine import Machine, State, WrongState
from adapters.dicom.upper.pdus import (
    AeTitle,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    UserInformation,
)

LIMITS = Limits(max_pdu_bytes=16_384)
REQUEST = AssociateRequest(
    called=AeTitle("MEDMESH"),
    calling=AeTitle("CT1"),
    contexts=(
        ProposedContext(1, VERIFICATION, (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)),
        ProposedContext(3, Uid("1.2.3"), (IMPLICIT_LITTLE_ENDIAN,)),
    ),
    user=UserInformation(max_pdu_bytes=32_768, window=(4, 1)),
)
ACCEPT = AssociateAccept(
    called=REQUEST.called,
    calling=REQUEST.calling,
    contexts=(
        AnsweredContext(1, ContextResult.ACCEPTED, IMPLICIT_LITTLE_ENDIAN),
        AnsweredContext(3, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT_LITTLE_ENDIAN),
    ),
    user=UserInformation(max_pdu_bytes=16_384),
)


def sent(machine: Machine) -> bytes:
    chunk = bytes(machine.outgoing)
    machine.outgoing.clear()
    return chunk


def fed(machine: Machine, chunk: bytes) -> list[events.Event]:
    return list(machine.feed(memoryview(chunk)))


def established() -> tuple[Machine, Machine]:
    """(requestor, acceptor)."""
    requestor, acceptor = Machine(LIMITS), Machine(LIMITS)
    requestor.request(REQUEST)
    assert fed(acceptor, sent(requestor)) == [events.Requested(REQUEST)]
    acceptor.accept(ACCEPT)
    (accepted,) = fed(requestor, sent(acceptor))
    assert isinstance(accepted, events.Accepted)
    return requestor, acceptor


def fragment(payload: bytes, *, context: int = 1, is_last: bool = True) -> bytes:
    head = pdus.p_data_header(context, len(payload), is_command=False, is_last=is_last)
    return head + payload


def aborted(machine: Machine) -> AbortReason:
    """The reason of the A-ABORT that is ready to be sent."""
    chunk = sent(machine)
    assert chunk[:6] == b"\x07\0\0\0\0\x04"
    assert machine.is_closing()
    assert chunk[8] == 2
    return AbortReason(chunk[9])


def test_both_sides_agree_on_contexts_and_sizes() -> None:
    requestor, acceptor = established()
    assert requestor.contexts == acceptor.contexts
    (context,) = requestor.contexts.values()
    assert (context.abstract_syntax, context.transfer_syntax) == (
        VERIFICATION,
        IMPLICIT_LITTLE_ENDIAN,
    )
    assert (requestor.peer_max_pdu_bytes, acceptor.peer_max_pdu_bytes) == (16_384, 32_768)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 11, 64, 10_000])
def test_a_message_is_the_same_however_its_bytes_are_split(step: int) -> None:
    _, acceptor = established()
    chunk = fragment(b"abc", is_last=False) + fragment(b"defgh") + pdus.write_release_request()
    found: list[events.Event] = []
    for start in range(0, len(chunk), step):
        for event in acceptor.feed(memoryview(chunk[start : start + step])):
            if isinstance(event, events.Fragment):
                found.append(
                    events.Fragment(
                        event.context,
                        event.is_command,
                        event.is_last,
                        memoryview(bytes(event.data)),
                    )
                )
            else:
                found.append(event)
    fragments = [one for one in found if isinstance(one, events.Fragment)]
    assert b"".join(one.data for one in fragments) == b"abcdefgh"
    assert [one.is_last for one in fragments].count(True) == 1
    assert fragments[-1].is_last
    assert isinstance(found[-1], events.ReleaseRequested)


def test_several_values_in_one_pdu_are_told_apart() -> None:
    _, acceptor = established()
    one, two = fragment(b"ab", is_last=False)[6:], fragment(b"cd")[6:]
    chunk = b"\x04\0" + len(one + two).to_bytes(4, "big") + one + two
    found = [event for event in fed(acceptor, chunk) if isinstance(event, events.Fragment)]
    assert [(bytes(event.data), event.is_last) for event in found] == [
        (b"ab", False),
        (b"cd", True),
    ]


def test_an_empty_last_fragment_ends_a_data_set() -> None:
    _, acceptor = established()
    (event,) = fed(acceptor, fragment(b""))
    assert isinstance(event, events.Fragment)
    assert (bytes(event.data), event.is_last) == (b"", True)


def test_a_release_is_asked_agreed_and_over() -> None:
    requestor, acceptor = established()
    requestor.release()
    assert fed(acceptor, sent(requestor)) == [events.ReleaseRequested()]
    assert acceptor.may_send
    acceptor.release()
    assert acceptor.is_closing()
    assert fed(requestor, sent(acceptor)) == [events.Released()]
    assert requestor.is_closing()


def test_both_sides_may_ask_to_release_at_once() -> None:
    requestor, acceptor = established()
    requestor.release()
    acceptor.release()
    from_requestor, from_acceptor = sent(requestor), sent(acceptor)
    fed(requestor, from_acceptor)
    fed(acceptor, from_requestor)
    assert requestor.state is State.COLLIDED_AWAITING_LOCAL
    assert acceptor.state is State.COLLIDED_AWAITING_PEER
    requestor.release()
    assert fed(acceptor, sent(requestor)) == []
    acceptor.release()
    assert fed(requestor, sent(acceptor)) == [events.Released()]
    assert acceptor.is_closing()


def test_a_rejection_says_why() -> None:
    requestor, acceptor = Machine(LIMITS), Machine(LIMITS)
    requestor.request(REQUEST)
    fed(acceptor, sent(requestor))
    acceptor.reject(AssociateReject(1, 1, 7))
    assert fed(requestor, sent(acceptor)) == [events.Rejected(AssociateReject(1, 1, 7))]
    assert requestor.is_closing()


def test_data_still_come_while_a_release_is_awaited() -> None:
    requestor, _ = established()
    requestor.release()
    (event,) = fed(requestor, fragment(b"late"))
    assert isinstance(event, events.Fragment)


def test_nothing_is_read_after_an_abort() -> None:
    _, acceptor = established()
    found = fed(acceptor, pdus.write_abort(pdus.Abort(0, 0)) + fragment(b"more"))
    assert found == [events.Aborted(pdus.Abort(0, 0))]
    assert fed(acceptor, fragment(b"more")) == []


HUGE = 0xFFFF_FFF0


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        pytest.param(b"\x01\0" + HUGE.to_bytes(4, "big"), AbortReason.INVALID_PARAMETER, id="huge"),
        pytest.param(b"\x09\0\0\0\0\x04", AbortReason.UNRECOGNIZED_PDU, id="unknown type"),
        pytest.param(b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNIZED_PDU, id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\0\x01", AbortReason.UNRECOGNIZED_PDU, id="TLS"),
        pytest.param(fragment(b"x"), AbortReason.UNEXPECTED_PDU, id="data before anything"),
        pytest.param(pdus.write_release_request(), AbortReason.UNEXPECTED_PDU, id="release"),
        pytest.param(b"\x01\0\0\0\0\x04abcd", AbortReason.INVALID_PARAMETER, id="short request"),
    ],
)
def test_what_may_not_begin_an_association_is_answered_by_an_abort(
    chunk: bytes, reason: AbortReason
) -> None:
    machine = Machine(LIMITS)
    (event,) = fed(machine, chunk)
    assert isinstance(event, events.Violated)
    assert aborted(machine) == reason


def value(length: int, context: int, body: bytes, *, pdu_bytes: int | None = None) -> bytes:
    raw = length.to_bytes(4, "big") + bytes((context, 2)) + body
    return b"\x04\0" + (len(raw) if pdu_bytes is None else pdu_bytes).to_bytes(4, "big") + raw


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(value(4, 1, b"ab", pdu_bytes=HUGE), id="P-DATA of 4 GiB"),
        pytest.param(value(4, 1, b"ab", pdu_bytes=16_385), id="one byte more than agreed"),
        pytest.param(value(400, 1, b"ab"), id="value overruns its PDU"),
        pytest.param(value(1, 1, b""), id="value of one byte"),
        pytest.param(value(0, 1, b""), id="value of no byte"),
        pytest.param(value(4, 3, b"ab"), id="refused context"),
        pytest.param(value(4, 5, b"ab"), id="context nobody proposed"),
        pytest.param(value(4, 1, b"ab" + b"xyz"), id="bytes behind the last value"),
        pytest.param(b"\x04\0\0\0\0\0", id="empty P-DATA"),
        pytest.param(b"\x05\0\0\0\0\x05", id="long release"),
    ],
)
def test_lengths_and_contexts_are_checked_before_a_byte_is_kept(chunk: bytes) -> None:
    _, acceptor = established()
    assert isinstance(fed(acceptor, chunk)[-1], events.Violated)
    assert aborted(acceptor) == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("chunk", [pdus.write_request(REQUEST), pdus.write_release_reply()])
def test_a_pdu_out_of_turn_is_answered_by_an_abort(chunk: bytes) -> None:
    _, acceptor = established()
    assert isinstance(fed(acceptor, chunk)[-1], events.Violated)
    assert aborted(acceptor) == AbortReason.UNEXPECTED_PDU


@pytest.mark.parametrize(
    "answer",
    [
        AnsweredContext(5, ContextResult.ACCEPTED, IMPLICIT_LITTLE_ENDIAN),
        AnsweredContext(3, ContextResult.ACCEPTED, EXPLICIT_LITTLE_ENDIAN),
    ],
)
def test_an_acceptance_of_what_was_not_proposed_is_refused(answer: AnsweredContext) -> None:
    machine = Machine(LIMITS)
    machine.request(REQUEST)
    sent(machine)
    forged = AssociateAccept(called=REQUEST.called, calling=REQUEST.calling, contexts=(answer,))
    assert isinstance(fed(machine, pdus.write_accept(forged))[-1], events.Violated)
    assert aborted(machine) == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize(
    "call",
    [
        lambda machine: machine.accept(ACCEPT),
        lambda machine: machine.reject(AssociateReject(1, 1, 1)),
        lambda machine: machine.release(),
    ],
)
def test_a_local_call_out_of_turn_is_our_own_fault(call: Callable[[Machine], None]) -> None:
    with pytest.raises(WrongState, match="Sta2"):
        call(Machine(LIMITS))
