"""What cannot be written is told: by place and code, never by value, and never by an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.hl7v2.mapping import IssueCode, Severity
from adapters.hl7v2.reverse import default_writer, read_fhir_json
from schemas.errors import ConfigurationError
from tests.unit.adapters.hl7v2.reverse.resources import (
    bundle,
    context,
    observation,
    order,
    patient,
    report,
    write,
)


@pytest.mark.parametrize(
    "value",
    [
        None, [], "text", 7, {}, {"resourceType": 7}, {"resourceType": "Bundle"},
        {"resourceType": "Bundle", "entry": []}, {"resourceType": "Bundle", "entry": {"resource": {}}},
        {"resourceType": "Bundle", "entry": [None, {"resource": []}]},
    ],
)  # fmt: skip
def test_what_is_no_bundle_of_resources_fails_with_an_issue(value: object) -> None:
    written = default_writer().write(value, context())
    assert written.failed
    assert [one.severity for one in written.issues] == [Severity.ERROR]


def test_hostile_nesting_fails_with_an_issue() -> None:
    deep: dict[str, Any] = {"resourceType": "Patient"}
    for _ in range(10_000):
        deep = {"resourceType": "Patient", "contained": [deep]}
    written = default_writer().write(deep, context())
    assert (written.failed, written.issues[0].code) == (True, IssueCode.STRUCTURE)


def test_json_that_is_none_names_no_value() -> None:
    with pytest.raises(ValueError, match="no JSON") as refused:
        read_fhir_json(b'{"name": "secret-4711')
    assert "4711" not in str(refused.value)
    with pytest.raises(ValueError, match="no JSON"):
        read_fhir_json(b"[" * 100_000)


def test_a_required_field_that_is_missing_fails_the_message() -> None:
    written = write(patient(identifier=[]), order())
    assert written.failed
    assert (IssueCode.MISSING, "PID-3[]") in [(one.code, one.where) for one in written.issues]


def test_a_status_that_says_nothing_of_the_order_is_not_guessed() -> None:
    assert write(patient(), order(status="unknown")).failed
    assert not write(patient(), order(status="unknown"), at=context(order_control="NW")).failed


def test_a_reference_to_nothing_is_told() -> None:
    written = write(patient(), order(requester={"reference": "Practitioner/none"}))
    assert not written.failed
    told = [one for one in written.issues if one.code is IssueCode.MISSING]
    assert told
    assert all("none" not in one.detail + one.where for one in told)


def test_an_order_for_nobody_fails() -> None:
    written = write(order())
    assert (written.failed, written.issues[0].code) == (True, IssueCode.MISSING)


def test_two_patients_do_not_fit_one_order_message() -> None:
    other = order(id="o2", subject={"reference": "Patient/q"})
    written = write(patient(), patient("q"), order(), other)
    assert written.failed
    assert IssueCode.STRUCTURE in [one.code for one in written.issues]


def test_each_patient_of_a_bundle_gets_its_own_reports() -> None:
    other = report("b", id="r2", subject={"reference": "Patient/q"})
    results = [observation(one, valueString=one) for one in ("a", "b")]
    written = write(patient(), patient("q"), report("a"), other, *results)
    assert written.message is not None
    first, second = written.message.decode().split("\rPID|")[1:]
    assert ("|a|" in first, "|b|" in first, "|b|" in second) == (True, False, True)


def test_elements_without_a_rule_are_listed_by_path() -> None:
    written = write(
        patient(photo=[{"title": "secret-4711"}], link=[]), order(), {"resourceType": "Coverage"}
    )
    places = {one.where: one.severity for one in written.issues}
    assert places["Patient.photo[0]"] is Severity.INFORMATION
    assert places["entry[2].Coverage"] is Severity.WARNING
    assert "4711" not in repr(written.issues)
    assert "Patient.gender" not in places


def test_further_values_of_a_field_that_holds_one_are_listed() -> None:
    ranges = [{"text": "1 - 2"}, {"text": "3 - 4"}]
    value = observation("a", referenceRange=ranges, valueString="x")
    places = [one.where for one in write(patient(), report("a"), value).issues]
    assert "Observation.referenceRange[1]" in places
    assert "Observation.referenceRange[0]" not in places


def test_a_character_that_the_charset_lacks_fails_the_message() -> None:
    written = write(patient(name=[{"family": "Łukasz"}]), order(), at=context(charset="8859/1"))
    assert (written.failed, written.issues[-1].code, written.issues[-1].where) == (
        True,
        IssueCode.CHARSET,
        "PID-5",
    )


@pytest.mark.parametrize("wrong", [{"version": "1.0"}, {"charset": "UNICODE UTF-16"}])
def test_a_version_or_charset_that_is_not_written_is_refused_early(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="written"):
        context(**wrong)


def test_a_thousand_results_are_written_in_order() -> None:
    names = [f"n{i}" for i in range(1_000)]
    written = write(
        patient(), report(*names), *(observation(one, valueString=one) for one in names)
    )
    assert written.message is not None
    found = [line.split("|") for line in written.message.decode().split("\r") if line[:3] == "OBX"]
    assert [(one[1], one[5]) for one in found] == [(str(i + 1), f"n{i}") for i in range(1_000)]


def test_an_endless_circle_of_members_ends() -> None:
    loop = observation("a", hasMember=[{"reference": "Observation/a"}])
    assert not write(patient(), report("a"), loop).failed


def test_issues_stay_bounded_for_a_bundle_of_strangers() -> None:
    strangers = [{"resourceType": "Coverage", "id": str(i)} for i in range(3_000)]
    written = default_writer().write(bundle(patient(), order(), *strangers), context())
    assert (written.failed, len(written.issues) <= 1_001) == (False, True)
    assert json.dumps([one.where for one in written.issues])
