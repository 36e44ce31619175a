"""FHIR R4 resources of a country that does not exist, as JSON text of several habits. See `synthetic_elements`."""

# ruff: noqa: E501 - a segment or a resource reads best as one line
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random

from synthetic_elements import SYSTEM, US_CORE, V2, V3, Json, Writer
from synthetic_terms import (
    ALLERGIES,
    DIAGNOSES,
    DRUGS,
    PANELS,
    PROCEDURES,
    UNITS,
    VACCINES,
    VITALS,
    Term,
)


def patient(w: Writer) -> Json:
    """A patient."""
    c = w.chance
    extensions = [
        {"url": US_CORE + kind, "extension": [
            {"url": "ombCategory", "valueCoding": w.coding("urn:oid:2.16.840.1.113883.6.238", code, words)}, {"url": "text", "valueString": words}]}
        for kind, code, words in (("race", "2106-3", "White"), ("ethnicity", "2186-5", "Not Hispanic or Latino"))
    ] + [{"url": US_CORE + "birthsex", "valueCode": c.choice("MF")}]  # fmt: skip
    return {
        **w.head("Patient", "patient", w.patient), **({"extension": extensions} if w.is_us else {}),
        "identifier": [w.business(), *([w.business("SS", "Social Security Number")] if c.random() < 0.3 else [])],
        "active": True, "name": [w.person()],
        "telecom": [{"system": "phone", "value": f"555-{c.randint(100, 999)}-{c.randint(1000, 9999)}", "use": c.choice(("home", "mobile", "work"))}, {"system": "email", "value": "someone@example.com"}],
        "gender": c.choice(("male", "female", "other", "unknown")), "birthDate": f"{c.randint(1930, 2025)}-{c.randint(1, 12):02d}-{c.randint(1, 28):02d}",
        "deceasedBoolean": False, "address": [w.address()],
        "maritalStatus": w.plain(V3 + "MaritalStatus", *c.choice((("M", "Married"), ("S", "Never Married"), ("D", "Divorced")))),
        "multipleBirthBoolean": False, "contact": [{"relationship": [w.plain(V2 + "0131", "N", "Next-of-Kin")], "name": w.person()}],
        "communication": [{"language": w.plain("urn:ietf:bcp:47", "en-US", "English"), "preferred": True}],
        "generalPractitioner": [w.to("Practitioner", w.identity())], "managingOrganization": w.to("Organization", w.identity()),
    }  # fmt: skip


def encounter(w: Writer) -> Json:
    """A visit."""
    c = w.chance
    kind = c.choice((("IMP", "inpatient encounter"), ("AMB", "ambulatory"), ("EMER", "emergency")))
    performer = w.plain(V3 + "ParticipationType", c.choice(("ATND", "ADM", "PPRF")), "attender")
    return {
        **w.head("Encounter", "encounter", w.encounter), "identifier": [w.business("VN", "Visit number")],
        "status": c.choice(("in-progress", "finished", "arrived", "planned", "cancelled")), "class": w.coding(V3 + "ActCode", *kind),
        "type": [w.concept(Term("162673000", "General examination of patient (procedure)", "SCT"))], "serviceType": w.plain(V2 + "0069", "MED", "Medical Service"),
        "subject": w.to("Patient", w.patient), "participant": [{"type": [performer], "period": {"start": w.instant(), "end": w.instant()}, "individual": w.to("Practitioner", w.identity())}],
        "period": {"start": w.instant(), "end": w.instant()}, "reasonCode": [w.concept(c.choice(DIAGNOSES))],
        "hospitalization": {"admitSource": w.plain(SYSTEM + "admit-source", "emd", "From accident/emergency department"), "dischargeDisposition": w.plain(SYSTEM + "discharge-disposition", "home", "Home")},
        "location": [{"location": w.to("Location", w.identity()), "status": "active"}], "serviceProvider": w.to("Organization", w.identity()),
    }  # fmt: skip


def observation(w: Writer) -> Json:
    """A result or a vital sign."""
    c = w.chance
    is_vital = c.random() < 0.3
    test = c.choice(VITALS if is_vital else c.choice(PANELS[:6]).tests)
    category = ("vital-signs", "Vital Signs") if is_vital else ("laboratory", "Laboratory")
    flag = c.choice((("N", "Normal"), ("H", "High"), ("L", "Low"), ("A", "Abnormal")))
    low, unit = c.randint(1, 150), UNITS.get(test.code, "mg/dL")
    made: Json = {
        **w.head("Observation", "vital-signs" if is_vital else "observation-lab"), "identifier": [{"system": "urn:oid:1.2.3", "value": w.identity()}],
        "status": c.choice(("final", "final", "preliminary", "corrected")), "category": [w.plain(SYSTEM + "observation-category", *category)],
        "code": w.concept(test), **w.subject(), "effectiveDateTime": w.instant(), "issued": w.instant(), "performer": [w.to("Organization", w.identity())],
    }  # fmt: skip
    if c.random() < 0.1:
        parts = [
            {
                "code": w.concept(part),
                "valueQuantity": w.quantity(str(c.randint(60, 160)), "mm[Hg]"),
            }
            for part in VITALS[5:7]
        ]
        return {
            **made,
            "code": w.concept(
                Term("85354-9", "Blood pressure panel with all children optional", "LN")
            ),
            "component": parts,
        }
    if c.random() < 0.1:
        return {
            **made,
            "valueCodeableConcept": w.concept(Term("260385009", "Negative", "SCT")),
            "note": [{"text": "Synthetic comment."}],
        }
    made["valueQuantity"] = w.quantity(
        f"{c.uniform(low * 0.5, low * 1.6):.{c.choice((0, 1, 2))}f}", unit
    )
    if not is_vital:
        made["interpretation"] = [w.plain(V3 + "ObservationInterpretation", *flag)]
        made["referenceRange"] = [
            {
                "low": w.quantity(str(low), unit),
                "high": w.quantity(str(low * 2), unit),
                "text": f"{low}-{low * 2}",
            }
        ]
        made["specimen"] = w.to("Specimen", w.identity())
    return made


def report(w: Writer) -> Json:
    """A report of results."""
    panel = w.chance.choice(PANELS)
    return {
        **w.head("DiagnosticReport", "diagnosticreport-lab"), "identifier": [w.business("FILL", "Filler Identifier"), w.business("PLAC", "Placer Identifier")],
        "basedOn": [w.to("ServiceRequest", w.identity())], "status": "final", "category": [w.plain(V2 + "0074", "LAB", "Laboratory")],
        "code": w.concept(panel.order), **w.subject(), "effectiveDateTime": w.instant(), "issued": w.instant(), "performer": [w.to("Organization", w.identity())],
        "result": [w.to("Observation", w.identity(), test.text) for test in panel.tests[: w.chance.randint(1, 8)]],
    }  # fmt: skip


def request(w: Writer) -> Json:
    """An order."""
    c = w.chance
    return {
        **w.head("ServiceRequest"), "identifier": [w.business("PLAC", "Placer Identifier")], "status": c.choice(("active", "completed", "revoked", "draft")),
        "intent": "order", "category": [w.concept(Term("108252007", "Laboratory procedure", "SCT"))], "priority": c.choice(("routine", "urgent", "stat")),
        "code": w.concept(c.choice((c.choice(PANELS).order, c.choice(PROCEDURES)))), **w.subject(), "occurrenceDateTime": w.instant(), "authoredOn": w.instant(),
        "requester": w.to("Practitioner", w.identity()), "performer": [w.to("Organization", w.identity())], "reasonCode": [w.concept(c.choice(DIAGNOSES))],
    }  # fmt: skip


def condition(w: Writer) -> Json:
    """A diagnosis, or an allergy."""
    c = w.chance
    if c.random() < 0.3:
        status = {
            "clinicalStatus": w.plain(SYSTEM + "allergyintolerance-clinical", "active", "Active"),
            "verificationStatus": w.plain(
                SYSTEM + "allergyintolerance-verification", "confirmed", "Confirmed"
            ),
        }
        return {
            **w.head("AllergyIntolerance", "allergyintolerance"), **status, "type": "allergy", "category": [c.choice(("medication", "food", "environment"))], "criticality": "low",
            "code": w.concept(c.choice(ALLERGIES)), "patient": w.to("Patient", w.patient), "recordedDate": w.instant(), "reaction": [{"manifestation": [w.concept(Term("247472004", "Hives", "SCT"))], "severity": "moderate"}],
        }  # fmt: skip
    return {
        **w.head("Condition", "condition"), "clinicalStatus": w.plain(SYSTEM + "condition-clinical", c.choice(("active", "resolved"))), "verificationStatus": w.plain(SYSTEM + "condition-ver-status", "confirmed"),
        "category": [w.plain(SYSTEM + "condition-category", "encounter-diagnosis", "Encounter Diagnosis")], "code": w.concept(c.choice(DIAGNOSES)), **w.subject(), "onsetDateTime": w.instant(), "recordedDate": w.instant(),
    }  # fmt: skip


def medication(w: Writer) -> Json:
    """A prescription, or a vaccination."""
    c = w.chance
    if c.random() < 0.4:
        return {
            **w.head("Immunization", "immunization"), "status": "completed", "vaccineCode": w.concept(c.choice(VACCINES)), "patient": w.to("Patient", w.patient), "encounter": w.to("Encounter", w.encounter),
            "occurrenceDateTime": w.instant(), "primarySource": True, "lotNumber": str(c.randint(1000, 99999)), "expirationDate": "2030-12-31", "site": w.plain(V3 + "ActSite", "LA", "left arm"),
            "route": w.plain(V3 + "RouteOfAdministration", "IM", "Injection, intramuscular"), "doseQuantity": w.quantity("0.5", "mL"), "performer": [{"function": w.plain(V2 + "0443", "AP", "Administering Provider"), "actor": w.to("Practitioner", w.identity())}],
        }  # fmt: skip
    dosage = {
        "sequence": 1,
        "text": "Take one tablet by mouth daily",
        "timing": {"repeat": {"frequency": 1, "period": 1.0, "periodUnit": "d"}},
        "asNeededBoolean": False,
        "route": w.concept(Term("26643006", "Oral route", "SCT")),
        "doseAndRate": [
            {
                "type": w.plain(SYSTEM + "dose-rate-type", "ordered", "Ordered"),
                "doseQuantity": {"value": 1.0},
            }
        ],
    }
    return {
        **w.head("MedicationRequest", "medicationrequest"), "status": c.choice(("active", "stopped", "completed")), "intent": "order", "medicationCodeableConcept": w.concept(c.choice(DRUGS)), **w.subject(), "authoredOn": w.instant(),
        "requester": w.to("Practitioner", w.identity()), "dosageInstruction": [dosage], "dispenseRequest": {"numberOfRepeatsAllowed": 3, "quantity": {"value": 30}},
    }  # fmt: skip


def procedure(w: Writer) -> Json:
    """A procedure, or an appointment."""
    c = w.chance
    if c.random() < 0.4:
        people = [
            {"actor": w.to(kind, w.identity()), "required": "required", "status": "accepted"}
            for kind in ("Patient", "Practitioner", "Location")
        ]
        return {
            **w.head("Appointment"),
            "status": c.choice(("booked", "cancelled", "proposed")),
            "serviceType": [w.concept(c.choice(PROCEDURES))],
            "appointmentType": w.plain(V2 + "0276", "ROUTINE", "Routine appointment"),
            "start": w.instant(),
            "end": w.instant(),
            "minutesDuration": 30,
            "participant": people,
        }
    return {
        **w.head("Procedure", "procedure"),
        "status": "completed",
        "code": w.concept(c.choice(PROCEDURES)),
        **w.subject(),
        "performedPeriod": {"start": w.instant(), "end": w.instant()},
        "location": w.to("Location", w.identity()),
    }


def actor(w: Writer) -> Json:
    """Who and where."""
    c = w.chance
    number = {
        "system": "http://hl7.org/fhir/sid/us-npi",
        "value": str(c.randint(10**9, 10**10 - 1)),
    }
    if c.random() < 0.4:
        return {
            **w.head("Practitioner", "practitioner"),
            "identifier": [number],
            "active": True,
            "name": [w.person()],
            "telecom": [{"system": "phone", "value": "555-0100", "use": "work"}],
            "qualification": [{"code": w.plain(V2 + "0360", "MD", "Doctor of Medicine")}],
        }
    kind = w.plain(SYSTEM + "organization-type", "prov", "Healthcare Provider")
    if c.random() < 0.6:
        return {
            **w.head("Organization", "organization"),
            "identifier": [number],
            "active": True,
            "type": [kind],
            "name": "Example General Hospital",
            "address": [w.address()],
        }
    return {
        **w.head("Location"),
        "status": "active",
        "name": "4W-401-1",
        "mode": "instance",
        "physicalType": w.plain(SYSTEM + "location-physical-type", "bd", "Bed"),
        "managingOrganization": w.to("Organization", w.identity()),
    }


def specimen(w: Writer) -> Json:
    """A specimen, or a document."""
    c = w.chance
    if c.random() < 0.5:
        return {
            **w.head("Specimen"),
            "identifier": [w.business("SID", "Specimen ID")],
            "status": "available",
            "type": w.concept(Term("119297000", "Blood specimen", "SCT")),
            "subject": w.to("Patient", w.patient),
            "receivedTime": w.instant(),
            "collection": {"collectedDateTime": w.instant()},
        }
    content = [
        {
            "attachment": {
                "contentType": "text/plain",
                "data": "U3ludGhldGlj",
                "title": "Discharge summary",
                "creation": w.instant(),
            },
            "format": w.coding(
                "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem",
                "urn:ihe:iti:xds:2017:mimeTypeSufficient",
            ),
        }
    ]
    return {
        **w.head("DocumentReference", "documentreference"),
        "status": "current",
        "docStatus": "final",
        "type": w.concept(Term("18842-5", "Discharge summary", "LN")),
        "category": [
            w.plain(SYSTEM + "us-core-documentreference-category", "clinical-note", "Clinical Note")
        ],
        "subject": w.to("Patient", w.patient),
        "date": w.instant(),
        "author": [w.to("Practitioner", w.identity())],
        "content": content,
        "context": {
            "encounter": [w.to("Encounter", w.encounter)],
            "period": {"start": w.instant()},
        },
    }


RESOURCES: Sequence[Callable[[Writer], Json]] = (
    patient,
    encounter,
    observation,
    observation,
    observation,
    report,
    request,
    condition,
    medication,
    procedure,
    actor,
    specimen,
)


def bundle(w: Writer) -> Json:
    """Several resources of one message or of one answer."""
    c = w.chance
    kind = c.choice(("transaction", "message", "searchset", "collection"))
    made = [build(w) for build in (patient, encounter, *c.choices(RESOURCES, k=c.randint(1, 4)))]
    entries: list[Json] = []
    if kind == "message":
        event = w.coding(
            V2 + "0003",
            *c.choice(
                (("A01", "ADT^A01^ADT_A01"), ("R01", "ORU^R01^ORU_R01"), ("O01", "ORM^O01^ORM_O01"))
            ),
        )
        made.insert(
            0,
            {
                **w.head("MessageHeader"),
                "eventCoding": event,
                "destination": [{"name": "HIS", "endpoint": "urn:example:his"}],
                "sender": w.to("Organization", w.identity()),
                "source": {"name": "EMR", "endpoint": "urn:example:emr"},
                "focus": [w.to("Patient", w.patient)],
            },
        )
        made.append(
            {
                **w.head("Provenance"),
                "target": [w.to("Patient", w.patient)],
                "recorded": w.instant(),
                "activity": w.plain(V3 + "DataOperation", "CREATE"),
                "agent": [
                    {
                        "type": w.plain(SYSTEM + "provenance-participant-type", "author"),
                        "who": w.to("Organization", w.identity()),
                    }
                ],
            }
        )
    for resource in made:
        entry: Json = {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
        if kind == "transaction":
            entry["request"] = {
                "method": c.choice(("POST", "PUT")),
                "url": f"{resource['resourceType']}/{resource['id']}",
            }
        if kind == "searchset":
            entry["search"] = {"mode": "match"}
        entries.append(entry)
    head = w.head("Bundle")
    head.pop("text", None)
    return {
        **head,
        "type": kind,
        "timestamp": w.instant(),
        **({"total": len(entries)} if kind == "searchset" else {}),
        "entry": entries,
    }


def resources(count: int, *, seed: int) -> Iterator[bytes]:
    """So many resources and small bundles; mostly without spaces, some indented as people and some servers do."""
    chance = Random(seed)
    for _ in range(count):
        w = Writer(chance)
        build = bundle if chance.random() < 0.12 else chance.choice(RESOURCES)
        made = build(w)
        keys = [key for key in made if key in ("resourceType", "id") or chance.random() < 0.85]
        indent = 2 if chance.random() < 0.2 else None
        separators = (",", ":") if indent is None else (",", ": ")
        yield json.dumps(
            {key: made[key] for key in keys}, indent=indent, separators=separators
        ).encode()
