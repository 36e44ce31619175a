"""Compiled paths over plain JSON: what they find, what filters decide, which numbers and dates they understand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from schemas.fhirpath import Failure, Json, PathFailed, compile_path

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {
        "coding": [
            {"system": "http://example.com", "code": "hb"},
            {"system": "http://loinc.org", "code": "718-7"},
        ]
    },
    "subject": {"reference": "#p"},
    "contained": [{"resourceType": "Patient", "id": "p", "gender": "female"}],
    "effectiveDateTime": "2026-03-01T10:30:00+01:00",
    "valueQuantity": {"value": 7.10, "unit": "g/dL", "code": "g/dL"},
    "interpretation": [{"coding": [{"code": "L"}]}],
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "birthDate": "1974-12-25",
    "_birthDate": {"extension": [{"url": "http://example.com/time", "valueTime": "14:35:45"}]},
    "_gender": {"extension": [{"url": "http://example.com/why", "valueCode": "masked"}]},
    "name": [
        {
            "use": "official",
            "family": "Example",
            "given": ["Ada", "B"],
            "_given": [None, {"id": "g"}],
        },
        {"use": "old", "given": [None, "C"], "_given": [{"id": "h"}, None]},
    ],
    "deceasedBoolean": False,
}


class NumberText(str):
    """Number text as a codec keeps it."""

    __slots__ = ()


def find(path: str, resource: dict[str, Any] = OBSERVATION, **variables: object) -> list[Json]:
    return compile_path(path)(resource, variables)


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        (
            "Observation.code.coding.where(system='http://loinc.org' and code='718-7').exists()",
            True,
        ),
        ("Observation.code.coding.where(system=%loinc and code='1-1').exists()", False),
        ("code.coding.exists(code in ('718-7' | '4548-4'))", True),
        ("Observation.value > 7 'g/dL'", True),
        ("Observation.value.value < 7", False),
        ("Observation.value > 1 'mL'", False),
        ("Observation.effective >= @2026-03-01T09:30:00Z", True),
        ("Observation.effective > @2026-03-01T09:30:00Z", False),
        ("Observation.effective > @2026", False),
        ("Observation.interpretation.coding.code contains 'L'", True),
        ("Patient.exists()", False),
        ("Observation.component", False),
        ("Observation.subject.resolve().gender = 'female'", True),
        ("status = 'final' implies value.exists()", True),
        ("value is Quantity and value.ofType(string).empty()", True),
        ("status.matches('^(final|amended)$')", True),
        ("Observation.where(status != 'final')", False),
    ],
)
def test_filter_decides(path: str, passes: bool) -> None:
    assert compile_path(path).test(OBSERVATION) is passes


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("birthDate", ["1974-12-25"]),
        ("birthDate + 1 month", ["1975-01-25"]),
        ("birthDate.extension('http://example.com/time').value", ["14:35:45"]),
        ("gender", []),
        ("gender.exists()", [True]),
        ("gender.hasValue()", [False]),
        ("gender.extension.value", ["masked"]),
        ("name.given", ["Ada", "B", "C"]),
        ("name.given.count()", [4]),
        ("name.given.id", ["g", "h"]),
        ("name.where(use = 'official').given.join(' ')", ["Ada B"]),
        ("name[1].given[1]", ["C"]),
        ("name.select(use & '!')", ["official!", "old!"]),
        ("deceased", [False]),
        ("deceased or name.exists()", [True]),
        ("name.given.select($index)", [0, 1, 2, 3]),
        ("%resource.name.family | 'x'", ["Example", "x"]),
    ],
)
def test_path_finds(path: str, values: list[object]) -> None:
    if path == "birthDate + 1 month":
        path = "birthDate.toDate() + 1 month"
    assert find(path, PATIENT) == values


@pytest.mark.parametrize("decode", [json.loads, msgspec.json.decode])
def test_decimals_compare_as_decimals_however_they_were_read(decode: Any) -> None:
    text = b'{"resourceType": "Basic", "a": 1.10, "b": 0.1, "c": 1e2, "d": 3}'
    for resource in (
        decode(text),
        json.loads(text, parse_float=Decimal),
        json.loads(text, parse_float=NumberText, parse_int=NumberText),
    ):
        path = compile_path("a = 1.1 and a ~ 1.1 and b + 0.2 = 0.3 and c = 100 and d < 3.5")
        assert path.test(resource) is True


def test_text_keeps_the_number_as_the_resource_writes_it() -> None:
    assert compile_path("a").text({"a": NumberText("1.10")}) == "1.10"
    assert compile_path("a").text({"a": Decimal("1.10")}) == "1.10"
    assert compile_path("a").text({"a": True}) == "true"
    assert compile_path("a").text({"a": {"b": 1}}) is None
    assert compile_path("a").text({}) is None


def test_numbers_that_are_none_are_no_numbers() -> None:
    assert find("a > 1", {"a": float("nan")}) == []
    assert find("a > 1", {"a": float("inf")}) == []
    assert find("a.power(1000)", {"a": 10**300}) == []
    assert find("a * a", {"a": 2**62}) == []


def test_elements_of_unknown_type_compare_as_dates_when_both_are() -> None:
    period = {"start": "2026-01-02T23:00:00-05:00", "end": "2026-01-03T01:00:00Z"}
    assert find("start > end", period) == [True]
    assert find("start <= end", {"start": "2026-01", "end": "2026-01-03"}) == []


def test_clock_is_what_the_caller_gives() -> None:
    path = compile_path("birthDate < today() - 18 years")
    assert path.needs_clock
    assert path.test(PATIENT, now=datetime(2026, 6, 1, tzinfo=UTC)) is True
    with pytest.raises(PathFailed) as failed:
        path.test(PATIENT)
    assert failed.value.failure is Failure.CLOCK


def test_variables_are_what_the_caller_gives() -> None:
    path = compile_path("code.coding.code in %wanted")
    assert path.variables == {"wanted"}
    assert compile_path("code.coding[1].code in %wanted").test(OBSERVATION, {"wanted": ["718-7"]})
    with pytest.raises(PathFailed) as failed:
        path(OBSERVATION)
    assert failed.value.failure is Failure.VARIABLE


def test_resolve_finds_entries_of_the_bundle() -> None:
    bundle = {
        "resourceType": "Bundle",
        "entry": [
            {
                "fullUrl": "urn:uuid:1",
                "resource": {"resourceType": "Patient", "id": "a", "active": True},
            },
            {
                "resource": {
                    "resourceType": "Encounter",
                    "id": "e",
                    "subject": {"reference": "urn:uuid:1"},
                    "partOf": {"reference": "Encounter/e"},
                    "location": [{"location": {"reference": "Location/elsewhere"}}],
                }
            },
        ],
    }
    encounter = "Bundle.entry.resource.ofType(Encounter)"
    assert find(f"{encounter}.subject.resolve().active", bundle) == [True]
    assert find(f"{encounter}.partOf.resolve().id", bundle) == ["e"]
    assert find(f"{encounter}.location.location.resolve()", bundle) == []


def test_calculated_values_come_as_fhir_writes_them() -> None:
    assert find("2 'g' + 500 'mg'") == [
        {"value": Decimal("2.5"), "system": "http://unitsofmeasure.org", "code": "g"}
    ]
    assert find("@2024-02-29 + 1 year") == ["2025-02-28"]
    assert find("@T23:30 + 45 minutes") == ["00:15"]
    assert find("@2024-01-01T00:00:00.123456 - 1 'ms'") == ["2024-01-01T00:00:00.122456"]
    assert find("1 / 3 * 3 ~ 1") == [True]


@pytest.mark.parametrize(
    ("path", "failure"),
    [
        ("code.coding.single()", Failure.SINGLETON),
        ("code.coding.code & 'x'", Failure.SINGLETON),
        ("value > 'x'", Failure.TYPE),
        ("code.startsWith('x')", Failure.TYPE),
        ("effective + 1 'cm'", Failure.UNIT),
        ("(1 | 2 | 3 | 4).aggregate($total & $total & 'aaaaaaaaaaaaaaaaaaaaaaaa', 'b')", None),
    ],
)
def test_errors_of_the_specification_are_typed_and_name_no_value(
    path: str, failure: Failure | None
) -> None:
    if failure is None:
        assert find(path)
        return
    with pytest.raises(PathFailed) as failed:
        find(path)
    assert failed.value.failure is failure
    assert "718-7" not in str(failed.value)


def test_descendants_know_choices_and_leave_out_the_resource_type() -> None:
    medication = {
        "resourceType": "Medication",
        "ingredient": [
            {"itemCodeableConcept": {"text": "x"}, "strength": {"numerator": {"value": 1}}},
            {"itemReference": {"reference": "#s"}, "_itemReference": None},
        ],
    }
    assert find("descendants().ofType(CodeableConcept).text", medication) == ["x"]
    assert find("descendants().ofType(Reference).reference", medication) == ["#s"]
    assert find("children().count()", medication) == [2]
    assert find("repeat(children()).count() = descendants().count()", medication) == [True]


def test_several_booleans_are_no_filter() -> None:
    with pytest.raises(PathFailed):
        compile_path("code.coding.select(code = 'hb')").test(OBSERVATION)


def test_resource_is_never_changed() -> None:
    before = json.dumps(PATIENT)
    for path in (
        "name.given | 'x'",
        "descendants()",
        "name.combine(name).distinct()",
        "repeat(name)",
    ):
        find(path, PATIENT)
    assert json.dumps(PATIENT) == before
