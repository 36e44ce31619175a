"""The demo's judgement: what is missing, changed, doubled or out of order is seen."""

from __future__ import annotations

from medmesh.demo.check import compare
from medmesh.demo.messages import day

DAY = day(60)
RAW = [message.raw for message in DAY]


def test_everything_in_order_is_whole() -> None:
    place = compare(DAY, RAW, ordered=True)
    assert place.is_whole
    assert (place.arrived, place.missing, place.duplicates) == (60, 0, 0)


def test_a_message_that_did_not_arrive_is_missing() -> None:
    place = compare(DAY, RAW[:-2], ordered=True)
    assert (place.missing, place.is_whole) == (2, False)


def test_one_changed_byte_is_different_and_missing() -> None:
    place = compare(DAY, [RAW[0] + b" ", *RAW[1:]], ordered=True)
    assert (place.different, place.missing) == (1, 1)


def test_a_second_copy_is_a_duplicate_but_nothing_is_wrong() -> None:
    place = compare(DAY, [*RAW, RAW[3]], ordered=True)
    assert (place.duplicates, place.is_whole) == (1, True)


def test_two_messages_of_one_patient_swapped_are_out_of_order() -> None:
    patient = next(m.patient for m in DAY if sum(o.patient == m.patient for o in DAY) > 1)
    places = [i for i, m in enumerate(DAY) if m.patient == patient][:2]
    swapped = list(RAW)
    swapped[places[0]], swapped[places[1]] = swapped[places[1]], swapped[places[0]]
    assert compare(DAY, swapped, ordered=True).out_of_order == 1
    assert compare(DAY, swapped, ordered=False).is_whole
