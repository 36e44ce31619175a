"""Command sets against an independent encoder, and what damaged ones become."""

from __future__ import annotations

import io

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode

from adapters.dicom.dimse.commands import Command, CommandField, read_command, write_command
from adapters.dicom.dimse.status import Outcome, Status, may_succeed_later, outcome
from adapters.dicom.uids import Uid
from adapters.dicom.upper.errors import ProtocolViolation

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
STORE = Command(
    field=CommandField.C_STORE_RQ,
    message_id=7,
    has_data_set=True,
    priority=2,
    affected_class=CT,
    affected_instance=Uid("1.2.3.4"),
    move_originator="ORTHANC",
    move_originator_message=12,
)
EVERYTHING = Command(
    field=CommandField.C_MOVE_RSP,
    responds_to=65_535,
    status=0xB000,
    requested_class=CT,
    requested_instance=Uid("1.2.3"),
    move_destination="ARCHIVE",
    remaining=1,
    completed=2,
    failed=3,
    warned=4,
    event_type=1,
    action_type=1,
    attributes=((0x0010, 0x0020), (0x0040, 0x0100)),
    offending=((0x0010, 0x0010),),
    error_comment="no such destination",
    error_id=9,
)


def test_a_command_is_written_as_an_independent_encoder_writes_it() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, "1.2.3.4"
    primitive.MoveOriginatorApplicationEntityTitle = "ORTHANC"
    primitive.MoveOriginatorMessageID = 12
    primitive.DataSet = io.BytesIO(b"\0" * 8)
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    assert write_command(STORE) == encode(message.command_set, True, True)


def test_an_independent_decoder_reads_every_element() -> None:
    found = decode(io.BytesIO(write_command(EVERYTHING)), True, True)
    assert isinstance(found, Dataset)
    assert found.CommandGroupLength == len(write_command(EVERYTHING)) - 12
    assert (found.NumberOfRemainingSuboperations, found.NumberOfWarningSuboperations) == (1, 4)
    assert [int(tag) for tag in found.AttributeIdentifierList] == [0x0010_0020, 0x0040_0100]
    assert found.ErrorComment == "no such destination"


@pytest.mark.parametrize("command", [STORE, EVERYTHING])
def test_a_command_is_read_as_it_was_written(command: Command) -> None:
    assert read_command(write_command(command)) == command


@pytest.mark.parametrize("command", [STORE, EVERYTHING])
def test_a_command_cut_anywhere_is_refused(command: Command) -> None:
    raw = write_command(command)
    for cut in range(len(raw)):
        try:
            read = read_command(raw[:cut])
        except ProtocolViolation:
            continue
        assert read != command


def element(number: int, raw: bytes, *, group: int = 0) -> bytes:
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return head + len(raw).to_bytes(4, "little") + raw


ECHO = element(0x0100, b"\x30\0") + element(0x0110, b"\x01\0")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"", "without a command field", id="nothing"),
        pytest.param(element(0x0100, b"\x77\0"), "command field 0077H", id="unknown command"),
        pytest.param(element(0x0100, b"\x30\0"), "without its message id", id="no message id"),
        pytest.param(
            element(0x0100, b"\x30\x80") + element(0x0120, b"\x01\0"),
            "without a status",
            id="no status",
        ),
        pytest.param(ECHO + element(0x0700, b"\x01"), "US element of 1 bytes", id="short number"),
        pytest.param(ECHO + element(0x0010, b"x", group=8), r"\(0008,0010\)", id="another group"),
        pytest.param(
            ECHO + element(0x1000, b"../../../../etc/passwd"),
            "22 characters that are no UID",
            id="path",
        ),
        pytest.param(ECHO + b"\0\0\x02\0\xff\xff\xff\xff", "says 4294967295 bytes", id="overrun"),
    ],
)
def test_a_damaged_command_is_refused_with_a_reason(raw: bytes, words: str) -> None:
    with pytest.raises(ProtocolViolation, match=words):
        read_command(raw)


def test_unknown_elements_are_passed_over() -> None:
    assert read_command(ECHO + element(0x5010, b"ab")).field is CommandField.C_ECHO_RQ


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0x0000, Outcome.SUCCESS),
        (0xFF01, Outcome.PENDING),
        (0xFE00, Outcome.CANCEL),
        (0xB007, Outcome.WARNING),
        (0x0107, Outcome.WARNING),
        (0xA700, Outcome.FAILURE),
        (0xC123, Outcome.FAILURE),
        (0x0112, Outcome.FAILURE),
    ],
)
def test_every_status_has_its_kind(status: int, kind: Outcome) -> None:
    assert outcome(status) is kind


def test_only_a_lack_of_resources_passes() -> None:
    assert may_succeed_later(Status.OUT_OF_RESOURCES)
    assert may_succeed_later(0xA7FF)
    assert not may_succeed_later(Status.CANNOT_UNDERSTAND)
    assert not may_succeed_later(Status.SUCCESS)
