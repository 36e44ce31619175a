"""The AsyncAPI document says what is bound, refers only to what it holds, and is the same for the same bindings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from schemas.registry.asyncapi import Origin, document
from schemas.registry.models import Binding, Kind
from tests.unit.schemas.registry.protos import report
from tests.unit.schemas.registry.test_models import CALL, FHIR, HL7, PROTO

ORIGIN = Origin(title="st-elsewhere, site north", host="n1:4222")
CONTENT = Binding(
    pattern="evt.north.imaging.stored.*", kind=Kind.CONTENT, content_types=("application/dicom",), description="Slices."
)  # fmt: skip
STRUCTURE = json.loads((Path(__file__).parent / "asyncapi_structure.json").read_text())
_KEY = re.compile(r"[\w.-]+\Z")


def built() -> dict[str, object]:
    closure = report()
    bound = (
        FHIR,
        HL7,
        replace(PROTO, schema=closure.schema),
        CONTENT,
        replace(CALL, schema=closure.schema),
    )
    return document(bound, {closure.schema: closure}, ORIGIN)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_document_has_the_structure_of_asyncapi_3() -> None:
    errors = [one.message for one in Draft7Validator(STRUCTURE).iter_errors(built())]
    assert errors == []


def test_every_reference_leads_somewhere() -> None:
    whole = built()
    found = list(references(whole))
    assert len(found) >= 4 * 3
    for reference in found:
        place: object = whole
        for step in reference.removeprefix("#/").split("/"):
            assert isinstance(place, dict)
            assert step in place, reference
            place = place[step]


def test_channels_are_subjects_with_a_parameter_for_each_wildcard() -> None:
    channels = built()["channels"]
    assert isinstance(channels, dict)
    addresses = {one["address"]: set(one.get("parameters", ())) for one in channels.values()}
    assert addresses == {
        "evt.north.raw.hl7v2.{partition}": {"partition"},
        "evt.north.result.{rest}": {"rest"},
        "evt.north.order.{rest}": {"rest"},
        "evt.north.imaging.stored.{partition}": {"partition"},
        "svc.north.lab.v1.rpc.place": set(),
        None: set(),
    }
    assert all(_KEY.match(key) for key in channels)


def test_protobuf_payload_is_the_text_of_its_file() -> None:
    components = built()["components"]
    assert isinstance(components, dict)
    (schema,) = components["schemas"].values()
    assert schema["schemaFormat"] == "application/vnd.google.protobuf;version=3"
    assert "message Report {" in schema["schema"]


def test_a_call_is_a_request_with_a_reply() -> None:
    whole = built()
    operations, components = whole["operations"], whole["components"]
    assert isinstance(operations, dict)
    assert isinstance(components, dict)
    channel = "svc.north.lab.v1.rpc.place"
    assert operations[f"call.{channel}"]["action"] == "send"
    assert operations[f"serve.{channel}"]["action"] == "receive"
    for name in ("call", "serve"):
        reply = operations[f"{name}.{channel}"]["reply"]
        assert reply == {"channel": {"$ref": f"#/channels/{channel}.answers"}}
    assert components["messages"][f"{channel}.lab_v1_Report"]["name"] == "lab.v1.Report"
    assert components["messages"][f"{channel}.answers.lab_v1_Value"]["name"] == "lab.v1.Value"
    wide = document((replace(CALL, pattern="svc.north.*.v1.rpc.*"),), {}, ORIGIN)["channels"]
    assert isinstance(wide, dict)
    assert wide["svc.north.ANY.v1.rpc.ANY"]["address"] == "svc.north.{service}.v1.rpc.{method}"


def test_same_bindings_give_the_same_document() -> None:
    assert json.dumps(built()) == json.dumps(built())
    assert document((), {}, ORIGIN)["channels"] == {}


@pytest.mark.parametrize(
    ("pattern", "other"), [("evt.n.*", "evt.n.any"), ("evt.n.>", "evt.n.rest")]
)
def test_wildcard_never_shares_a_channel_with_a_token(pattern: str, other: str) -> None:
    channels = document(
        (replace(CONTENT, pattern=pattern), replace(CONTENT, pattern=other)), {}, ORIGIN
    )["channels"]
    assert isinstance(channels, dict)
    assert len(channels) == 2
