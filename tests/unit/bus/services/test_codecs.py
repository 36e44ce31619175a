"""Types as they travel; what does not validate is refused by the names of fields alone."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bus.services.codecs import BYTES, JSON, PROTOBUF, TEXT, DeclarationError, codec_for
from bus.services.protocol import InvalidRequest
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

SECRET = "Example-4711"


class Bed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = Field(alias="bedNumber")
    notes: dict[str, int] = {}


class Ward(BaseModel):
    name: str
    beds: list[Bed] = []

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == SECRET:
            raise ValueError(f"{name} is no ward")
        return name


def test_model_travels_as_json_by_its_aliases() -> None:
    codec = codec_for(Ward)
    ward = Ward(name="3b", beds=[Bed(bedNumber=7)])
    assert codec.content_type == JSON
    assert codec.decode(codec.encode(ward)) == ward
    assert b'"bedNumber":7' in codec.encode(ward)
    assert '"bedNumber"' in codec.schema


def test_protobuf_message_travels_in_its_binary_form() -> None:
    codec = codec_for(pb.Identifier)
    value = pb.Identifier(system="mrn", value="1")
    assert (codec.content_type, codec.schema) == (PROTOBUF, "medmesh.content.v1.Identifier")
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("kind", "value", "content_type"),
    [(bytes, b"\0x", BYTES), (str, "Müller", TEXT), (type(None), None, BYTES)],
)
def test_plain_types_travel_as_they_are(kind: Any, value: object, content_type: str) -> None:
    codec = codec_for(kind)
    assert codec.content_type == content_type
    assert codec.decode(codec.encode(value)) == value


def test_none_may_be_written_as_annotations_do() -> None:
    assert codec_for(None) is codec_for(type(None))  # type: ignore[arg-type]  # as in `-> None`


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ('{"beds": []}', "name: missing"),
        (f'{{"name": "{SECRET}"}}', "name: value_error"),
        (
            f'{{"name": "a", "beds": [{{"bedNumber": "{SECRET}"}}]}}',
            "beds.0.bedNumber: int_parsing",
        ),
        (
            f'{{"name": "a", "beds": [{{"bedNumber": 1, "{SECRET}": 1}}]}}',
            "beds.0.*: extra_forbidden",
        ),
        (
            f'{{"name": "a", "beds": [{{"bedNumber": 1, "notes": {{"{SECRET}": "x"}}}}]}}',
            "beds.0.notes.*: int_parsing",
        ),
        (f'"{SECRET}"', "body: model_type"),
        (f"{{{SECRET}", "body: json_invalid"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "body: json_invalid"),
    ],
)
def test_refusal_names_fields_and_never_what_was_sent(raw: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec_for(Ward).decode(raw.encode("latin-1"))
    assert str(caught.value) == f"invalid_body: {told}"
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_many_faults_are_told_in_part() -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec_for(Ward).decode(b'{"name": "a", "beds": [%s]}' % b",".join([b"1"] * 500))
    assert str(caught.value).count(";") == 19


@pytest.mark.parametrize(
    ("kind", "raw"), [(pb.Identifier, b"\xff\xff"), (str, b"\xff"), (type(None), b"x")]
)
def test_bytes_that_are_no_encoding_are_refused(kind: Any, raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec_for(kind).decode(raw)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("kind", [Ward, pb.Identifier, bytes, str])
def test_value_of_another_type_is_not_sent(kind: Any) -> None:
    with pytest.raises(TypeError):
        codec_for(kind).encode(7)


@pytest.mark.parametrize("kind", [int, dict, list[int], BaseModel, str | None, Any, object])
def test_other_types_cannot_travel(kind: Any) -> None:
    with pytest.raises(DeclarationError, match="cannot travel"):
        codec_for(kind)
