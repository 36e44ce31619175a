"""Which segments a document of a resource sees, in the structures of the standard."""

from __future__ import annotations

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Layer, MapContext, Mapper, compile_mapper, load_tables

_ORDERS = b"""
message: OML_O21
type: OML
events: [O21]
resources:
  - name: order
    type: Basic
    from: OBR
    outside: [PRIOR_RESULT]
    documents: ["OBR[Basic]", "ORC[Basic]", {document: "TQ1[Basic]", where: around}]
"""
_SEGMENTS = b"""
segment: OBR[Basic]
rules:
  - {id: code, from: OBR-4, to: code, as: CodeableConcept}
---
segment: ORC[Basic]
rules:
  - {id: placer, from: ORC-2, to: "identifier[].value"}
---
segment: TQ1[Basic]
rules:
  - {id: priority, from: TQ1-9, to: "identifier[].value"}
"""
_MSH = "MSH|^~\\&|HIS|NORTH|LAB|X|20260102||OML^O21^OML_O21|7|P|2.5.1"


def _mapper() -> Mapper:
    files = {"messages/orders.yaml": _ORDERS, "segments/orders.yaml": _SEGMENTS}
    return compile_mapper(load_tables([Layer(name="std", files=files)]))


def _identifiers(*segments: str) -> list[list[str]]:
    message = Message.parse("\r".join((_MSH, *segments)).encode())
    found = _mapper().map(message, MapContext(tenant="north")).resources
    return [[one["value"] for one in each.get("identifier", [])] for each in found]  # type: ignore[index,union-attr,call-overload,misc]  # JSON


def test_a_document_around_sees_the_group_beside_that_of_its_segment() -> None:
    first = ("ORC|NW|1", "TQ1|||||||||S", "OBR|1|||A")
    second = ("ORC|NW|2", "OBR|1|||B")
    assert _identifiers("PID|1", *first, *second) == [["1", "S"], ["2"]]


def test_what_an_earlier_result_says_is_not_said_of_the_order() -> None:
    order = ("ORC|NW|1", "OBR|1|||A")
    prior = ("PID|1||9", "ORC|RE|OLD", "OBR|1|||B", "TQ1|||||||||R", "OBX|1|ST|X||Y")
    assert _identifiers("PID|1", *order, *prior) == [["1"]]


_NEAR = b"""
segment: OBR[Basic]
rules:
  - {id: code, from: OBR-4, to: code, as: CodeableConcept}
  - {id: placer, from: ORC-2, to: "identifier[].value"}
  - {id: patient, from: PID-1, to: "identifier[].value"}
"""


def _read(structure: str, segments: bytes, *lines: str, resource: str = "") -> list[list[str]]:
    kind, event = structure.split("_")
    text = f"""
message: {structure}
type: {kind}
events: [{event}]
resources:
  - name: order
    type: Basic
    {resource or "from: OBR"}
"""
    if "documents" not in text:
        text += '    documents: ["OBR[Basic]"]\n'
    files = {"messages/one.yaml": text.encode(), "segments/one.yaml": segments}
    mapper = compile_mapper(load_tables([Layer(name="std", files=files)]))
    head = rf"MSH|^~\&|A|B|C|D|20260102||{kind}^{event}^{structure}|7|P|2.8.2"
    message = Message.parse("\r".join((head, *lines)).encode())
    found = mapper.map(message, MapContext(tenant="north")).resources
    return [[one["value"] for one in each.get("identifier", [])] for each in found]  # type: ignore[index,union-attr,call-overload,misc]  # JSON


def test_a_field_is_never_taken_from_another_order() -> None:
    lines = ("PID|p", "ORC|RE|1", "OBR|1|||A", "OBX|1|ST|X||Y", "OBR|2|||B")
    assert _read("ORU_R01", _NEAR, *lines) == [["1", "p"], ["p"]]


def test_a_field_is_never_taken_from_another_patient() -> None:
    lines = ("PID|p", "PV1|1", "ORC|RE|1", "OBR|1|||A", "PV1|2", "ORC|RE|2", "OBR|2|||B")
    assert _read("ORU_R01", _NEAR, *lines) == [["1", "p"], ["2"]]


_NOTES = b"""
segment: OBR[Basic]
rules:
  - {id: code, from: OBR-4, to: code, as: CodeableConcept}
---
segment: ORC[Basic]
rules:
  - {id: placer, from: ORC-2, to: "identifier[].value"}
---
segment: NTE[Basic]
rules:
  - {id: note, from: NTE-3, to: "identifier[].value"}
---
segment: OBX[Basic]
rules:
  - {id: value, from: OBX-5, to: "identifier[].value"}
"""


def test_an_order_control_within_the_group_of_a_request_makes_no_order_of_its_own() -> None:
    lines = ("SPM|1", "OBR|1|||A", "ORC|RE|1", "OBR|2|||B", "ORC|RE|2")
    resource = 'from: [OBR, ORC]\n    documents: ["OBR[Basic]", "ORC[Basic]"]\n'
    assert _read("OUL_R22", _NOTES, *lines, resource=resource) == [["1"], ["2"]]


def test_a_note_behind_the_timing_of_a_request_is_on_the_request() -> None:
    lines = ("PID|1", "OBR|1|||A", "NTE|1||a", "TQ1|1", "NTE|2||b", "OBX|1", "NTE|1||c")
    resource = 'from: OBR\n    documents: ["OBR[Basic]", {document: "NTE[Basic]", where: after}]\n'
    assert _read("ORU_R01", _NOTES, *lines, resource=resource) == [["a", "b"]]


def test_a_document_leaves_out_the_groups_that_it_names() -> None:
    lines = ("PID|1", "OBR|1|||A", "OBX|1|ST|X||a", "SPM|1", "OBX|1|ST|X||b")
    resource = (
        'from: OBR\n    documents: ["OBR[Basic]", {document: "OBX[Basic]", outside: [SPECIMEN]}]\n'
    )
    assert _read("ORU_R01", _NOTES, *lines, resource=resource) == [["a"]]
