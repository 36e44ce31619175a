"""A message fits its binding, or is refused with words of our own: never with its content."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from schemas.registry.checks import compile_check
from schemas.registry.errors import Misfit, SchemaError, SchemaRefused
from schemas.registry.models import Binding, Depth, Kind
from schemas.registry.table import BindingTable
from tests.unit.schemas.registry.protos import REPORT, report
from tests.unit.schemas.registry.test_models import CALL, FHIR, HL7, PROTO

FHIR_JSON = "application/fhir+json"
SECRET = "QUOKKA"


def refusal(
    binding: Binding, content_type: str, body: bytes = b"", text: str = REPORT
) -> SchemaRefused | None:
    closure = report(text) if binding.kind is Kind.PROTOBUF else None
    try:
        compile_check(binding, closure)(content_type, body)
    except SchemaRefused as error:
        refused = error
    else:
        return None
    assert SECRET not in str(refused)
    assert binding.pattern in str(refused)
    return refused


def misfit(binding: Binding, content_type: str, body: bytes = b"") -> Misfit | None:
    refused = refusal(binding, content_type, body)
    return refused.misfit if refused is not None else None


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("hl7v2/ADT^A01", None),
        ("hl7v2/ADT^A08", None),
        ("hl7v2/ORU^R01", Misfit.MESSAGE_TYPE),
        ("hl7v2/unknown", Misfit.MESSAGE_TYPE),
        ("text/plain", Misfit.MESSAGE_TYPE),
    ],
)
def test_hl7_message_types_are_those_on_the_list(
    content_type: str, expected: Misfit | None
) -> None:
    assert misfit(HL7, content_type) is expected


def test_type_that_is_of_no_standards_shape_is_not_repeated() -> None:
    for content_type in (
        f"hl7v2/{SECRET}^{SECRET}",
        f"hl7v2/LEE^ANN {SECRET}",
        SECRET,
        f"{SECRET}/x",
    ):
        refused = refusal(HL7, content_type)
        assert refused is not None
        assert refused.seen == "an unknown type"
    body = json.dumps({"resourceType": SECRET}).encode()
    refused = refusal(FHIR, FHIR_JSON, body)
    assert refused is not None
    assert refused.seen == "another resource type"


def test_hl7_body_is_read_where_the_whole_is_checked() -> None:
    full = replace(HL7, depth=Depth.FULL)
    message = f"MSH|^~\\&|A|B|C|D|20260101||ADT^A01^ADT_A01|1|P|2.5\rPID|1||{SECRET}\r"
    assert misfit(full, "hl7v2/ADT^A01", message.encode()) is None
    assert misfit(full, "hl7v2/ADT^A01", message.encode("utf-16-le")) is None
    assert misfit(full, "hl7v2/ADT^A01", b"\xff\xfe" + message.encode("utf-16-le")) is None
    assert misfit(full, "hl7v2/ADT^A01", b"\xef\xbb\xbf" + message.encode()) is None
    other = message.replace("ADT^A01", "ORU^R01").encode()
    assert misfit(full, "hl7v2/ADT^A01", other) is Misfit.MESSAGE_TYPE
    for body in (b"", b"MSH", b"MSH|^~\\&|A", SECRET.encode()):
        assert misfit(full, "hl7v2/ADT^A01", body) is not None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"resourceType":"Observation","status":"final"}', None),
        (b' {\n "resourceType" : "Observation" }', None),
        (b'{"status":"final","resourceType":"Observation"}', None),
        (b'{"resourceType":"Patient"}', Misfit.RESOURCE_TYPE),
        (
            b'{"contained":[{"resourceType":"Observation"}],"resourceType":"Patient"}',
            Misfit.RESOURCE_TYPE,
        ),
        (b'{"resourceType":17}', Misfit.RESOURCE_TYPE),
        (b'{"id":"QUOKKA"}', Misfit.RESOURCE_TYPE),
        (b"", Misfit.RESOURCE_TYPE),
        (b"QUOKKA", Misfit.RESOURCE_TYPE),
    ],
)
def test_fhir_resource_type_is_read_wherever_it_stands(
    body: bytes, expected: Misfit | None
) -> None:
    assert misfit(FHIR, FHIR_JSON, body) is expected
    assert misfit(FHIR, "application/FHIR+json; charset=utf-8", body) is expected


def test_fhir_of_depth_full_must_be_whole_json_with_one_answer() -> None:
    full = replace(FHIR, depth=Depth.FULL)
    assert misfit(full, FHIR_JSON, b'{"resourceType":"Observation"}') is None
    assert misfit(full, FHIR_JSON, b'{"resourceType":"Observation","x":') is Misfit.UNREADABLE
    assert misfit(full, FHIR_JSON, b"[]") is Misfit.UNREADABLE
    assert misfit(full, FHIR_JSON, b'{"a":' * 5000) is Misfit.UNREADABLE
    # the last of two wins with most readers: the shallow look would take the first
    twice = b'{"resourceType":"Observation","resourceType":"Patient"}'
    assert misfit(full, FHIR_JSON, twice) is Misfit.RESOURCE_TYPE
    assert misfit(replace(full, resources=()), FHIR_JSON, b"{}") is Misfit.RESOURCE_TYPE


def test_fhir_that_is_no_json_is_checked_by_its_content_type_alone() -> None:
    both = replace(FHIR, content_types=("application/fhir+json", "application/fhir+xml"))
    assert misfit(both, "application/fhir+xml", b"<Patient/>") is None
    assert misfit(FHIR, "application/fhir+xml", b"<Observation/>") is Misfit.CONTENT_TYPE


def test_protobuf_of_depth_full_must_parse_and_hold_nothing_unknown() -> None:
    full, kind = replace(PROTO, depth=Depth.FULL), "application/protobuf"
    message = report().message_class("lab.v1.Report")(id=SECRET, count=3)
    whole = message.SerializeToString()
    assert misfit(full, kind, whole) is None
    assert misfit(full, kind, b"") is None
    assert misfit(full, kind, b"\xff\xff") is Misfit.UNREADABLE
    newer = report(REPORT.replace("reserved 9;", "string more = 7; reserved 9;"))
    later = newer.message_class("lab.v1.Report")(id="1", more=SECRET).SerializeToString()
    assert misfit(full, kind, later) is Misfit.UNKNOWN_FIELDS
    assert misfit(PROTO, kind, b"\xff\xff") is None, "of depth type nothing is parsed"
    assert misfit(full, "text/plain", whole) is Misfit.CONTENT_TYPE


def test_closure_without_the_message_cannot_be_bound() -> None:
    with pytest.raises(SchemaError):
        compile_check(replace(PROTO, depth=Depth.FULL, message="lab.v1.Nothing"), report())


def test_table_holds_a_subject_to_its_strongest_binding_and_follows_changes() -> None:
    table = BindingTable()
    wide = replace(HL7, pattern="evt.north.>", kind=Kind.CONTENT, content_types=("text/plain",))
    table.check("evt.north.raw.hl7v2.3", "anything", b"")
    table.put(wide.pattern, compile_check(wide, None))
    with pytest.raises(SchemaRefused):
        table.check("evt.north.raw.hl7v2.3", "hl7v2/ADT^A01", b"")
    table.put(HL7.pattern, compile_check(HL7, None))
    table.check("evt.north.raw.hl7v2.3", "hl7v2/ADT^A01", b"")
    table.check("evt.south.raw.hl7v2.3", "anything", b"")
    table.drop(HL7.pattern)
    with pytest.raises(SchemaRefused):
        table.check("evt.north.raw.hl7v2.3", "hl7v2/ADT^A01", b"")
    assert len(table) == 1


def test_answers_are_held_to_a_type_of_their_own() -> None:
    closure = report()
    call = replace(CALL, schema=closure.schema, depth=Depth.FULL)
    answers = call.of_answers()
    assert answers is not None
    value = closure.message_class("lab.v1.Value")
    whole = value.FromString(b"\x12\x04mmol").SerializeToString()
    compile_check(answers, closure)("application/x-protobuf", whole)
    for content_type, body in (("text/plain", b""), ("application/x-protobuf", b"\xff")):
        with pytest.raises(SchemaRefused):
            compile_check(answers, closure)(content_type, body)
    assert replace(call, answer_types=(), answer_message="").of_answers() is None
    untyped = replace(call, answer_message="").of_answers()
    assert untyped is not None
    compile_check(untyped, None)("application/x-protobuf", b"\xff")


def test_a_binding_without_a_check_holds_before_a_wider_one() -> None:
    table = BindingTable()
    wide = replace(CALL, pattern="svc.north.*.v1.rpc.*").of_answers()
    assert wide is not None
    table.put(wide.pattern, compile_check(wide, None))
    table.put("svc.north.lab.v1.rpc.place", None)
    table.check("svc.north.lab.v1.rpc.place", "text/plain", b"anything")
    with pytest.raises(SchemaRefused):
        table.check("svc.north.lab.v1.rpc.other", "text/plain", b"")
