"""The official FHIRPath suite: everything passes but what is listed by name, and what is listed does not pass."""

from __future__ import annotations

from tests.shared_data import shared_path
from tests.vectors.fhirpath import suite

# What only a release's elements can tell: wrong names, and types that JSON does not show.
NEEDS_MODEL = {
    "testBasics/testSimpleFail",
    "testBasics/testSimpleWithWrongContext",
    "testObservations/testPolymorphismAsB",
    "testInheritance/testFHIRPathIsFunction1",
    "testInheritance/testFHIRPathIsFunction4",
    "testInheritance/testFHIRPathAsFunction11",
    "testInheritance/testFHIRPathAsFunction12",
    "testInheritance/testFHIRPathAsFunction16",
    "testInheritance/testFHIRPathAsFunction17",
    "testInheritance/testFHIRPathAsFunction22",
}


def outside() -> dict[str, str]:
    rows = [line.split("\t") for line in suite.OUTSIDE.read_text().splitlines() if line[:1] != "#"]
    return {name: why for name, why in rows if why}


def test_official_suite_passes_but_for_the_listed_cases() -> None:
    shared = shared_path("data/fhir")
    listed = outside()
    found = {case.name: suite.verdict(case, shared) for case in suite.cases(shared)}
    wrong = {name: what for name, what in found.items() if what and name not in listed}
    assert not wrong
    assert len(found) > 900


def test_list_of_cases_outside_the_subset_is_exact() -> None:
    shared = shared_path("data/fhir")
    failing = {case.name for case in suite.cases(shared) if suite.verdict(case, shared)}
    assert set(outside()) == failing


def test_paths_without_a_type_model_agree_wherever_types_are_not_asked_for() -> None:
    shared = shared_path("data/fhir")
    differing = {
        case.name
        for case in suite.cases(shared)
        if case.name not in outside() and suite.verdict(case, shared, with_model=False)
    }
    assert differing == NEEDS_MODEL
