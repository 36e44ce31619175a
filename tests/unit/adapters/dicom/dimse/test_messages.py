"""Messages from fragments."""

from __future__ import annotations

import pytest

from adapters.dicom.dimse.commands import Command, CommandField, write_command
from adapters.dicom.dimse.messages import Assembler, Began, Piece
from adapters.dicom.upper.errors import ProtocolViolation
from adapters.dicom.upper.events import Fragment

FIND = Command(field=CommandField.C_FIND_RQ, message_id=1, has_data_set=True)
ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=2)


def fragment(
    payload: bytes, *, is_command: bool, is_last: bool = True, context: int = 1
) -> Fragment:
    return Fragment(context, is_command, is_last, memoryview(payload))


def test_a_command_in_pieces_then_its_data_set() -> None:
    assembler, raw = Assembler(), write_command(FIND)
    assert assembler.add(fragment(raw[:10], is_command=True, is_last=False)) is None
    assert not assembler.is_between
    assert assembler.add(fragment(raw[10:], is_command=True)) == Began(1, FIND)
    first = assembler.add(fragment(b"ab", is_command=False, is_last=False))
    assert isinstance(first, Piece)
    assert (bytes(first.data), first.is_last, assembler.is_between) == (b"ab", False, False)
    last = assembler.add(fragment(b"", is_command=False))
    assert isinstance(last, Piece)
    assert (last.is_last, assembler.is_between) == (True, True)


def test_messages_follow_each_other_on_different_contexts() -> None:
    assembler = Assembler()
    for context in (1, 3):
        part = assembler.add(fragment(write_command(ECHO), is_command=True, context=context))
        assert part == Began(context, ECHO)
        assert assembler.is_between


@pytest.mark.parametrize(
    ("fragments", "words"),
    [
        pytest.param([fragment(b"x", is_command=False)], "without a command", id="data first"),
        pytest.param(
            [fragment(write_command(ECHO), is_command=True), fragment(b"x", is_command=False)],
            "without a command",
            id="data set that was not announced",
        ),
        pytest.param(
            [fragment(write_command(FIND), is_command=True)] * 2,
            "command set inside a data set",
            id="command instead of data",
        ),
        pytest.param(
            [
                fragment(write_command(FIND), is_command=True),
                fragment(b"x", is_command=False, context=3),
            ],
            "inside a message of context 1",
            id="other context",
        ),
        pytest.param(
            [fragment(b"\0" * 40_000, is_command=True, is_last=False)] * 2,
            "more than 65536 bytes",
            id="command that never ends",
        ),
    ],
)
def test_what_breaks_a_message_is_refused(fragments: list[Fragment], words: str) -> None:
    assembler = Assembler()
    *before, last = fragments
    for one in before:
        assembler.add(one)
    with pytest.raises(ProtocolViolation, match=words):
        assembler.add(last)
