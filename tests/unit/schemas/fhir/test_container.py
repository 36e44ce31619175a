"""A document as a file that says what it holds."""

from __future__ import annotations

import pytest

from schemas.fhir import BodyCodec, FhirCodec, MalformedFhir, Release
from schemas.fhir.container import boxed, unboxed
from schemas.fhir.roundtrip import RoundTrip, Verdict
from tests.unit.schemas.fhir.samples import OBSERVATION, PATIENT


@pytest.mark.parametrize(
    "raw", [PATIENT, b'{"resourceType":"Nope"}', b'{"resourceType":"Patient"}']
)
def test_a_box_gives_back_what_went_in(raw: bytes) -> None:
    encoded = FhirCodec(Release.R4).encode(raw)
    assert unboxed(boxed(encoded, Release.R4), Release.R4) == encoded


@pytest.mark.parametrize("raw", [b"", b"\xff\xff", PATIENT])
def test_other_bytes_are_no_box(raw: bytes) -> None:
    with pytest.raises(MalformedFhir):
        unboxed(raw, Release.R4)


def test_round_trips_are_counted_by_their_verdict() -> None:
    trip = RoundTrip(Release.R4)
    assert trip.take(OBSERVATION) == (Verdict.IDENTICAL, "")
    assert trip.take(b'{"resourceType":"Nope"}') == (Verdict.IDENTICAL, "")
    assert trip.take(b'{"resourceType":"Patient","id":"a","id":"b"}')[0] is Verdict.DIFFERENT
    assert trip.take(b"{")[0] is Verdict.ERROR
    assert (trip.verdicts.total(), trip.as_json) == (4, 1)
    assert 0 < trip.protobuf_bytes < trip.json_bytes
    assert trip.codec.encode(OBSERVATION).codec is BodyCodec.PROTOBUF
