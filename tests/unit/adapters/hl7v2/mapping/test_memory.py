"""What is made of codes, staff and places is remembered, and nobody can tell."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import MapContext, Mapped, compile_mapper, load_tables, to_json
from adapters.hl7v2.mapping.compiler import Program
from adapters.hl7v2.mapping.protocol import Mapper, Output

_HEAD = "MSH|^~\\&|EMR|NORTH|HIS|NORTH|20260301100000+0100||ADT^A01^ADT_A01|C{n}|P|2.5.1"
_PID = "PID|1||P{n}^^^NORTH^MR||EXAMPLE{n}^PATIENT||19700101|F"
_PV1 = "PV1|1|I|W1^R1^B1^NORTH|||W2^R2^B2|{doctor}^DOCTOR^ONE^^^^MD^^NORTH^L~1002^DOCTOR^TWO|1002^DOCTOR^TWO||{service}"


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    return compile_mapper(load_tables())


def _mapped(
    mapper: Mapper,
    number: int,
    *,
    doctor: str = "1001",
    service: str = "MED",
    explain: bool = False,
    tenant: str = "north",
) -> Mapped:
    segments = (one.format(n=number, doctor=doctor, service=service) for one in (_HEAD, _PID, _PV1))
    raw = ("\r".join(segments) + "\r").encode()
    context = MapContext(tenant=tenant, output=Output.TRANSACTION, explain=explain)
    return mapper.map(Message.parse(raw), context)


def _all(found: Mapped) -> tuple[bytes, tuple[object, ...]]:
    assert found.bundle is not None
    return to_json(found.bundle), found.issues


def test_a_value_that_comes_again_makes_what_it_made_at_first(mapper: Mapper) -> None:
    first = _mapped(mapper, 1)
    assert _all(_mapped(mapper, 1)) == _all(first)
    assert _all(_mapped(compile_mapper(load_tables()), 1)) == _all(first)


def test_origins_of_what_is_remembered_are_those_of_the_message(mapper: Mapper) -> None:
    fresh = _mapped(compile_mapper(load_tables()), 2, explain=True)
    again = _mapped(mapper, 2, explain=True)
    again = _mapped(mapper, 2, explain=True)
    assert {k: sorted(map(str, v)) for k, v in again.origins.items()} == {
        k: sorted(map(str, v)) for k, v in fresh.origins.items()
    }
    assert any(one.source.startswith("PV1-7") for found in again.origins.values() for one in found)


def test_who_changes_what_was_given_out_changes_no_later_message(mapper: Mapper) -> None:
    before = _all(_mapped(mapper, 3))
    for resource in _mapped(mapper, 3).resources:
        resource.clear()
    assert _all(_mapped(mapper, 3)) == before


def test_tenants_share_what_is_remembered_and_no_id(mapper: Mapper) -> None:
    here, there = _mapped(mapper, 4), _mapped(mapper, 4, tenant="south")
    assert not {one["id"] for one in here.resources} & {one["id"] for one in there.resources}


def test_a_code_without_a_row_is_told_in_every_message(mapper: Mapper) -> None:
    told = [_mapped(mapper, n, service="NOSUCH").issues for n in (5, 5)]
    assert told[0] == told[1]
    assert any(one.where == "PV1-10" for one in told[0])


def test_patients_are_never_remembered_and_the_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs: list[Program] = []

    class Noted(Program):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            programs.append(self)

    monkeypatch.setattr("adapters.hl7v2.mapping.compiler.Program", Noted)
    monkeypatch.setattr("adapters.hl7v2.mapping.memory.MAX_REMEMBERED", 8)
    mapper = compile_mapper(load_tables())
    for number in range(40):
        _mapped(mapper, 100 + number, doctor=f"9{number}")
    memories = [memory for one in programs for memory in (one.made, one.created) if memory]
    assert 0 < max(map(len, memories)) <= 8
    shown = b"".join(one.blob for memory in memories for one in memory.values())
    assert b"DOCTOR" in shown
    assert b"EXAMPLE" not in shown
