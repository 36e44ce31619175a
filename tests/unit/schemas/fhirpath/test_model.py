"""Names and types against a release's elements."""

from __future__ import annotations

import pytest

from schemas.fhirpath import FhirPathError, compile_path

ELEMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Patient": {
        "name": ("HumanName",),
        "birthDate": ("date",),
        "gender": ("code",),
        "deceased": ("boolean", "dateTime"),
        "contact": ("Patient.contact",),
    },
    "Patient.contact": {"name": ("HumanName",), "period": ("Period",)},
    "HumanName": {"family": ("string",), "given": ("string",), "use": ("code",)},
    "Period": {"start": ("dateTime",), "end": ("dateTime",)},
}


class Model:
    """A small release."""

    def element(self, type_name: str, element: str) -> tuple[str, ...] | None:
        return ELEMENTS.get(type_name, {}).get(element)

    def elements(self, type_name: str) -> tuple[str, ...]:
        return tuple(ELEMENTS.get(type_name, {}))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Patient.nmae.given", "Patient has no element nmae; did you mean name?"),
        ("name.where(uze = 'x')", "HumanName has no element uze"),
        ("contact.name.first().given.familly", "has no element"),
        ("Encounter.status", "Encounter is not what the path begins at"),
        ("(deceased as dateTime) and name[0].famly.exists()", "did you mean family?"),
        ("name.startsWith('x')", "startsWith() is for texts"),
        ("name.select(given | fmily)", "HumanName has no element fmily"),
    ],
)
def test_unknown_element_does_not_compile(path: str, says: str) -> None:
    with pytest.raises(FhirPathError) as failed:
        compile_path(path, model=Model(), context="Patient")
    assert says in str(failed.value)


def test_types_are_known_by_the_model() -> None:
    patient = {
        "resourceType": "Patient",
        "gender": "female",
        "birthDate": "1974",
        "name": [{"family": "Example"}],
        "deceasedDateTime": "2026-01",
    }

    def find(path: str) -> list[object]:
        return list(compile_path(path, model=Model(), context="Patient")(patient))

    assert find("gender is code") == [True]
    assert find("gender is string") == [True]
    assert find("gender is System.String") == [False]
    assert find("birthDate < @1975-01-01") == [True]
    assert find("birthDate < @1974-06") == []
    assert find("deceased is dateTime") == [True]
    assert find("deceased.type().name") == ["dateTime"]
    assert find("descendants().ofType(HumanName).family") == ["Example"]
    assert find("children().count()") == [4]
