"""The scorer, tried on itself: full marks for the expected bundles, less for each fact that is missing or changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.mapping.decisions import Decision, decisions, set_aside
from tests.mapping.facts import Facts, facts_of, without_unsaid_codings
from tests.mapping.oracles import ORACLES, Pair
from tests.mapping.scoring import score
from tests.mapping.values import Said, normal

PATIENT = {
    "resourceType": "Patient",
    "id": "a",
    "meta": {"lastUpdated": "2024-01-01T00:00:00Z"},
    "text": {"status": "generated", "div": "<div/>"},
    "name": [{"family": "Doe", "given": ["Ann"]}, {"family": "Roe"}],
    "multipleBirthInteger": 2,
    "extension": [
        {"url": "https://reportstream.cdc.gov/fhir/StructureDefinition/x", "valueString": "own"},
        {
            "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
            "valueAddress": {"city": "Bern"},
        },
    ],
    "generalPractitioner": [{"reference": "urn:uuid:1"}],
}
PRACTITIONER = {"resourceType": "Practitioner", "id": "b", "name": [{"family": "Kay"}]}


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"fullUrl": f"urn:uuid:{i}", "resource": one} for i, one in enumerate(resources)]
    return {"resourceType": "Bundle", "type": "message", "entry": entries}


def test_a_bundle_is_its_paths_and_values_without_ids_meta_narrative_and_own_extensions() -> None:
    facts = facts_of(bundle(PATIENT, PRACTITIONER))
    assert facts["Patient"] == Counter(
        {
            ("Patient.name.family", "Doe"): 1,
            ("Patient.name.family", "Roe"): 1,
            ("Patient.name.given", "Ann"): 1,
            ("Patient.multipleBirthInteger", "2"): 1,
            ("Patient.extension(patient-birthPlace).valueAddress.city", "Bern"): 1,
            ("Patient.generalPractitioner.reference", "→Practitioner"): 1,
        }
    )


def test_copies_of_a_shared_resource_count_once_and_copies_of_others_each() -> None:
    facts = facts_of(bundle(PRACTITIONER, PRACTITIONER, PATIENT, PATIENT))
    assert facts["Practitioner"] == Counter({("Practitioner.name.family", "Kay"): 1})
    assert facts["Patient"][("Patient.name.family", "Doe")] == 2


def test_texts_and_dates_that_are_not_in_the_message_are_nobodys_facts() -> None:
    said = Said(rb"MSH|^~\&|||||20240102030405||ADT^A01\rPID|1||77||Doe^Ann")
    made = bundle(
        {
            "resourceType": "Patient",
            "name": [{"family": "Doe", "given": ["Ann"], "text": "Ann Doe"}],
            "identifier": [
                {"type": {"coding": [{"code": "MR", "display": "Medical record number"}]}}
            ],
        },
        {
            "resourceType": "Provenance",
            "recorded": "2026-01-01T00:00:00Z",
            "occurredDateTime": "2024-01-02",
        },
    )
    facts = facts_of(made, said)
    assert ("Patient.name.text", "Ann Doe") in facts["Patient"]
    assert ("Patient.identifier.type.coding.code", "MR") in facts["Patient"]
    assert ("Patient.identifier.type.coding.display", "Medical record number") not in facts[
        "Patient"
    ]
    assert list(facts["Provenance"]) == [("Provenance.occurredDateTime", "2024-01-02")]


def test_where_the_bundle_was_first_codings_that_the_message_does_not_carry_are_nobodys_facts() -> (
    None
):
    said = Said(b"MSH|^~\\&|LAB\rOBX|1|CWE|2951-2^Sodium^LN")
    loinc = {"system": "http://loinc.org", "code": "2951-2"}
    made = {
        "code": {"coding": [loinc, {"system": "http://x.example", "code": "OWN-1"}]},
        "status": "final",
    }
    assert without_unsaid_codings(made, said) == {"code": {"coding": [loinc]}, "status": "final"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2024-03-10T10:00:00+02:00", "2024-03-10T08:00:00.000Z"),
        ("urn:oid:2.16.840.1.113883", "2.16.840.1.113883"),
        (
            "https://terminology.hl7.org/CodeSystem/v2-0203",
            "http://terminology.hl7.org/CodeSystem/V2-0203",
        ),
        (" Ann \n Doe", "Ann Doe"),
        (1.50, 1.5),
        (True, "true"),
    ],
)
def test_notations_of_one_value_are_one_value(one: object, other: object) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2024-03-10", "2024-03"),
        ("2024-03-10", "2024-03-10T00:00:00Z"),
        ("Doe", "DOE"),
        ("1", "01"),
    ],
)
def test_different_values_stay_different(one: str, other: str) -> None:
    assert normal(one) != normal(other)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_expected_bundles_score_full_marks_against_themselves(name: str) -> None:
    found = score(ORACLES[name], lambda pair: pair.expected)
    assert found.pairs >= {"prime": 191, "microsoft": 80, "google": 9, "hl7": 1}[name]
    assert found.overall.recall == found.overall.precision == 1.0
    assert not any(at.missed or at.extra for at in found.paths.values())


def test_each_dropped_fact_lowers_recall_and_each_changed_one_precision_too() -> None:
    def without_families(pair: Pair) -> Facts:
        return {
            kind: Counter(
                {fact: n for fact, n in counted.items() if not fact[0].endswith("family")}
            )
            for kind, counted in pair.expected.items()
        }

    def with_other_families(pair: Pair) -> Facts:
        return {
            kind: Counter(
                {
                    (path, f"{value}?" if path.endswith("family") else value): n
                    for (path, value), n in counted.items()
                }
            )
            for kind, counted in pair.expected.items()
        }

    oracle = ORACLES["google"]
    dropped, changed = score(oracle, without_families), score(oracle, with_other_families)
    at = dropped.paths["Patient.name.family"]
    assert at.missed == at.expected > 0
    assert at.other_value == 0
    assert dropped.overall.recall < 1.0 == dropped.overall.precision
    assert changed.overall.recall == dropped.overall.recall
    assert changed.overall.precision < 1.0
    assert changed.paths["Patient.name.family"].other_value == at.missed


def test_nothing_made_scores_nothing() -> None:
    assert score(ORACLES["google"], lambda pair: {}).overall.recall == 0.0


def test_a_decision_sets_aside_its_facts_and_no_others() -> None:
    facts = facts_of(bundle(PATIENT))
    made = [
        Decision("x", "Patient.name.*", "PID[Patient]/9", "why"),
        Decision("x", "Patient.multipleBirthInteger = 3", "PID[Patient]/40", "why"),
    ]
    kept, covered = set_aside(facts, made)
    assert covered == 3
    assert ("Patient.multipleBirthInteger", "2") in kept["Patient"]
    assert not any(path.startswith("Patient.name") for path, _ in kept["Patient"])


def test_each_decision_names_an_official_row() -> None:
    from tests.mapping.official import official_rows

    rows = official_rows()
    unknown = [
        one
        for name in ORACLES
        for one in decisions(name)
        if not rows >= set(one.official.split(", "))
    ]
    assert not unknown
