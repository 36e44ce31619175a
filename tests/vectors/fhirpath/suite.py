"""The official FHIRPath suite (tests-fhir-r4.xml): its cases, its inputs, and the verdict on each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from schemas.fhirpath import FhirPathError, PathFailed, compile_path
from tests.vectors.fhirpath.release import Release, from_xml

NOW = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
OUTSIDE = Path(__file__).parent / "outside.tsv"
# Inputs that the suite names and its repository's copies lack, written anew by what the cases say of them.
SYNTHETIC: dict[str, dict[str, object]] = {
    "patient-container-example.json": {
        "resourceType": "Patient",
        "id": "container",
        "contained": [{"resourceType": "Organization", "id": "1", "name": "Example"}],
        "managingOrganization": {"reference": "#1"},
    },
    "patient-name-extensions.json": {
        "resourceType": "Patient",
        "name": [
            {
                "given": [None, "Example"],
                "_given": [
                    {"extension": [{"url": "http://example.com/x", "valueCode": "y"}]},
                    None,
                ],
            }
        ],
    },
}
_JSON = {
    "appointment-examplereq.json": "r4-examples/Appointment-examplereq.json",
    "explanationofbenefit-example.json": "r5-examples/explanationofbenefit-example.json",
    "parameters-example-types.xml": "r5-examples/parameters-example-types.json",
    "patient-example-period.xml": "r5-examples/patient-example-period.json",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    expression: str
    input: str
    invalid: bool
    is_predicate: bool
    is_ordered: bool
    outputs: tuple[tuple[str, str], ...]


@cache
def cases(shared: Path) -> tuple[Case, ...]:
    root = ElementTree.parse(shared / "fhirpath-tests/fhirpath/tests-fhir-r4.xml").getroot()
    found: dict[str, Case] = {}
    for group in root.findall("group"):
        for test in group.findall("test"):
            case = _case(group.get("name", ""), test)
            name = case.name
            while name in found:
                name += "'"
            found[name] = Case(**{**case.__dict__, "name": name})
    return tuple(found.values())


def _case(group: str, test: ElementTree.Element) -> Case:
    expression = test.find("expression")
    assert expression is not None
    return Case(
        name=f"{group}/{test.get('name')}",
        expression=expression.text or "",
        input=test.get("inputfile", ""),
        invalid=expression.get("invalid") is not None,
        is_predicate=test.get("predicate") == "true",
        is_ordered=test.get("ordered") != "false",
        outputs=tuple((out.get("type", ""), out.text or "") for out in test.findall("output")),
    )


@cache
def resource(shared: Path, name: str) -> dict[str, Any] | None:
    """A case's input; None when nobody has it."""
    if not name:
        return {}
    if name in SYNTHETIC:
        return SYNTHETIC[name]
    path = shared / "fhirpath-tests" / name
    if path.exists():
        return from_xml(path.read_bytes())
    if name in _JSON and (shared / _JSON[name]).exists():
        found: dict[str, Any] = json.loads((shared / _JSON[name]).read_text())
        return found
    return None


def verdict(case: Case, shared: Path, *, with_model: bool = True) -> str:
    """Nothing when the case passes, otherwise what was found instead."""
    given = resource(shared, case.input)
    if given is None:
        return "its input is missing"
    try:
        context = str(given.get("resourceType", "")) or None
        model = Release() if with_model else None
        path = compile_path(case.expression, model=model, context=context)
        if case.is_predicate:
            found: list[Any] = [path.test(given, now=NOW)]
        else:
            found = list(path(given, now=NOW))
    except (FhirPathError, PathFailed) as err:
        is_expected = case.invalid and ": function " not in str(err)
        return "" if is_expected else f"{type(err).__name__}: {err}".replace("\n", " ")
    if case.invalid:
        return f"no error, but {found}"
    expected = [_expected(kind, text) for kind, text in case.outputs]
    actual = [_actual(value) for value in found]
    if not case.is_ordered:
        expected, actual = sorted(expected), sorted(actual)
    return "" if expected == actual else f"{actual} instead of {expected}"


def _expected(kind: str, text: str) -> str:
    if kind == "decimal" or (not kind and text.replace("-", "", 1).replace(".", "", 1).isdigit()):
        return _number(Decimal(text))
    if kind == "Quantity" or (not kind and text.endswith("'")):
        value, _, unit = text.partition(" ")
        return f"{_number(Decimal(value))} {unit}"
    return text.removeprefix("@").removeprefix("T") if text.startswith("@") else text


def _actual(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return _number(Decimal(str(value)))
    if isinstance(value, dict) and "value" in value:
        return f"{_number(Decimal(str(value['value'])))} '{value.get('code', value.get('unit'))}'"
    return str(value)


def _number(value: Decimal) -> str:
    return format(value.normalize() + 0, "f")
