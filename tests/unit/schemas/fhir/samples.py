"""Synthetic FHIR documents that the tests share, as text: numbers count by theirs."""

from __future__ import annotations

OBSERVATION = b"""{
  "resourceType": "Observation",
  "id": "obs-1",
  "meta": {"versionId": "3", "lastUpdated": "2026-11-22T08:15:00.715+00:00", "profile": ["http://example.org/p"]},
  "identifier": [{"system": "urn:oid:1.2.3", "value": "A-17"}],
  "status": "final",
  "code": {"coding": [{"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin"}]},
  "subject": {"reference": "Patient/17"},
  "encounter": {"reference": "Encounter/4"},
  "effectiveDateTime": "2026-11",
  "valueQuantity": {"value": 13.50, "unit": "g/dl", "system": "http://unitsofmeasure.org", "code": "g/dL"},
  "component": [
    {"code": {"text": "int"}, "valueInteger": 3},
    {"code": {"text": "whole"}, "valueQuantity": {"value": 185}},
    {"code": {"text": "tiny"}, "valueQuantity": {"value": 1e-400}},
    {"code": {"text": "flag"}, "valueBoolean": false}
  ]
}"""

PATIENT = """{
  "resourceType": "Patient",
  "id": "17",
  "identifier": [{"system": "urn:oid:1.2.3", "value": "MRN-17"}, {"value": "no-system"}],
  "active": true,
  "name": [{
    "family": "du Marché",
    "given": ["Anna", null, "Béa"],
    "_given": [null, {"id": "x", "extension": [{"url": "http://example.org/e", "valueDecimal": 1.10}]}, null]
  }],
  "birthDate": "1974-12-25",
  "_birthDate": {"extension": [{"url": "http://example.org/t", "valueDateTime": "1974-12-25T14:35:45-05:00"}]},
  "multipleBirthInteger": 2,
  "photo": [{"contentType": "image/gif", "data": "R0lGODlhEwARAPcAAAAAAAAA/+9aAO+1AP/WAP/eAP/eCP/eEA=="}],
  "contained": [{"resourceType": "Organization", "id": "o", "name": "North"}, {"resourceType": "Nope", "x": 1.10}]
}""".encode()

BUNDLE = (
    b'{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1","resource":'
    + PATIENT
    + b'},{"resource":'
    + OBSERVATION
    + b'},{"resource":{"resourceType":"Bundle","type":"batch","entry":[{"resource":'
    + OBSERVATION
    + b'}]}},{"response":{"status":"200","outcome":{"resourceType":"OperationOutcome","issue":[]}}}]}'
)


def questionnaire(depth: int) -> bytes:
    """Items in items, `depth` of them."""
    inner = b'{"linkId":"%d","item":[' * depth % tuple(range(depth))
    return (
        b'{"resourceType":"Questionnaire","status":"draft","item":['
        + inner
        + b'{"linkId":"x"}'
        + b"]}" * depth
        + b"]}"
    )
