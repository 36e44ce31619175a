"""What the FHIR view of a message is called on the mesh."""

from __future__ import annotations

import pytest

from adapters.hl7v2.views.naming import DOMAINS, event_name
from schemas import subjects
from schemas.subjects import Domain


@pytest.mark.parametrize(
    ("message_type", "name"),
    [
        ("ADT^A01^ADT_A01", (Domain.PATIENT, "admitted")),
        ("ADT^A40", (Domain.PATIENT, "merged")),
        ("ADT^A99", (Domain.PATIENT, "updated")),
        ("ORU^R01^ORU_R01", (Domain.RESULT, "reported")),
        ("SIU^S15", (Domain.SCHEDULE, "cancelled")),
        ("MDM^T02", (Domain.DOCUMENT, "added")),
        ("DFT^P03", (Domain.BILLING, "charged")),
        ("ZZZ^Z01", (Domain.PATIENT, "other")),
        ("", (Domain.PATIENT, "other")),
    ],
)
def test_a_message_type_has_one_name(message_type: str, name: tuple[Domain, str]) -> None:
    assert event_name(message_type) == name


@pytest.mark.parametrize("trigger", [f"A{n:02}" for n in range(1, 63)])
def test_every_admission_event_has_a_name_that_a_subject_takes(trigger: str) -> None:
    domain, event = event_name(f"ADT^{trigger}")
    assert domain in DOMAINS
    assert subjects.event(subjects.site_id("north"), domain, event, 3)
