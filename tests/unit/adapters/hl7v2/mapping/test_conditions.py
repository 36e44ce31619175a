"""Conditions: the short ways give the answers of the long one; and how fields are read whole."""

from __future__ import annotations

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.codec.errors import CharsetError
from adapters.hl7v2.mapping import MapContext
from adapters.hl7v2.mapping.conditions import FramePaths, compile_condition
from adapters.hl7v2.mapping.frames import Entry, Env, Frame
from adapters.hl7v2.mapping.placing import place
from schemas.expression import ExpressionError, compile_expression
from tests.unit.adapters.hl7v2.mapping.standin import MSH, PID, StandIn


def frame() -> Frame:
    """A frame on the second repetition of PID-13."""
    message = Message.parse(f"{MSH}\r{PID}\rPV1|1|I".encode())
    env = Env(message, MapContext(tenant="north", parameters={"site": "A"}))
    place(env, StandIn().read(message).root)
    view = env.views["PID"][0]
    return Frame(
        env, Entry("Patient", "patient", view, 0), view, {}, view.repetitions(13)[1], 13, 2
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PID-8 = 'F'", True),
        ("PID-8 != 'F'", False),
        ("PID-8 in ('M', 'F') and PID-7 valued", True),
        ("PID-3.5 = 'SS'", True),
        ("PID-3[1].5 = 'SS'", False),
        ("PID-29 not valued", True),
        ("not valued(PID-29)", True),
        ("valued(PID-3)", True),
        ("count(PID-3) = 2", True),
        ("length(PID-7) > 8", False),
        ("PV1-2 = 'I'", True),
        ("MSH-9.2 in ('A01')", True),
        ("NK1-1 valued", False),
        ("PV1 valued and not (NK1 valued)", True),
        (".2 = 'WPN'", True),
        (".1 valued", False),
        (".4 valued and .2 not valued", False),
        (".4 starts with 'a@'", True),
        ("parameter.site = 'A'", True),
        ("PID-5 = 'Doe'", True),
        ("PID-5.1.2 = 'van'", True),
    ],
)
def test_short_and_long_way_agree(text: str, expected: bool) -> None:
    test, _ = compile_condition(text, "here")
    assert test(frame()) is expected
    assert compile_expression(text, FramePaths("here"))(frame()) is expected


@pytest.mark.parametrize("text", ["valued()", "valued(PID-3", ". valued", "valued('x')"])
def test_wrong_condition_shows_the_place(text: str) -> None:
    with pytest.raises(ExpressionError, match="column"):
        compile_expression(text, FramePaths("here"))


def test_field_is_read_whole() -> None:
    message = Message.parse(b"MSH|^~\\&|\rPID|a&b^c\\T\\d~e||x\rZZ1|\\H\\y")
    _, pid, other = message.segments()
    assert message.parts(pid, 1) == [[["a", "b"], "c&d"], ["e"]]
    assert message.parts(pid, 2) == message.parts(pid, 9) == []
    assert message.parts(other, 1) == [["y"]]
    assert message.parts(message.segments()[0], 2) == [["^~\\&"]]


def test_field_of_a_wrong_charset_names_its_place() -> None:
    message = Message.parse(b"MSH|^~\\&|||||||ADT|1|P|2.5||||||UNICODE UTF-8\rPID|\xff")
    with pytest.raises(CharsetError, match="PID-1"):
        message.parts(message.segments()[1], 1)
