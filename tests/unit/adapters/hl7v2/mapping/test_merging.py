"""Values of two documents that are written into one object."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Layer, MapContext, compile_mapper, load_tables
from adapters.hl7v2.mapping.protocol import IssueCode

_MESSAGE = b"""
message: ORU_R01
type: ORU
events: [R01]
resources:
  - {name: one, type: Observation, from: OBX, documents: ["OBX[Observation]"]}
"""
_SEGMENT = b"""
segment: OBX[Observation]
rules:
  - {id: status, to: status, const: final}
  - {id: code, from: OBX-3, to: code, as: CodeableConcept}
  - {id: text, from: OBX-5, to: %s, as: "ST[%s]"}
  - {id: number, from: OBX-5, to: %s, as: "NM[%s]"}
"""
_TYPES = b"""
datatype: ST[%s]
rules:
  - {id: code, from: .1, to: code.text}
  - {id: text, from: .1, to: valueString}
---
datatype: NM[%s]
rules:
  - {id: number, from: .1, to: valueQuantity.value, as: decimal}
"""


def _mapped(to: bytes, kind: bytes) -> tuple[Any, list[IssueCode]]:
    files = {
        "messages/one.yaml": _MESSAGE,
        "segments/one.yaml": _SEGMENT % (to, kind, to, kind),
        "datatypes/one.yaml": _TYPES % (kind, kind),
    }
    mapper = compile_mapper(load_tables([Layer(name="std", files=files)]))
    raw = b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|7|P|2.5\rPID|1\rOBR|1\rOBX|1|NM|X||5"
    mapped = mapper.map(Message.parse(raw), MapContext(tenant="north"))
    return mapped.resources[0], [one.code for one in mapped.issues]


def test_a_choice_that_a_merged_document_writes_replaces_the_earlier_one() -> None:
    made, issues = _mapped(b"$this", b"Observation")
    assert "valueString" not in made
    assert made["valueQuantity"]["value"] == 5
    assert IssueCode.AMBIGUOUS in issues


@pytest.mark.parametrize("to", [b"component[]", b"component[0]", b"component[one]"])
def test_a_choice_in_an_element_of_a_list_replaces_the_earlier_one(to: bytes) -> None:
    made, issues = _mapped(b'"%s"' % to, b"Observation.component")
    assert made["component"] == [{"code": {"text": "5"}, "valueQuantity": {"value": 5}}]
    assert IssueCode.AMBIGUOUS in issues
