"""A message in its groups: by the standard, and where it deviates."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping.structure import Group, Structures

STRUCTURES = Structures.load()
NAMES = [
    *("PID", "PV1", "NK1", "ORC", "OBR", "OBX", "NTE", "SPM", "AL1", "IN1"),
    *("AIS", "RXE", "ZZZ", "MSH", "FT1", "DSC", "TQ1", "PRT"),
]


def message(kind: str, *segments: str) -> Message:
    lines = [f"MSH|^~\\&|A|B|C|D|20260101||{kind}|1|P|2.5.1", *(f"{one}|1" for one in segments)]
    return Message.parse("\r".join(lines).encode())


def shape(group: Group) -> list[object]:
    return [[one.name, *shape(one)] if isinstance(one, Group) else one.name for one in group.items]


def test_results_are_read_in_their_groups() -> None:
    segments = ["PID", "PV1", "ORC", "OBR", "NTE", "OBX", "NTE", "OBX", "SPM", "OBR", "OBX"]
    reading = STRUCTURES.read(message("ORU^R01^ORU_R01", *segments))
    assert reading.structure == "ORU_R01"
    assert reading.issues == ()
    assert shape(reading.root) == [
        "MSH",
        [
            "PATIENT_RESULT",
            ["PATIENT", "PID", ["VISIT", "PV1"]],
            [
                "ORDER_OBSERVATION",
                ["COMMON_ORDER", "ORC"],
                "OBR",
                "NTE",
                ["OBSERVATION", "OBX", "NTE"],
                ["OBSERVATION", "OBX"],
                ["SPECIMEN", "SPM"],
            ],
            ["ORDER_OBSERVATION", "OBR", ["OBSERVATION", "OBX"]],
        ],
    ]


def test_a_group_repeats_with_its_first_segment() -> None:
    reading = STRUCTURES.read(message("ADT^A40", "EVN", "PID", "MRG", "PID", "PD1", "MRG"))
    assert reading.structure == "ADT_A39"
    assert [len(one.items) for one in reading.root.groups("PATIENT")] == [2, 3]


@pytest.mark.parametrize(
    ("kind", "structure"),
    [
        ("ADT^A08^ADT_A08", "ADT_A01"),
        ("ADT^A31", "ADT_A05"),
        ("ADT^A99^ADT_A03", "ADT_A03"),
        ("ADT^Z01", "ADT_A01"),
        ("SIU^S26", "SIU_S12"),
        ("PPR^PC3", "PPR_PC1"),
        ("XYZ^Q01^QRY_A19", ""),
    ],
)
def test_the_event_decides_then_msh_9_3_then_the_type(kind: str, structure: str) -> None:
    assert STRUCTURES.read(message(kind, "PID")).structure == structure


def test_local_segments_stay_with_the_group_that_is_open() -> None:
    reading = STRUCTURES.read(message("ORU^R01", "PID", "ZPI", "OBR", "OBX", "ZOB", "OBX"))
    assert reading.issues == ()
    order = reading.root.groups("PATIENT_RESULT")[0].groups("ORDER_OBSERVATION")[0]
    assert [shape(one) for one in order.groups("OBSERVATION")] == [["OBX", "ZOB"], ["OBX"]]


def test_a_segment_that_comes_too_late_goes_where_it_belongs() -> None:
    reading = STRUCTURES.read(message("ADT^A01", "EVN", "PID", "PV1", "IN1", "AL1"))
    assert reading.root.first("AL1") is not None
    assert [(one.where, one.code.value) for one in reading.issues] == [("AL1", "structure")]


def test_an_observation_without_its_request_is_kept_in_its_group() -> None:
    reading = STRUCTURES.read(message("ORM^O01", "PID", "OBX"))
    assert [one.where for one in reading.issues] == ["OBX"]
    order = reading.root.groups("ORDER")[0].groups("ORDER_DETAIL")[0]
    assert order.groups("OBSERVATION")[0].first("OBX") is not None


def test_a_foreign_segment_is_kept_and_told_by_its_number() -> None:
    reading = STRUCTURES.read(message("ADT^A01", "EVN", "PID", "XYZ", "XYZ"))
    assert [one.where for one in reading.issues] == ["XYZ", "XYZ[2]"]
    assert [one.name for one in reading.root.walk()][-2:] == ["XYZ", "XYZ"]


@given(
    st.sampled_from(["ADT^A01", "ORU^R01", "ORM^O01", "SIU^S12", "OML^O21", "RDE^O11", "XYZ^A01"]),
    st.lists(
        st.sampled_from(
            [
                "PID",
                "PV1",
                "NK1",
                "ORC",
                "OBR",
                "OBX",
                "NTE",
                "SPM",
                "AL1",
                "IN1",
                "AIS",
                "RXE",
                "ZZZ",
                "MSH",
                "FT1",
                "DSC",
                "TQ1",
                "PRT",
            ]
        ),
        max_size=40,
    ),
)
def test_whatever_the_order_each_segment_is_in_one_place(kind: str, segments: list[str]) -> None:
    taken = message(kind, *(one for one in segments if one != "MSH"))
    reading = STRUCTURES.read(taken)
    assert Counter(one.line for one in reading.root.walk()) == Counter(
        one.line for one in taken.segments()
    )


def test_many_segments_cost_in_proportion() -> None:
    """By counting: groups and segments of the tree never exceed a few for each segment."""
    reading = STRUCTURES.read(message("ORU^R01", "PID", "OBR", *["OBX", "NTE"] * 5000))
    order = reading.root.groups("PATIENT_RESULT")[0].groups("ORDER_OBSERVATION")[0]
    assert len(order.items) == 5001


def test_results_behind_an_order_control_are_no_document_unless_one_follows() -> None:
    results = ["SPM", "OBR", "ORC", "OBX", "OBX", "NTE"]
    reading = STRUCTURES.read(message("OUL^R22^OUL_R22", *results))
    assert reading.issues == ()
    order = reading.root.groups("SPECIMEN")[0].groups("ORDER")[0]
    assert shape(order) == [
        "OBR",
        ["COMMON_ORDER", "ORC"],
        ["RESULT", "OBX"],
        ["RESULT", "OBX", "NTE"],
    ]
    reading = STRUCTURES.read(message("OUL^R22^OUL_R22", "SPM", "OBR", "ORC", "OBX", "TXA", "OBX"))
    order = reading.root.groups("SPECIMEN")[0].groups("ORDER")[0]
    assert shape(order) == [
        "OBR",
        ["COMMON_ORDER", "ORC", ["ORDER_DOCUMENT", "OBX", "TXA"]],
        ["RESULT", "OBX"],
    ]


def test_a_group_without_what_it_must_have_is_opened_where_nothing_else_takes_its_segment() -> None:
    reading = STRUCTURES.read(message("RDE^O11^RDE_O11", "PID", "ORC", "RXO", "RXE", "RXR"))
    order = reading.root.groups("ORDER")[0]
    assert shape(order) == ["ORC", ["ORDER_DETAIL", "RXO"], "RXE", "RXR"]
