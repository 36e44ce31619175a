"""The synthetic day: the same seed gives the same bytes, and the bytes are as varied as a hospital's."""

from __future__ import annotations

from adapters.hl7v2.codec.charset import candidates
from adapters.hl7v2.codec.header import peek
from adapters.hl7v2.codec.mllp import frame
from adapters.hl7v2.codec.patient import patient_key
from medmesh.demo.messages import HABITS, day

DAY = day(600)


def test_the_same_seed_gives_the_same_day_and_another_seed_another() -> None:
    assert day(600) == DAY
    assert day(600, seed=2) != DAY


def test_every_message_has_a_control_id_of_its_own_that_fits_the_field() -> None:
    controls = [peek(message.raw).control_id for message in day(600, run="abcdefghij")]
    assert len(set(controls)) == 600
    assert max(map(len, controls)) <= 20


def test_the_day_holds_the_types_that_a_hospital_sends() -> None:
    types = {message.type for message in DAY}
    adt = {f"ADT^A{n}" for n in ("01", "02", "03", "04", "08", "11", "40")}
    assert types >= adt | {"ORU^R01", "ORM^O01", "OML^O21", "SIU^S12", "MDM^T02", "VXU^V04"}


def test_the_day_holds_the_habits_that_make_hl7_hard() -> None:
    raws = [message.raw for message in DAY]
    assert {peek(raw).raw(2) for raw in raws} >= {rb"^~\&", rb"^~\&#"}
    assert any(not raw.isascii() for raw in raws)
    assert any(not raw.endswith(b"\r") for raw in raws)
    for wanted in (b"\rZDM|", b'|""|', rb"\T\"", b"\rMRG|", rb"\.br\ "[:-1], rb"\X2D\ "[:-1]):
        assert any(wanted.rstrip(b'"') in raw for raw in raws), wanted
    assert len({peek(raw).charset_names for raw in raws}) >= 7


def test_each_message_is_written_in_the_charset_that_it_declares() -> None:
    for message in DAY:
        header = peek(message.raw)
        assert candidates(header.charset_names, "ASCII", ())[0].accepts(message.raw)


def test_each_message_names_its_patient_and_can_be_framed() -> None:
    for message in DAY:
        key = patient_key(message.raw)
        assert key is not None
        assert key.startswith(message.patient.encode())
        assert frame(message.raw)


def test_names_say_that_they_are_examples() -> None:
    assert all(habit.families and habit.givens for habit in HABITS)
    assert all(b"DEMO" in message.raw for message in DAY)
