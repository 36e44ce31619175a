"""Which of several bindings holds for a subject, and how patterns become keys."""

from __future__ import annotations

import pytest

from schemas.registry.errors import SchemaError
from schemas.registry.patterns import conflicting, key_of, pattern_of, strongest

BOUND = (
    "evt.north.>",
    "evt.north.*.admitted.*",
    "evt.north.patient.>",
    "evt.north.patient.admitted.*",
)


@pytest.mark.parametrize(
    ("subject", "holds"),
    [
        ("evt.north.patient.admitted.3", "evt.north.patient.admitted.*"),
        ("evt.north.patient.moved.3", "evt.north.patient.>"),
        ("evt.north.order.admitted.3", "evt.north.*.admitted.*"),
        ("evt.north.order.placed.3", "evt.north.>"),
        ("evt.south.order.placed.3", None),
    ],
)
def test_most_specific_binding_holds(subject: str, holds: str | None) -> None:
    assert strongest(BOUND, subject) == holds


def test_two_patterns_of_one_rank_that_share_a_subject_conflict() -> None:
    others = ["evt.north.patient.*.*", "evt.north.order.moved.*", "evt.north.patient.>"]
    assert conflicting("evt.north.*.admitted.*", others) == ["evt.north.patient.*.*"]
    assert conflicting("evt.north.patient.*.*", ["evt.north.patient.*.*"]) == []


def test_key_of_a_pattern_has_no_wildcards_and_leads_back() -> None:
    assert key_of("evt.north.*.admitted.>") == "evt.north.=s.admitted.=g"
    assert pattern_of("evt.north.=s.admitted.=g") == "evt.north.*.admitted.>"


@pytest.mark.parametrize("key", ["", "evt.=g.x", "evt.*", "Evt.north", "evt..x", "evt.=x"])
def test_key_that_is_no_escaped_pattern_is_refused(key: str) -> None:
    with pytest.raises(SchemaError):
        pattern_of(key)
