"""Guards and shortcuts give what FHIRPath gives, for each path of the shipped tables and any element."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.hl7v2.reverse import load_reverse_tables
from adapters.hl7v2.reverse.coverage import cut_at_resolve
from adapters.hl7v2.reverse.guards import fits, needs_of_path, needs_of_test
from adapters.hl7v2.reverse.messages import walk
from adapters.hl7v2.reverse.shortcuts import quick_path, quick_test
from schemas.fhirpath import compile_path

NAMES = (
    "code", "coding", "system", "value", "valueQuantity", "valueString", "valueDateTime", "valueCodeableConcept",
    "valueRange", "valueAge", "effectiveDateTime", "effectivePeriod", "comparator", "unit", "identifier", "type",
    "name", "use", "family", "given", "referenceRange", "low", "high", "text", "physicalType", "extension", "url",
    "resourceType", "status", "_status", "_valueString", "_given", "display", "component", "hasMember", "period",
)  # fmt: skip
TEXTS = st.sampled_from(
    [
        "bu",
        "si",
        "Quantity",
        "Organization",
        "Practitioner",
        "Patient",
        "PLAC",
        "maiden",
        "urn:x",
        "",
    ]
)
LEAVES = st.one_of(TEXTS, st.integers(-3, 3), st.booleans(), st.none())


def _holders(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=5), st.lists(inner, max_size=3)
    )


ELEMENTS = st.dictionaries(
    st.sampled_from(NAMES), st.recursive(LEAVES, _holders, max_leaves=12), max_size=8
)


def _texts() -> Iterator[tuple[str, bool]]:
    """Each path of the tables, and whether it is a condition."""
    tables = load_reverse_tables()
    for document in tables.documents.values():
        for rule in document.rules.values():
            yield from ((one, False) for one in rule.sources)
            yield from ((one, True) for one in [rule.when] if one)
    for message in tables.messages.values():
        for step in walk(message.steps):
            yield from ((one, False) for one in (*step.each, step.belongs) if one)
            yield from ((one, True) for one in [step.when] if one)


def _paths() -> list[tuple[str, bool]]:
    found = set()
    for text, is_test in _texts():
        if text.startswith(("parameter.", "message.", "number")):
            continue
        found |= {(part or "$this", is_test) for part in cut_at_resolve(text)[0]}
    return sorted(one for one in found if not compile_path(one[0]).variables)


PATHS = _paths()


@given(element=ELEMENTS, at=st.integers(0, len(PATHS) - 1))
def test_what_is_passed_over_would_have_found_nothing(element: dict[str, object], at: int) -> None:
    text, is_test = PATHS[at]
    path = compile_path(text)
    needs = needs_of_test(text) if is_test else needs_of_path(text)
    if fits(needs, element) or _is_odd(element):
        return
    assert (path.test(element) if is_test else path(element)) in (False, [])


@given(element=ELEMENTS, at=st.integers(0, len(PATHS) - 1))
def test_a_shortcut_leads_where_the_path_leads(element: dict[str, object], at: int) -> None:
    text, is_test = PATHS[at]
    path = compile_path(text)
    run = quick_test(text) if is_test else quick_path(text)
    quick = run(element) if run is not None else None
    if quick is None:
        return
    if is_test:
        assert quick == path.test(element)
    else:
        assert quick == path(element)


def _is_odd(element: dict[str, object]) -> bool:
    """A choice that says itself that it is a resource: no FHIR, and of no consequence."""
    return any(isinstance(one, dict) and "resourceType" in one for one in element.values())


def test_most_paths_of_the_tables_have_a_shortcut() -> None:
    """It is what makes a message a matter of milliseconds; benchmarks/mapping_to_v2.py has the numbers."""
    quick = sum(
        (quick_test(text) if is_test else quick_path(text)) is not None for text, is_test in PATHS
    )
    assert quick > 0.6 * len(PATHS)


@pytest.mark.parametrize(
    ("text", "element"),
    [
        ("status.empty()", {}),
        ("status.exists().not()", {}),
        ("status | code", {"code": "x"}),
        ("(status = 'a').not()", {"status": "b"}),
        ("'a' in status", {"status": "a"}),
        ("status.count() = 0", {}),
        ("iif(status.exists(), 1, 2)", {}),
        ("status & 'x'", {}),
        ("$this.exists()", {}),
    ],
)
def test_what_finds_something_in_nothing_is_never_passed_over(
    text: str, element: dict[str, object]
) -> None:
    assert compile_path(text)(element) != []
    assert fits(needs_of_test(text), element)
    assert fits(needs_of_path(text), element)
