"""A binding that is stored says one thing, completely."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.registry.errors import SchemaError
from schemas.registry.models import (
    Binding,
    Kind,
    Revision,
    SignedRevision,
    check_binding,
    decode,
    encode,
)

HL7 = Binding(pattern="evt.north.raw.hl7v2.*", kind=Kind.HL7V2, content_types=("hl7v2/ADT^*",))
FHIR = Binding(
    pattern="evt.north.result.>", kind=Kind.FHIR, content_types=("application/fhir+json",), release="R4",
    resources=("Observation",),
)  # fmt: skip
PROTO = Binding(
    pattern="evt.north.order.>", kind=Kind.PROTOBUF, content_types=("application/protobuf",),
    message="lab.v1.Report", schema="a" * 64,
)  # fmt: skip

CALL = Binding(
    pattern="svc.north.lab.v1.rpc.place", kind=Kind.PROTOBUF, content_types=("application/x-protobuf",),
    message="lab.v1.Report", schema="a" * 64, answer_types=("application/x-protobuf",), answer_message="lab.v1.Value",
)  # fmt: skip


@pytest.mark.parametrize("binding", [HL7, FHIR, PROTO, CALL])
def test_what_is_written_is_read_again(binding: Binding) -> None:
    signed = SignedRevision(
        certificate=b"\0\xff", revision=Revision(binding=binding, version=3, written_ms=7)
    )
    assert decode(encode(signed)) == signed


def test_fields_of_a_newer_version_are_left_out() -> None:
    raw = encode(
        SignedRevision(certificate=b"", revision=Revision(binding=HL7, version=1, written_ms=7))
    )
    assert (
        decode(raw.replace(b'{"certificate"', b'{"later":[1],"certificate"')).revision.binding
        == HL7
    )


@pytest.mark.parametrize(
    "wrong",
    [
        replace(HL7, pattern="evt.North"),
        replace(HL7, content_types=()),
        replace(HL7, content_types=("text/plain",)),
        replace(HL7, content_types=("hl7v2/A B",)),
        replace(HL7, content_types=("hl7v2/ADT^A01", "hl7v2/ADT^A01")),
        replace(HL7, description="two\nlines"),
        replace(HL7, release="R4"),
        replace(HL7, codecs=("No",)),
        replace(FHIR, release="R9"),
        replace(FHIR, resources=("no resource",)),
        replace(FHIR, schema="a" * 64),
        replace(PROTO, message="no name"),
        replace(PROTO, schema="abc"),
        replace(PROTO, former=("x",)),
        replace(PROTO, answer_types=("text/plain",)),
        replace(CALL, pattern="svc.north.lab.v1.i.one.place"),
        replace(CALL, pattern="svc.north.lab.>"),
        replace(CALL, answer_types=()),
        replace(CALL, answer_types=("no type",)),
        replace(CALL, answer_message="no name"),
        replace(CALL, kind=Kind.CONTENT, message="", schema=""),
    ],
)
def test_binding_that_contradicts_itself_is_refused(wrong: Binding) -> None:
    with pytest.raises(SchemaError):
        check_binding(wrong)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"certificate":"","revision":{}}', b"\xff"])
def test_what_is_no_binding_is_refused(raw: bytes) -> None:
    with pytest.raises(SchemaError):
        decode(raw)
