"""SMART scopes of both versions; what is not supported is said to be so, and granting never widens."""

from __future__ import annotations

import pytest

from schemas.gateway.scopes import FhirScope, Level, ScopeRefused, fhir_scope, granted, scope_words


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("system/Patient.rs", "system/Patient.rs"),
        ("system/*.cruds", "system/*.cruds"),
        ("patient/Observation.read", "patient/Observation.rs"),
        ("user/*.write", "user/*.cud"),
        ("system/*.*", "system/*.cruds"),
        ("system/Encounter.c", "system/Encounter.c"),
    ],
)
def test_both_versions_are_understood(text: str, means: str) -> None:
    assert str(fhir_scope(text)) == means


@pytest.mark.parametrize(
    "text",
    [
        "", "system", "system/", "system/Patient", "system/Patient.", "system/Patient.sr",
        "system/Patient.rr", "system/Patient.x", "system/patient.rs", "SYSTEM/Patient.rs",
        "admin/Patient.rs", "system/Pat*.rs", "system/Patient.rs ", " system/Patient.rs",
        "system/Patient.rs\n", "system/../x.rs", "launch", "openid", "system/" + "A" * 100 + ".rs",
    ],
)  # fmt: skip
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ScopeRefused):
        fhir_scope(text)


def test_limits_by_search_parameters_are_refused_in_words() -> None:
    with pytest.raises(ScopeRefused, match="search parameters are not supported"):
        fhir_scope("patient/Observation.rs?category=laboratory")


@pytest.mark.parametrize(
    ("requested", "configured", "given"),
    [
        ("system/Patient.rs", ["system/*.cruds"], ["system/Patient.rs"]),
        ("system/*.cruds", ["system/Patient.rs"], ["system/Patient.rs"]),
        ("system/*.r", ["system/Patient.rs", "system/Group.c"], ["system/Patient.r"]),
        ("system/Patient.c", ["system/Patient.rs"], []),
        ("system/Patient.r", ["system/Encounter.rs"], []),
        ("system/Patient.r", ["user/*.cruds", "patient/*.cruds"], []),
        ("user/Patient.r", ["patient/*.cruds"], []),
        ("user/Patient.r", ["system/*.cruds"], ["user/Patient.r"]),
        ("patient/*.rs", ["system/Patient.r", "user/Patient.s"], ["patient/Patient.rs"]),
        ("system/Patient.rs", ["system/*.r", "system/Patient.s"], ["system/Patient.rs"]),
        ("system/Patient.rs", [], []),
    ],
)
def test_what_is_granted_is_what_is_both_requested_and_configured(
    requested: str, configured: list[str], given: list[str]
) -> None:
    found = granted(fhir_scope(requested), [fhir_scope(one) for one in configured])

    assert sorted(map(str, found)) == given


def test_words_are_bounded_and_come_once() -> None:
    assert scope_words(" a  b a ") == ("a", "b")
    with pytest.raises(ScopeRefused, match="at most"):
        scope_words("a" * 5000)


def test_levels_are_ordered() -> None:
    assert Level.PATIENT < Level.USER < Level.SYSTEM
    assert fhir_scope("system/*.r") == FhirScope(Level.SYSTEM, "*", "r")
