"""Coded values by their tables."""

from __future__ import annotations

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Layer, MapContext, compile_mapper, load_tables

_FILES = {
    "messages/one.yaml": b"""
message: ADT_A01
type: ADT
events: [A01]
resources:
  - {name: one, type: Basic, from: PV1, documents: ["PV1[Basic]"]}
""",
    "segments/one.yaml": b"""
segment: PV1[Basic]
rules: [{id: code, from: PV1-2, to: code, as: "CWE[CodeableConcept]", table: Classes}]
""",
    "datatypes/one.yaml": b"""
datatype: CWE[CodeableConcept]
rules:
  - {id: code, from: .1, to: "coding[0].code"}
  - {id: display, from: .2, to: "coding[0].display"}
  - {id: alternate, from: .4, to: "coding[1].code"}
  - {id: alternate-display, from: .5, to: "coding[1].display"}
""",
    "codes/Classes.csv": b"source,system,code,display,status\nI,urn:x,IMP,,\n",
}


def _codes(field: str) -> tuple[list[str], tuple[str, ...]]:
    message = Message.parse(f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|7|P|2.5\rPV1||{field}".encode())
    mapper = compile_mapper(load_tables([Layer(name="std", files=_FILES)]))
    mapped = mapper.map(message, MapContext(tenant="north"))
    found = mapped.resources[0]["code"]["coding"]  # type: ignore[call-overload,index]  # JSON
    issues = [one.where for one in mapped.issues if one.where.startswith("PV1")]
    return [one["code"] for one in found], tuple(issues)  # type: ignore[call-overload,index,misc,union-attr]  # JSON


@pytest.mark.parametrize(
    ("field", "codes", "issues"),
    [
        ("I", ["IMP"], ()),
        ("X^local^L^I", ["IMP", "X"], ("PV1-2.3",)),
        ("^^^I^stationary", ["IMP"], ()),
        ("X^^^Y", ["X", "Y"], ("PV1-2",)),
    ],
)
def test_a_table_finds_the_first_code_that_it_knows(
    field: str, codes: list[str], issues: tuple[str, ...]
) -> None:
    assert _codes(field) == (codes, issues)
