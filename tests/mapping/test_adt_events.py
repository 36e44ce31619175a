"""What each event of ADT means, on synthetic messages: statuses, merges, links, moves, and nothing invalid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping.protocol import MapContext, Mapped, Output
from tests.mapping.judges import NpmJudge
from tests.mapping.kit import faults, refusals
from tests.mapping.mapper import default_mapper

CONTEXT = MapContext(tenant="north", zone=UTC)
AT = "20260301100000+0000"
PID = (
    "PID|1||{0}^^^NORTH^MR~N{0}^^^NATIONAL^NI||EXAMPLE^PATIENT||19700101|F||||||||||A{0}^^^NORTH^AN"
)
PV1 = "PV1|1|{1}|W2^R1^B1||||||||||||||||V{0}^^^NORTH^VN" + "|" * 25 + "20260228080000+0000|{2}"
SHAPES = {
    **dict.fromkeys(("A04", "A08", "A13"), "A01"),
    **dict.fromkeys(("A14", "A28", "A31"), "A05"),
    "A07": "A06",
    **dict.fromkeys(("A10", "A11"), "A09"),
    **dict.fromkeys(("A22", "A23", "A25", "A26", "A27", "A29", "A32", "A33"), "A21"),
    **dict.fromkeys(("A34", "A35", "A36", "A46", "A47", "A48", "A49"), "A30"),
    **dict.fromkeys(("A40", "A41", "A42"), "A39"),
    "A44": "A43",
    "A51": "A50",
    "A53": "A52",
    "A55": "A54",
    "A62": "A61",
}
MERGES = ("A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47")
MOVES = ("A35", "A41", "A42", "A43", "A44", "A45", "A48", "A49", "A50", "A51")
PAIRS = ("A17", "A24", "A37")
VISITS = tuple(
    name
    for name in (f"A{number:02}" for number in range(1, 63))
    if name not in (*MERGES, *MOVES, *PAIRS, "A19", "A20", "A56", "A57", "A58", "A59")
)


def message(event: str, *segments: str) -> bytes:
    shape = SHAPES.get(event, event)
    head = f"MSH|^~\\&|ADT|NORTH|HIS|NORTH|{AT}||ADT^{event}^ADT_{shape}|C1|P|2.5.1"
    return "\r".join((head, f"EVN|{event}|{AT}||||{AT}", *segments, "")).encode()


def mapped(event: str, *segments: str) -> Mapped:
    return default_mapper().map(Message.parse(message(event, *segments)), CONTEXT)


def of(found: Mapped, kind: str) -> list[dict[str, Any]]:
    return [dict(one) for one in found.resources if one["resourceType"] == kind]


def visit(event: str, *, kind: str = "I", end: str = "", more: tuple[str, ...] = ()) -> Mapped:
    return mapped(event, PID.format("P1"), PV1.format("P1", kind, end), *more)


def merge(event: str, mrg: str = "MRG|P2^^^NORTH^MR", *more: str) -> Mapped:
    return mapped(event, PID.format("P1"), mrg, *more)


@pytest.fixture(scope="module")
def npm() -> Iterator[NpmJudge]:
    with NpmJudge() as judge:
        yield judge


def example(event: str) -> Mapped:
    if event in PAIRS:
        both = [text.format(one, "I", "") for one in ("P1", "P2") for text in (PID, PV1)]
        return mapped(event, *both)
    if event in (*MERGES, *MOVES):
        old = "MRG|P2^^^NORTH^MR||A2^^^NORTH^AN||V2^^^NORTH^VN|X2^^^NORTH^VN"
        rest = (PV1.format("P1", "I", ""),) if event in ("A42", "A45", "A50", "A51", "A18") else ()
        return merge(event, old, *rest)
    return visit(event)


@pytest.mark.parametrize("event", [*VISITS, *MERGES, *MOVES, *PAIRS])
def test_every_event_gives_a_valid_bundle_whose_references_resolve(
    event: str, npm: NpmJudge
) -> None:
    found = example(event)
    assert not faults(found)
    assert not refusals(found, npm)
    assert not [one for one in found.issues if one.code.value == "structure"]
    assert of(found, "Patient")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("A01", "in-progress"), ("A02", "in-progress"), ("A03", "finished"),
        ("A04", "in-progress"), ("A05", "planned"), ("A06", "in-progress"),
        ("A07", "in-progress"), ("A08", "in-progress"), ("A09", "in-progress"),
        ("A11", "cancelled"), ("A12", "in-progress"), ("A13", "in-progress"),
        ("A14", "planned"), ("A15", "in-progress"), ("A16", "in-progress"),
        ("A21", "onleave"), ("A22", "in-progress"), ("A23", "entered-in-error"),
        ("A25", "in-progress"), ("A26", "in-progress"), ("A27", "cancelled"),
        ("A38", "cancelled"), ("A52", "in-progress"), ("A53", "onleave"),
        ("A54", "in-progress"), ("A61", "in-progress"), ("A62", "in-progress"),
    ],
)  # fmt: skip
def test_the_event_decides_the_status_of_the_visit(event: str, status: str) -> None:
    (encounter,) = of(visit(event), "Encounter")
    assert encounter["status"] == status


def test_a_discharge_ends_the_visit_and_its_cancellation_opens_it_again() -> None:
    (ended,) = of(visit("A03", end="20260302090000+0000"), "Encounter")
    assert ended["period"]["end"] == "2026-03-02T09:00:00+00:00"
    assert [one["status"] for one in ended["location"]] == ["completed"]
    (by_event,) = of(visit("A03"), "Encounter")
    assert by_event["period"]["end"] == "2026-03-01T10:00:00+00:00"
    (again,) = of(visit("A13"), "Encounter")
    assert again["status"] == "in-progress"
    assert "end" not in again["period"]
    assert again["id"] == ended["id"]


def test_an_update_after_the_end_stays_finished_and_of_a_preadmission_planned() -> None:
    (ended,) = of(visit("A08", end="20260302090000+0000"), "Encounter")
    (planned,) = of(visit("A08", kind="P"), "Encounter")
    assert (ended["status"], planned["status"]) == ("finished", "planned")


def test_a_transfer_tells_where_from_and_since_when() -> None:
    moved = PV1.format("P1", "I", "").replace("W2^R1^B1|||", "W2^R1^B1|||W1^R9^B9")
    (encounter,) = of(mapped("A02", PID.format("P1"), moved), "Encounter")
    now, before = encounter["location"]
    assert (now["status"], before["status"]) == ("active", "completed")
    assert now["period"] == {"start": "2026-03-01T10:00:00+00:00"}
    assert before["period"] == {"end": "2026-03-01T10:00:00+00:00"}


@pytest.mark.parametrize("event", list(MERGES))
def test_the_retired_patient_is_inactive_and_points_to_the_survivor(event: str) -> None:
    found = merge(event)
    survivor, retired = of(found, "Patient")
    assert retired["active"] is False
    assert "active" not in survivor
    (into,) = retired["link"]
    (old,) = survivor["link"]
    assert (into["type"], old["type"]) == ("replaced-by", "replaces")
    assert into["other"]["reference"].endswith(survivor["id"])
    assert old["other"]["reference"].endswith(retired["id"])
    assert [one["value"] for one in retired["identifier"]] == ["P2"]


def test_each_group_of_a_merge_has_its_own_survivor() -> None:
    found = mapped(
        "A40", PID.format("P1"), "MRG|P2^^^NORTH^MR", PID.format("P3"), "MRG|P4^^^NORTH^MR"
    )
    patients = {one["identifier"][0]["value"]: one for one in of(found, "Patient")}
    for retired, survivor in (("P2", "P1"), ("P4", "P3")):
        (link,) = patients[retired]["link"]
        assert link["other"]["reference"].endswith(patients[survivor]["id"])
        (back,) = patients[survivor]["link"]
        assert back["other"]["reference"].endswith(patients[retired]["id"])


def test_the_retired_patient_is_the_one_that_was_admitted_before() -> None:
    admitted = of(mapped("A01", PID.format("P2"), PV1.format("P2", "I", "")), "Patient")[0]
    retired = of(merge("A40"), "Patient")[1]
    assert admitted["id"] == retired["id"]


def test_a_retired_number_without_authority_is_of_the_only_one_that_is_named() -> None:
    known = of(mapped("A01", "PID|1||P2^^^NORTH^MR||EXAMPLE^PATIENT"), "Patient")[0]
    found = mapped("A40", "PID|1||P1^^^NORTH^MR||EXAMPLE^PATIENT", "MRG|P2")
    assert of(found, "Patient")[1]["id"] == known["id"]


@pytest.mark.parametrize("event", ["A35", "A41", "A49"])
def test_a_merged_account_is_part_of_the_one_that_stays(event: str) -> None:
    found = merge(event, "MRG|P1^^^NORTH^MR||A2^^^NORTH^AN")
    assert len(of(found, "Patient")) == 1
    current, old = of(found, "Account")
    assert (current["status"], old["status"]) == ("active", "unknown")
    assert old["partOf"]["reference"].endswith(current["id"])


@pytest.mark.parametrize("event", ["A42", "A50"])
def test_a_merged_visit_is_part_of_the_one_that_stays(event: str) -> None:
    old_number = "MRG|P1^^^NORTH^MR||||V2^^^NORTH^VN"
    found = merge(event, old_number, PV1.format("P1", "I", ""))
    assert len(of(found, "Patient")) == 1
    current, old = of(found, "Encounter")
    assert old["status"] == "entered-in-error"
    assert old["partOf"]["reference"].endswith(current["id"])
    assert [one["value"] for one in old["identifier"]] == ["V2"]


def test_a_moved_account_belongs_to_the_patient_of_the_message() -> None:
    bare = PID.format("P1").rsplit("|", 1)[0]
    found = mapped("A44", bare, "MRG|P9^^^NORTH^MR||A2^^^NORTH^AN")
    (patient,) = of(found, "Patient")
    (account,) = of(found, "Account")
    assert account["subject"][0]["reference"].endswith(patient["id"])


def test_a_link_is_told_by_both_patients_and_an_unlink_by_none() -> None:
    first, second = of(example("A24"), "Patient")
    for one, other in ((first, second), (second, first)):
        (link,) = one["link"]
        assert link["type"] == "seealso"
        assert link["other"]["reference"].endswith(other["id"])
    unlinked = of(example("A37"), "Patient")
    assert [one["id"] for one in unlinked] == [first["id"], second["id"]]
    assert not any("link" in one for one in unlinked)


def test_a_swap_keeps_each_visit_with_its_patient() -> None:
    found = example("A17")
    patients, encounters = of(found, "Patient"), of(found, "Encounter")
    assert [one["subject"]["reference"].rpartition(":")[2] for one in encounters] == [
        one["id"] for one in patients
    ]


def test_a_bed_status_is_a_location_without_a_patient(npm: NpmJudge) -> None:
    found = mapped("A20", "NPU|W2^R1^B1^NORTH|K^Contaminated^HL70116")
    assert not faults(found)
    assert not refusals(found, npm)
    (bed,) = (one for one in of(found, "Location") if "operationalStatus" in one)
    assert bed["operationalStatus"]["code"] == "K"
    assert not of(found, "Patient")


def test_a_deleted_person_is_inactive() -> None:
    (patient,) = of(visit("A29"), "Patient")
    assert patient["active"] is False


def test_allergies_are_updated_and_deleted_by_their_action() -> None:
    added = "IAM|1|DA^Drug^HL70127|PEN^Penicillin^L|SV|Rash~Hives|A|||||20250101"
    deleted = "IAM|2|FA^Food^HL70127|NUT^Nuts^L|MI||D"
    found = mapped("A60", PID.format("P1"), added, deleted)
    first, second = of(found, "AllergyIntolerance")
    assert first["clinicalStatus"]["coding"][0]["code"] == "active"
    assert (first["criticality"], first["category"]) == ("high", ["medication"])
    assert [one["text"] for one in first["reaction"][0]["manifestation"]] == ["Rash", "Hives"]
    assert second["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in second


def test_a_severity_is_never_lost() -> None:
    found = visit("A01", more=("AL1|1|DA|PEN|MO|Rash", "AL1|2|FA|NUT|SEVERE"))
    moderate, unknown = of(found, "AllergyIntolerance")
    assert moderate["reaction"][0]["severity"] == "moderate"
    assert "criticality" not in moderate
    (kept,) = unknown["_criticality"]["extension"]
    assert kept["valueCodeableConcept"]["coding"][0]["code"] == "SEVERE"


def test_a_primary_care_provider_is_the_patients_and_other_staff_the_visits() -> None:
    roles = ("ROL|1|AD|PP^Primary^HL70443|D1^Doc^Ann", "ROL|2|AD|AD^Admitting^HL70443|D2^Doc^Bob")
    found = visit("A01", more=roles)
    (patient,) = of(found, "Patient")
    (encounter,) = of(found, "Encounter")
    general, admitting = of(found, "PractitionerRole")
    assert patient["generalPractitioner"][0]["reference"].endswith(general["id"])
    assert encounter["participant"][0]["individual"]["reference"].endswith(admitting["id"])


def test_a_named_parent_is_only_written_where_it_is_missing() -> None:
    found = default_mapper().map(
        Message.parse(
            message(
                "A01",
                PID.format("P1"),
                PV1.format("P1", "I", ""),
                "PR1|1||1^Biopsy^L||20260101|"
                + "|" * 13
                + "PR2^HIS^1.2.3^ISO|"
                + "|" * 5
                + "PR1^HIS^1.2.3^ISO",
            )
        ),
        MapContext(tenant="north", zone=UTC, output=Output.TRANSACTION),
    )
    bundle: dict[str, Any] = dict(found.bundle or {})
    methods = {
        entry["resource"]["identifier"][0]["value"]: entry["request"]["method"]
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "Procedure"
    }
    assert methods == {"PR1": "POST", "PR2": "PUT"}


def test_insurance_names_payor_holder_and_insured() -> None:
    insurance = (
        "IN1|1|GOLD^Gold Plan|77^^^PAYERS^NIIP|Sure Payer|1 High St^^Town||555-1000|G1|Group||"
        "Works Ltd|20260101|20261231|||EXAMPLE^PARENT|FTH|19400101"
    )
    found = visit("A01", more=(insurance,))
    (coverage,) = of(found, "Coverage")
    (insured,) = of(found, "RelatedPerson")
    names = {one["id"]: one.get("name") for one in of(found, "Organization")}

    def named(reference: dict[str, str]) -> str | None:
        return names[reference["reference"].rpartition(":")[2]]

    assert named(coverage["payor"][0]) == "Sure Payer"
    assert named(coverage["policyHolder"]) == "Works Ltd"
    assert coverage["subscriber"]["reference"].endswith(insured["id"])
    assert coverage["period"] == {"start": "2026-01-01", "end": "2026-12-31"}


def test_an_insured_patient_is_the_subscriber_and_no_other_person() -> None:
    found = visit("A01", more=("IN1|1|GOLD|77|Sure Payer||||||||||||EXAMPLE^PATIENT|SEL",))
    (coverage,) = of(found, "Coverage")
    (patient,) = of(found, "Patient")
    assert coverage["subscriber"]["reference"].endswith(patient["id"])
    assert not of(found, "RelatedPerson")


def test_a_guarantor_answers_for_the_account() -> None:
    found = visit("A01", more=("GT1|1|G9^^^NORTH|EXAMPLE^PAYER||1 High St^^Town|555-1||||| SPO",))
    (account,) = of(found, "Account")
    (guarantor,) = of(found, "RelatedPerson")
    assert account["guarantor"][0]["party"]["reference"].endswith(guarantor["id"])


def test_a_mother_of_two_children_is_a_relative_of_each() -> None:
    mother = "NK1|1|EXAMPLE^MOTHER|MTH|||||||||E1||||||||||||||||||||||||123-45-6789"
    ids = {of(mapped("A28", PID.format(one), mother), "RelatedPerson")[0]["id"] for one in "PQ"}
    assert len(ids) == 2


def test_ids_do_not_depend_on_the_message_that_carries_them() -> None:
    kinds = ("Patient", "Encounter", "Account")
    events = ("A01", "A02", "A03", "A08", "A11", "A31")
    ids = {tuple(of(visit(event), kind)[0]["id"] for kind in kinds) for event in events}
    assert len(ids) == 1
