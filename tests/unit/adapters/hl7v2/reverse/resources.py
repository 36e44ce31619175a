"""Resources and messages that the tests of the way to HL7 v2 are made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import Layer
from adapters.hl7v2.reverse import (
    WriteContext,
    Writer,
    Written,
    compile_writer,
    default_writer,
    load_reverse_tables,
)

TIME = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"


def patient(identity: str = "p", **more: object) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": identity,
        "identifier": [
            {
                "value": f"MRN-{identity}",
                "system": "urn:oid:2.16.840.1.113883.19.5",
                "type": {"coding": [{"system": V2_0203, "code": "MR"}]},
            }
        ],
        "name": [{"family": "Example", "given": ["Ada", "Maria"], "use": "official"}],
        "gender": "female",
        "birthDate": "1970-01",
        **more,
    }


def typed(value: str, kind: str) -> dict[str, Any]:
    return {
        "value": value,
        "system": "urn:oid:1.2.3",
        "type": {"coding": [{"system": V2_0203, "code": kind}]},
    }


def order(**more: object) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": "o",
        "status": "active",
        "intent": "order",
        "identifier": [typed("O1", "PLAC"), typed("F1", "FILL")],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}]
        },
        "subject": {"reference": "Patient/p"},
        "authoredOn": "2026-03-01T10:00:00+01:00",
        **more,
    }


def observation(identity: str = "x", **more: object) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": identity,
        "status": "final",
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "2345-7", "display": "Glucose"}]
        },
        "subject": {"reference": "Patient/p"},
        **more,
    }


def report(*results: str, **more: object) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": "r",
        "status": "final",
        "identifier": [typed("F1", "FILL")],
        "code": {"text": "Chemistry"},
        "subject": {"reference": "Patient/p"},
        "result": [{"reference": f"Observation/{one}"} for one in results],
        **more,
    }


def header(event: str, **more: object) -> dict[str, Any]:
    return {
        "resourceType": "MessageHeader",
        "id": "h",
        "eventCoding": {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": event},
        "source": {"name": "EHR", "endpoint": "urn:oid:1.2.3.4"},
        **more,
    }


def bundle(*resources: Mapping[str, object]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": one} for one in resources],
    }


def context(
    version: str = "2.5.1", charset: str = "UNICODE UTF-8", **settings: str
) -> WriteContext:
    return WriteContext(
        time=TIME, control_id="C1", version=version, charset=charset, parameters=settings
    )


def write(*resources: Mapping[str, object], at: WriteContext | None = None) -> Written:
    return default_writer().write(bundle(*resources), at or context())


def message(*resources: Mapping[str, object], at: WriteContext | None = None) -> Message:
    written = write(*resources, at=at)
    assert written.message is not None, [(one.code, one.where) for one in written.issues]
    return Message.parse(written.message)


def lines(written: Message) -> list[str]:
    """The names of the segments in order."""
    return [one.name for one in written.segments()]


def layered(files: Mapping[str, str]) -> Writer:
    """A writer of the standard tables and one layer over them."""
    raw = {name: text.encode() for name, text in files.items()}
    return compile_writer(load_reverse_tables(["to-v2", Layer(name="site", files=raw)]))
