"""What is kept between messages, and what is not: orders of segments, and nothing for the collector."""

from __future__ import annotations

import gc
from datetime import UTC

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import MapContext, Output, compile_mapper, load_tables, to_json
from adapters.hl7v2.mapping.grammar import Grammar
from adapters.hl7v2.mapping.structure import Group, Structures
from benchmarks.mapping import admission, report, varied

CONTEXT = MapContext(tenant="t", zone=UTC, output=Output.TRANSACTION)
SHUFFLED = b"\r".join(
    [
        *admission().split(b"\r")[:3],
        b"OBX|1|ST|1^A||x",
        b"ZZZ|1",
        b"PV1|1|I",
        b"DG1|1||A",
        b"PV1|2|O",
        b"",
    ]
)
MESSAGES = [varied(make(), n, n % 2) for n in range(3) for make in (admission, report)]


def names(group: Group) -> list[object]:
    return [names(one) if isinstance(one, Group) else one.name for one in group.items]


@pytest.mark.parametrize("raw", [admission(), report(), SHUFFLED], ids=["adt", "oru", "shuffled"])
def test_an_order_of_segments_that_was_met_before_is_read_alike(raw: bytes) -> None:
    structures = Structures(Grammar.load())
    first, again = (structures.read(Message.parse(raw)) for _ in range(2))
    assert names(first.root) == names(again.root)
    assert first.issues == again.issues
    assert [one.name for one in again.root.walk()] == [
        one.name for one in Message.parse(raw).segments()
    ]


def test_messages_of_one_order_of_segments_keep_to_themselves() -> None:
    shared = compile_mapper(load_tables(("std",)))
    together = [shared.map(Message.parse(raw), CONTEXT) for raw in [*MESSAGES, SHUFFLED] * 2]
    alone = compile_mapper(load_tables(("std",)))
    for raw, mapped in zip([*MESSAGES, SHUFFLED][::-1], together[::-1], strict=False):
        expected = alone.map(Message.parse(raw), CONTEXT)
        assert to_json(list(mapped.resources)) == to_json(list(expected.resources))
        assert mapped.issues == expected.issues


@pytest.mark.parametrize("is_explained", [False, True])
def test_a_mapped_message_leaves_nothing_to_the_garbage_collector(is_explained: bool) -> None:
    mapper = compile_mapper(load_tables(("std",)))
    context = MapContext(tenant="t", zone=UTC, explain=is_explained)
    for raw in MESSAGES:
        mapper.map(Message.parse(raw), context)
    gc.collect()
    gc.disable()
    try:
        for raw in MESSAGES:
            mapper.map(Message.parse(raw), context)
        assert gc.collect() == 0
    finally:
        gc.enable()
