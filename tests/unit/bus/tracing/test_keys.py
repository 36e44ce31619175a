"""Identifiers become keys that find them again and say nothing else."""

from __future__ import annotations

import pytest

from bus.tracing.keys import KEY_BYTES, Keys
from bus.tracing.protocol import Query, QueryKind
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb

KEYS = Keys(b"k" * 32)
INDEX = content_pb.Index(
    patient=[
        content_pb.Identifier(system="NORTH", value="PAT-1"),
        content_pb.Identifier(system="SOUTH", value="77"),
    ],
    order=[content_pb.Identifier(value="ORD-9")],
    visit=[content_pb.Identifier(system="NORTH", value="V5")],
    control_id="MSG00001",
)


@pytest.mark.parametrize(
    "query",
    [
        Query(kind=QueryKind.CONTROL, value="MSG00001"),
        Query(kind=QueryKind.PATIENT, value="PAT-1"),
        Query(kind=QueryKind.PATIENT, value=" pat-1 ", assigner="north"),
        Query(kind=QueryKind.PATIENT, value="77", assigner="SOUTH"),
        Query(kind=QueryKind.ORDER, value="ORD-9"),
        Query(kind=QueryKind.VISIT, value="V5"),
    ],
)
def test_each_identifier_is_found_with_its_assigner_and_without(query: Query) -> None:
    assert KEYS.of_query(query) in KEYS.of_index(INDEX)


@pytest.mark.parametrize(
    "query",
    [
        Query(kind=QueryKind.VISIT, value="PAT-1"),
        Query(kind=QueryKind.PATIENT, value="77", assigner="NORTH"),
        Query(kind=QueryKind.PATIENT, value="PAT-", assigner="NORTH1"),
    ],
)
def test_no_other_kind_assigner_or_cut_gives_the_same_key(query: Query) -> None:
    assert KEYS.of_query(query) not in KEYS.of_index(INDEX)


def test_another_site_key_gives_other_keys() -> None:
    assert not Keys(b"o" * 32).of_index(INDEX) & KEYS.of_index(INDEX)


def test_a_key_has_its_length_and_an_empty_identifier_has_none() -> None:
    assert {len(key) for key in KEYS.of_index(INDEX)} == {KEY_BYTES}
    assert not KEYS.of_index(content_pb.Index(patient=[content_pb.Identifier(system="NORTH")]))


def test_a_query_does_not_show_its_value() -> None:
    assert "PAT-1" not in repr(Query(kind=QueryKind.PATIENT, value="PAT-1", assigner="NORTH"))
