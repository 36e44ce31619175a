from __future__ import annotations

import pytest

from schemas import subjects
from schemas.errors import SubjectError
from schemas.subjects import Domain, SiteId

NORTH = SiteId("north")


@pytest.mark.parametrize(
    "bad", ["", "North", "a b", "münchen", "a.b", "*", ">", "x" * 65, "a\n", "a/b"]
)
def test_a_token_that_could_carry_text_is_refused(bad: str) -> None:
    with pytest.raises(SubjectError):
        subjects.token(bad)


def test_events_are_built_by_the_grammar() -> None:
    assert subjects.event(NORTH, Domain.PATIENT, "admitted", 17) == "evt.north.patient.admitted.17"
    assert subjects.dead_letter("evt-north", "his-out") == "dlq.evt-north.his-out"
    assert subjects.replay(NORTH, "his-out") == "ctl.north.replay.his-out"
    assert subjects.receipt(NORTH, b"\x01\xff", "his-out") == "ctl.north.receipts.01ff.his-out"


@pytest.mark.parametrize("partition", [-1, 64, 1000])
def test_a_partition_outside_the_frozen_range_is_refused(partition: int) -> None:
    with pytest.raises(SubjectError, match="0 to 63"):
        subjects.event(NORTH, Domain.RAW, "hl7v2", partition)


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("evt.north.>", "evt.north.raw.hl7v2.1", True),
        ("evt.north.>", "evt.north", False),
        ("evt.*.raw.*.*", "evt.north.raw.hl7v2.1", True),
        ("evt.*.raw", "evt.north.raw.hl7v2", False),
        ("evt.north.raw", "evt.north.raw", True),
        (">", "anything", True),
        ("evt.>", "evt.*", True),
        ("evt.*", "evt.>", False),
    ],
)
def test_patterns_cover_as_in_nats(pattern: str, subject: str, covered: bool) -> None:
    assert subjects.matches(pattern, subject) is covered


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("evt.north.>", "evt.*.raw.x", True),
        ("evt.a", "evt.b", False),
        ("a.*", "*.b", True),
        ("a.b.c", "a.b", False),
    ],
)
def test_overlap_is_symmetric(one: str, other: str, both: bool) -> None:
    assert subjects.overlaps(one, other) is both
    assert subjects.overlaps(other, one) is both


@pytest.mark.parametrize("bad", ["evt.>.x", "evt..x", "EVT.>", "evt.n*", "a." * 200 + "b"])
def test_a_pattern_outside_the_grammar_is_refused(bad: str) -> None:
    with pytest.raises(SubjectError):
        subjects.pattern(bad)


def test_a_partition_is_stable_keyed_and_spread() -> None:
    key = bytes(32)
    partitions = [subjects.partition_for(key, b"patient %d" % n) for n in range(6400)]
    assert partitions == [subjects.partition_for(key, b"patient %d" % n) for n in range(6400)]
    assert partitions[:64] != [
        subjects.partition_for(b"\1" * 32, b"patient %d" % n) for n in range(64)
    ]
    counts = [partitions.count(p) for p in range(subjects.PARTITIONS)]
    assert min(counts) > 50
    assert max(counts) < 170


def test_the_partition_is_frozen_on_the_wire() -> None:
    assert subjects.partition_for(bytes(range(32)), b"P00001^TESTHOSP") == 20


@pytest.mark.parametrize(
    ("subject", "partition"), [("evt.n.raw.hl7v2.17", 17), ("ctl.n.replay.x", 0), ("a.999", 39)]
)
def test_the_partition_of_a_subject_is_its_last_token(subject: str, partition: int) -> None:
    assert subjects.partition_of(subject) == partition
