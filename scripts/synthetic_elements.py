"""Elements of FHIR R4 resources of a country that does not exist, for training dictionaries.

Nothing was taken from resources of others: element names and code systems are the standard's, everything else is made up.
"""

# ruff: noqa: E501 - a segment or a resource reads best as one line
from __future__ import annotations

import uuid
from random import Random
from typing import Any

from synthetic_terms import (
    SYNTHETIC_NAMES,
    Term,
)

Json = dict[str, Any]
URIS = {
    "LN": "http://loinc.org", "SCT": "http://snomed.info/sct", "I10": "http://hl7.org/fhir/sid/icd-10-cm",
    "C4": "http://www.ama-assn.org/go/cpt", "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "NDC": "http://hl7.org/fhir/sid/ndc", "CVX": "http://hl7.org/fhir/sid/cvx",
}  # fmt: skip
V3 = "http://terminology.hl7.org/CodeSystem/v3-"
V2 = "http://terminology.hl7.org/CodeSystem/v2-"
SYSTEM = "http://terminology.hl7.org/CodeSystem/"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"


class Writer:
    """One patient's resources in one server's habit."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.patient, self.encounter = self.identity(), self.identity()
        self.style = chance.choice(("Patient/{}", "Patient/{}", "urn:uuid:{}"))
        self.is_us = chance.random() < 0.4

    def identity(self) -> str:
        """An id as servers give them."""
        if self.chance.random() < 0.7:
            return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        return str(self.chance.randint(1, 99999))

    def instant(self) -> str:
        """A time of this century."""
        c = self.chance
        day = f"20{c.randint(10, 29)}-{c.randint(1, 12):02d}-{c.randint(1, 28):02d}"
        zone = c.choice(("Z", "+01:00", "-05:00", "+00:00"))
        fraction = c.choice(("", "", ".000", f".{c.randint(1, 999):03d}"))
        return f"{day}T{c.randint(0, 23):02d}:{c.randint(0, 59):02d}:{c.randint(0, 59):02d}{fraction}{zone}"

    def coding(self, system: str, code: str, display: str = "") -> Json:
        """One coding."""
        return {"system": system, "code": code, **({"display": display} if display else {})}

    def concept(self, term: Term) -> Json:
        """A concept of a term."""
        words = {"text": term.text} if self.chance.random() < 0.6 else {}
        return {"coding": [self.coding(URIS[term.system], term.code, term.text)], **words}

    def plain(self, system: str, code: str, display: str = "") -> Json:
        """A concept of one coding."""
        return {"coding": [self.coding(system, code, display)]}

    def to(self, kind: str, identity: str, display: str = "") -> Json:
        """A reference."""
        form = self.style.replace("Patient", kind)
        return {"reference": form.format(identity), **({"display": display} if display else {})}

    def person(self) -> Json:
        """A made-up human name."""
        c = self.chance
        name: Json = {
            "use": "official",
            "family": c.choice(SYNTHETIC_NAMES),
            "given": [c.choice(SYNTHETIC_NAMES)],
        }
        if c.random() < 0.3:
            name["prefix"] = [c.choice(("Mr.", "Mrs.", "Dr."))]
        return name

    def head(self, kind: str, profile: str = "", identity: str = "") -> Json:
        """What resources begin with."""
        c = self.chance
        head: Json = {"resourceType": kind, "id": identity or self.identity()}
        meta: Json = {}
        if c.random() < 0.6:
            meta = {"versionId": str(c.randint(1, 9)), "lastUpdated": self.instant()}
        if profile and self.is_us:
            meta["profile"] = [US_CORE + profile]
        if meta:
            head["meta"] = meta
        if c.random() < 0.15:
            head["text"] = {
                "status": "generated",
                "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p><b>Generated Narrative: {kind}</b></p></div>',
            }
        return head

    def subject(self) -> Json:
        """Whom it is about, and when."""
        return {
            "subject": self.to("Patient", self.patient),
            **(
                {"encounter": self.to("Encounter", self.encounter)}
                if self.chance.random() < 0.7
                else {}
            ),
        }

    def address(self) -> Json:
        """A made-up address."""
        c = self.chance
        return {
            "use": "home",
            "line": [f"{c.randint(1, 999)} Example Street"],
            "city": "Sampletown",
            "state": "ZZ",
            "postalCode": str(c.randint(10000, 99999)),
            "country": c.choice(("US", "DE", "GB")),
        }

    def business(self, code: str = "MR", text: str = "Medical Record Number") -> Json:
        """A business identifier."""
        oid = f"urn:oid:2.16.840.1.113883.3.{self.chance.randint(1, 9999)}"
        kind = {"coding": [self.coding(V2 + "0203", code, text)], "text": text}
        return {
            "use": "usual",
            "type": kind,
            "system": self.chance.choice((oid, "http://hospital.example.org/mrn")),
            "value": str(self.chance.randint(10000, 99999999)),
        }

    def quantity(self, value: str, unit: str) -> Json:
        """A UCUM quantity; the number keeps its text."""
        return {
            "value": float(value),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        }
