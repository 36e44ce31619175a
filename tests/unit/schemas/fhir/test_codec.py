"""FHIR JSON to protobuf and back: identical, or carried as the JSON that it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.fhir import (
    BodyCodec,
    Encoded,
    FallBack,
    FhirCodec,
    MalformedFhir,
    NewerFhirSchema,
    Release,
    UnknownFhirType,
    decode,
    encode,
)
from schemas.fhir.catalogue import catalogue
from schemas.fhir.text import canonical
from tests.unit.schemas.fhir.samples import BUNDLE, OBSERVATION, PATIENT, questionnaire


@pytest.fixture
def codec() -> FhirCodec:
    return FhirCodec(Release.R4)


def observation(rest: str) -> bytes:
    return f'{{"resourceType":"Observation",{rest}}}'.encode()


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("raw", [OBSERVATION, PATIENT, BUNDLE])
def test_a_document_comes_back_identical_in_each_release(raw: bytes, release: Release) -> None:
    encoded = encode(raw, release)
    assert encoded.codec is BodyCodec.PROTOBUF
    assert encoded.message_type.startswith(release.package)
    assert canonical(decode(encoded)) == canonical(raw)


GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
SAMPLES = {"observation": OBSERVATION, "patient": PATIENT, "bundle": BUNDLE}


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_on_the_wire_are_those_of_the_first_version(name: str, release: Release) -> None:
    body = bytes.fromhex(GOLDEN[release.value][name])
    message_type = release.message_type(name.capitalize())
    old = Encoded(BodyCodec.PROTOBUF, body, message_type)
    assert canonical(decode(old)) == canonical(SAMPLES[name])
    assert encode(SAMPLES[name], release) == old


CARRIED_EXACTLY = {
    "trailing zero": '"valueQuantity":{"value":1.10}',
    "exponent": '"valueQuantity":{"value":1E5}',
    "beyond double": '"valueQuantity":{"value":1e400}',
    "thirty digits": '"valueQuantity":{"value":123456789012345678901234567890.10}',
    "large whole": '"valueQuantity":{"value":123456789012345678901234567890}',
    "negative zero with a fraction": '"valueQuantity":{"value":-0.0}',
    "decimal as text": '"valueQuantity":{"value":"1.10"}',
    "unknown elements": '"zzz":{"a":[1.10,null,{"b":[]}]},"unknown_json":"x","_o1":1',
    "two values": '"valueString":"a","valueInteger":1',
    "integer out of range": '"valueInteger":2147483648',
    "integer with a fraction": '"valueInteger":1.0',
    "boolean as text": '"valueBoolean":"true"',
    "number for a boolean": '"valueBoolean":1',
    "boolean for an integer": '"valueInteger":true',
    "null": '"status":null,"subject":null,"identifier":null,"valueQuantity":{"value":null}',
    "empty text": '"status":"","id":""',
    "empty object": '"subject":{},"valueQuantity":{},"_status":{}',
    "empty lists": '"identifier":[],"contained":[],"category":[{"coding":[]}]',
    "list of empty objects": '"identifier":[{},{"value":"x"},{}]',
    "object for a list": '"identifier":{"value":"x"}',
    "list for an object": '"subject":[{"reference":"Patient/1"}]',
    "null in a list": '"identifier":[null]',
    "resourceType in a data type": '"subject":{"resourceType":"Patient","reference":"x"}',
    "sibling of a complex element": '"_subject":{"id":"x"}',
    "contained odd values": '"contained":[null,"x",1.10,[],{},{"resourceType":5},{"resourceType":"Patient"}]',
    "escapes": '"status":"\\u0000\\u00e9\\ud83d\\ude00\\u2028\\""',
}


@pytest.mark.parametrize("rest", CARRIED_EXACTLY.values(), ids=CARRIED_EXACTLY.keys())
def test_odd_values_are_carried_by_protobuf(codec: FhirCodec, rest: str) -> None:
    raw = observation(rest)
    encoded = codec.encode(raw, verify=True)
    assert encoded.codec is BodyCodec.PROTOBUF
    assert canonical(codec.decode(encoded)) == canonical(raw)


@pytest.mark.parametrize("given", ['["a","",null]', "[null,null]", '["a"]', '[""]'])
@pytest.mark.parametrize("extra", ["[null,{}]", "[{},{}]", '[null,{"id":"x"}]', "[]", '[{"id":1}]'])
def test_nulls_that_pad_primitive_lists_survive(codec: FhirCodec, given: str, extra: str) -> None:
    raw = f'{{"resourceType":"Patient","name":[{{"given":{given},"_given":{extra}}}]}}'.encode()
    assert canonical(codec.decode(codec.encode(raw))) == canonical(raw)


@pytest.mark.parametrize("text", ["YQ==", "Y Q==", "YQ", "YR==", "", "YQ==\\n", "é", "@@"])
def test_base64_keeps_its_spelling(codec: FhirCodec, text: str) -> None:
    raw = f'{{"resourceType":"Binary","data":"{text}"}}'.encode()
    encoded = codec.encode(raw)
    assert canonical(codec.decode(encoded)) == canonical(raw)
    assert (codec.counts.unknown_json == 0) is (text in ("YQ==", ""))


FALLS_BACK = {
    FallBack.NEGATIVE_ZERO: observation('"valueInteger":-0'),
    FallBack.UNKNOWN_TYPE: b'{"resourceType":"Nope","id":"a"}',
    FallBack.TOO_DEEP: questionnaire(110),
}


@pytest.mark.parametrize(("reason", "raw"), FALLS_BACK.items())
def test_what_protobuf_cannot_carry_travels_as_its_very_bytes(
    codec: FhirCodec, reason: FallBack, raw: bytes
) -> None:
    encoded = codec.encode(raw)
    assert encoded == Encoded(BodyCodec.JSON, raw, "")
    assert codec.decode(encoded) == raw
    assert codec.counts.fell_back == {reason: 1}


@pytest.mark.parametrize("raw", [b'{"id":"a"}', b'{"resourceType":5}', b"{}"])
def test_a_document_without_a_type_travels_as_json(codec: FhirCodec, raw: bytes) -> None:
    assert codec.encode(raw).codec is BodyCodec.JSON


def test_a_document_too_deep_inside_another_travels_as_json(codec: FhirCodec) -> None:
    raw = b'{"resourceType":"Bundle","entry":[{"resource":%s}]}' % questionnaire(110)
    assert codec.encode(raw).codec is BodyCodec.JSON


@pytest.mark.parametrize("depth", [10, 60, 97, 98, 99, 100, 300])
def test_any_depth_comes_back_identical(codec: FhirCodec, depth: int) -> None:
    raw = questionnaire(depth)
    assert canonical(codec.decode(codec.encode(raw))) == canonical(raw)


def test_bundles_in_bundles_come_back_however_deep(codec: FhirCodec) -> None:
    raw = questionnaire(90)
    for _ in range(60):
        raw = b'{"resourceType":"Bundle","entry":[{"resource":%s}]}' % raw
    encoded = codec.encode(raw)
    assert codec.decode(encoded) == raw


@pytest.mark.parametrize("depth", [20, 150, 300, 450])
def test_resources_in_resources_are_never_refused_for_their_depth(
    codec: FhirCodec, depth: int
) -> None:
    raw = b'{"resourceType":"Patient","id":"innermost","zzz":1}'
    for _ in range(depth):
        raw = b'{"resourceType":"Patient","contained":[%s]}' % raw
    assert codec.decode(codec.encode(raw)) == raw


def test_what_travels_as_json_is_json(codec: FhirCodec) -> None:
    entries = questionnaire(110) + b'},{"resource":{"resourceType":"Patient","id":"\xff"}'
    with pytest.raises(MalformedFhir):
        codec.encode(b'{"resourceType":"Bundle","entry":[{"resource":%s}]}' % entries)


def test_verification_finds_a_key_that_stands_twice(codec: FhirCodec) -> None:
    raw = observation('"id":"a","id":"b"')
    assert codec.encode(raw).codec is BodyCodec.PROTOBUF
    assert codec.encode(raw, verify=True) == Encoded(BodyCodec.JSON, raw, "")
    assert codec.counts.fell_back == {FallBack.NOT_IDENTICAL: 1}


def test_a_second_resource_type_is_not_taken_for_the_first(codec: FhirCodec) -> None:
    raw = observation('"status":"final","resourceType":"Patient"')
    assert codec.encode(raw) == Encoded(BodyCodec.JSON, raw, "")
    assert codec.counts.fell_back == {FallBack.TWO_TYPES: 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"resourceType":"Observation","id":}',
        b'{"resourceType":"Observation","valueQuantity":{"value":NaN}}',
        b'{"resourceType":"Observation","id":"\xff"}',
        b'{"resourceType":"Observation","id":"\\ud800"}',
        b'{"resourceType":"Observation"} x',
        b'{"resourceType":"Nope",',
        b'{"resourceType":"Observation","valueInteger":-0,}',
        b'{"resourceType":"Observation","contained":[{"resourceType":"Nope","x":"\xff"}]}',
        b'{"resourceType":"Observation","zzz":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(codec: FhirCodec, raw: bytes) -> None:
    with pytest.raises(MalformedFhir):
        codec.encode(raw)


def test_refusals_hold_no_content(codec: FhirCodec) -> None:
    with pytest.raises(MalformedFhir) as refusal:
        codec.encode(b'{"resourceType":"Patient","name":[{"family":"Chalmers\xff"}]}')
    assert "Chalmers" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_counts_show_what_a_sender_sends(codec: FhirCodec) -> None:
    codec.encode(OBSERVATION)
    assert (codec.counts.encoded, codec.counts.careful, codec.counts.unknown_json) == (1, 0, 0)
    codec.encode(observation('"zzz":1'))
    codec.encode(observation('"status":null,"subject":{"zzz":1}'))
    codec.encode(b'{"resourceType":"Nope"}')
    assert (codec.counts.encoded, codec.counts.careful, codec.counts.unknown_json) == (4, 2, 2)
    assert codec.counts.fell_back.total() == 1


def test_content_types_name_the_message(codec: FhirCodec) -> None:
    assert codec.encode(PATIENT).content_type == (
        "application/fhir+protobuf; message=medmesh.fhir.r4.v1.Patient"
    )
    assert Encoded(BodyCodec.JSON, b"{}", "").content_type == "application/fhir+json"


@pytest.mark.parametrize(
    "message_type",
    ["", "Patient", "medmesh.fhir.r4.v1.Nope", "medmesh.fhir.r5.v1.Patient", "medmesh.fhir.r4.v1."],
)
def test_a_message_type_of_nothing_known_is_refused(codec: FhirCodec, message_type: str) -> None:
    with pytest.raises(UnknownFhirType):
        codec.decode(Encoded(BodyCodec.PROTOBUF, b"", message_type))


def test_the_release_of_a_message_is_found_by_its_name() -> None:
    for release in Release:
        assert b"du March" in decode(encode(PATIENT, release))
    with pytest.raises(UnknownFhirType):
        decode(Encoded(BodyCodec.PROTOBUF, b"", "google.protobuf.Any"))


class TestHostileMessages:
    """What comes as protobuf may come from anyone."""

    def decode(self, codec: FhirCodec, name: str, **fields: object) -> bytes:
        message = catalogue(Release.R4).wire_class(name)(**fields)
        body = message.SerializeToString()
        return codec.decode(Encoded(BodyCodec.PROTOBUF, body, Release.R4.message_type(name)))

    def test_bytes_that_are_no_message(self, codec: FhirCodec) -> None:
        with pytest.raises(MalformedFhir):
            codec.decode(Encoded(BodyCodec.PROTOBUF, b"\xff\xff", "medmesh.fhir.r4.v1.Patient"))

    @pytest.mark.parametrize(
        "text", ["", "NaN", "1,2", "1}", "01", "+1", "1.", "0x1", "1\n", "\u0661"]
    )
    def test_a_decimal_that_is_no_number(self, codec: FhirCodec, text: str) -> None:
        with pytest.raises(MalformedFhir):
            self.decode(codec, "Observation", valueQuantity={"value": text})

    @pytest.mark.parametrize(
        "rest", [b"{", b"[]", b'{"resourceType":"Patient"}', b'{"a":"\xff"}', b"{} x"]
    )
    def test_unknown_json_that_is_none_or_claims_another_type(
        self, codec: FhirCodec, rest: bytes
    ) -> None:
        with pytest.raises(MalformedFhir):
            self.decode(codec, "Observation", unknown_json=rest)

    @pytest.mark.parametrize(
        "box",
        [
            {"json": b"{"},
            {"json": b'{"a":"\xff"}'},
            {"type": "Nope", "proto": b""},
            {"type": "", "proto": b""},
            {"type": "Patient", "proto": b"\xff"},
        ],
    )
    def test_boxes_that_hold_no_resource(self, codec: FhirCodec, box: dict[str, object]) -> None:
        with pytest.raises(MalformedFhir):
            self.decode(codec, "Patient", contained=[box])

    def test_fields_of_a_newer_schema_are_not_dropped_quietly(self, codec: FhirCodec) -> None:
        name = "medmesh.fhir.r4.v1.Patient"
        body = codec.encode(PATIENT).body + b"\xc2\x3e\x01x"  # field 1000
        with pytest.raises(NewerFhirSchema):
            codec.decode(Encoded(BodyCodec.PROTOBUF, body, name))

    def test_another_spelling_of_the_same_fields_is_read(self, codec: FhirCodec) -> None:
        body = b"\x0a\x82\x00ab"  # the length of `id` in two bytes
        raw = codec.decode(Encoded(BodyCodec.PROTOBUF, body, "medmesh.fhir.r4.v1.Patient"))
        assert raw == b'{"resourceType":"Patient","id":"ab"}'


class TestTypedMessages:
    """The message itself, for those who read protobuf."""

    def test_fields_are_those_of_the_proto_files(self, codec: FhirCodec) -> None:
        message = codec.open(codec.encode(OBSERVATION))
        assert message.DESCRIPTOR.full_name == "medmesh.fhir.r4.v1.Observation"
        assert getattr(message, "effective_date_time") == "2026-11"  # noqa: B009
        assert getattr(message, "value_quantity").value == "13.50"  # noqa: B009

    def test_resources_in_a_bundle_stay_closed_until_asked_for(self, codec: FhirCodec) -> None:
        bundle = codec.open(codec.encode(BUNDLE))
        boxes = [entry.resource for entry in getattr(bundle, "entry")]  # noqa: B009
        assert [box.type for box in boxes] == ["Patient", "Observation", "Bundle", ""]
        patient = codec.open_box(boxes[0])
        assert not isinstance(patient, bytes)
        assert getattr(patient, "birth_date") == "1974-12-25"  # noqa: B009
        unknown = codec.open_box(getattr(patient, "contained")[1])  # noqa: B009
        assert isinstance(unknown, bytes)
        assert canonical(unknown) == canonical(b'{"resourceType":"Nope","x":1.10}')

    def test_json_and_broken_bytes_have_no_message(self, codec: FhirCodec) -> None:
        with pytest.raises(MalformedFhir):
            codec.open(codec.encode(b'{"resourceType":"Nope"}'))
        with pytest.raises(MalformedFhir):
            codec.open(Encoded(BodyCodec.PROTOBUF, b"\xff", "medmesh.fhir.r4.v1.Patient"))
