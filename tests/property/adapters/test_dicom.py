"""Whatever a peer sends, the DICOM upper layer and DIMSE give events or a violation, and keep little."""

from __future__ import annotations

import contextlib
import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.dicom.dimse.commands import Command, CommandField, read_command, write_command
from adapters.dicom.dimse.messages import Assembler
from adapters.dicom.negotiation import Support, answer
from adapters.dicom.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION, Uid
from adapters.dicom.upper import events, pdus
from adapters.dicom.upper.errors import ProtocolViolation
from adapters.dicom.upper.framing import Limits
from adapters.dicom.upper.machine import Machine
from adapters.dicom.upper.pdus import (
    AeTitle,
    AssociateRequest,
    ProposedContext,
)

REQUEST = AssociateRequest(
    called=AeTitle("MEDMESH"),
    calling=AeTitle("CT1"),
    contexts=(ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE_ENDIAN,)),),
)


def message(payload: bytes) -> bytes:
    command = write_command(
        Command(
            field=CommandField.C_STORE_RQ,
            message_id=1,
            has_data_set=True,
            affected_class=VERIFICATION,
        )
    )
    head = pdus.p_data_header(1, len(command), is_command=True, is_last=True)
    return (
        head
        + command
        + pdus.p_data_header(1, len(payload), is_command=False, is_last=True)
        + payload
    )


RECORDED = (
    pdus.write_request(REQUEST) + message(b"d" * 300) + message(b"") + pdus.write_release_request()
)


def played(chunk: bytes, cuts: list[int]) -> list[tuple[object, ...]]:
    """What an acceptor makes of the bytes, cut at the given places; whole fragments joined."""
    machine, assembler = Machine(Limits(max_pdu_bytes=1_000)), Assembler()
    told: list[tuple[object, ...]] = []
    kept = b""
    places = sorted({0, len(chunk), *(cut % (len(chunk) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        for event in machine.feed(memoryview(chunk[start:end])):
            match event:
                case events.Requested():
                    machine.accept(
                        answer(event.request, lambda name: Support(), max_pdu_bytes=1_000)
                    )
                    told.append(("requested",))
                case events.Fragment():
                    kept += event.data
                    if event.is_last:
                        told.append(("part", event.is_command, kept))
                        kept = b""
                    try:
                        assembler.add(event)
                    except ProtocolViolation:
                        machine.abort()
                        told.append(("refused",))
                case _:
                    told.append((type(event).__name__,))
    return told


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_an_association_is_the_same_however_its_bytes_are_split(cuts: list[int]) -> None:
    assert played(RECORDED, cuts) == played(RECORDED, [])


@given(st.integers(0, 2**32), st.integers(1, 6), st.lists(st.integers(min_value=0), max_size=4))
@settings(max_examples=400)
def test_a_damaged_association_gives_events_or_a_violation(
    seed: int, changes: int, cuts: list[int]
) -> None:
    chance, chunk = random.Random(seed), bytearray(RECORDED)
    for _ in range(changes):
        chunk[chance.randrange(len(chunk))] = chance.randrange(256)
    assert len(played(bytes(chunk), cuts)) < len(RECORDED)


@given(st.binary(max_size=400))
def test_random_bytes_are_answered_in_order(chunk: bytes) -> None:
    for told in played(chunk, []):
        assert told[0] in {"requested", "part", "refused", "Violated", "Aborted"}


SHORTS = st.none() | st.integers(0, 65_535)
UIDS = st.none() | st.from_regex(r"[0-9]{1,8}(\.[0-9]{1,8}){0,5}", fullmatch=True).map(Uid)
TEXTS = st.none() | st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True)
COMMANDS = st.builds(
    Command,
    field=st.sampled_from([field for field in CommandField if not field.is_response]),
    message_id=st.integers(0, 65_535),
    responds_to=st.integers(0, 65_535),
    has_data_set=st.booleans(),
    priority=SHORTS,
    affected_class=UIDS,
    requested_instance=UIDS,
    move_destination=TEXTS,
    event_type=SHORTS,
    attributes=st.lists(st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)), max_size=4).map(
        tuple
    ),
)


@given(COMMANDS)
def test_every_command_is_read_as_it_was_written(command: Command) -> None:
    assert read_command(write_command(command)) == command


@given(st.binary(max_size=200))
def test_random_bytes_are_a_command_or_a_violation(raw: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        assert read_command(raw).field in CommandField
