"""Synthetic bodies, and codecs whose dictionaries are offered."""

from __future__ import annotations

import hashlib

import zstandard

from bus.bodies import BodyCodec, BodyPolicy, Dictionaries, Encoded
from schemas.dictionaries import ShippedDictionary, shipped
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

V2, FHIR = "hl7v2/ADT^A01", "application/fhir+json"
MESSAGE = (
    b"MSH|^~\\&|EMR|TESTHOSP|HIS|TESTHOSP|20260101120000||ADT^A01^ADT_A01|C1|P|2.5.1|||AL|NE||UNICODE UTF-8\r"
    b"EVN|A01|20260101120000\r"
    b"PID|1||100001^^^TESTHOSP^MR||EXAMPLE^TEST^Q||19400101|U||2106-3^White^HL70005|1 EXAMPLE ST^^TOWN^ZZ^00000^USA^H\r"
    b"PV1|1|I|4W^401^1^TESTHOSP||||2001^DOCTOR^DEMO^^^DR|||MED||||7|||2001^DOCTOR^DEMO^^^DR|INP|V1^^^TESTHOSP^VN\r"
    b"DG1|1||I10^Essential hypertension^I10|||A\r"
)
RESOURCE = (
    b'{"resourceType":"Observation","id":"x","status":"final","code":{"coding":[{"system":"http://loinc.org",'
    b'"code":"718-7","display":"Hemoglobin [Mass/volume] in Blood"}]},"subject":{"reference":"Patient/1"},'
    b'"valueQuantity":{"value":13.20,"unit":"g/dL","system":"http://unitsofmeasure.org","code":"g/dL"}}'
)


def offered(own: tuple[ShippedDictionary, ...] | None = None) -> Dictionaries:
    """Dictionaries that lie in the mesh."""
    dictionaries = Dictionaries(own)
    for one in dictionaries.current():
        dictionaries.offered(one.id)
    return dictionaries


def sender(**policy: object) -> BodyCodec:
    """A codec that may use the shipped dictionaries."""
    return BodyCodec(offered(), BodyPolicy(**policy))  # type: ignore[arg-type]  # a test's own keywords


def content(encoded: Encoded, raw_size: int) -> pb.Content:
    """What carries an encoded body."""
    return pb.Content(
        encoding=encoded.encoding,
        dictionary_id=encoded.dictionary_id,
        raw_size=raw_size,
        body=encoded.body,
    )


def other_dictionary(kind: str = "hl7v2") -> ShippedDictionary:
    """A dictionary of another version of the program: trained here, known to nobody."""
    samples = [MESSAGE.replace(b"100001", b"%06d" % n) + b"ZZZ|%d|other\r" % n for n in range(200)]
    raw = zstandard.train_dictionary(4096, [*samples], k=200, d=8).as_bytes()
    return ShippedDictionary(id=hashlib.sha256(raw).digest(), kind=kind, is_current=True, raw=raw)


def shipped_for(kind: str) -> ShippedDictionary:
    """The dictionary that senders of this version use."""
    return next(one for one in shipped() if one.kind == kind and one.is_current)
