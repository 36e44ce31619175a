"""Whatever the text and the resource: a path compiles or says why not, and runs within its budget or says why not."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.fhirpath import Failure, FhirPathError, PathFailed, compile_path
from schemas.fhirpath.functions import FUNCTIONS

WORDS = [
    "Patient", "name", "given", "value", "item", "$this", "$index", "$total", "%resource", "%x", "1", "1.10", "-", "+",
    "'a'", "''", "@2026-01", "@2026-01-01T10:00Z", "@T10", "4 days", "1 'mg'", "true", "{}", ".", "(", ")", "[", "]",
    ",", "=", "!=", "~", "<", ">=", "|", "&", "*", "/", "div", "mod", "and", "or", "xor", "implies", "in", "contains",
    "is", "as", "Quantity", "System.String", *(f"{name}(" for name in FUNCTIONS), *(f".{name}()" for name in FUNCTIONS),
]  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join))
NAMES = [
    "resourceType",
    "name",
    "_name",
    "given",
    "_given",
    "value",
    "valueQuantity",
    "item",
    "extension",
    "code",
]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["2026-01-01", "2026-01-01T10:00:00Z", "Patient", "10:00"]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)
resources = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)

WITH_ONE_ARGUMENT = [
    name
    for name, function in FUNCTIONS.items()
    if function.least == 1 and name not in ("is", "as", "ofType")
]
CALLS = [
    *(f"descendants().{name}()" for name, function in FUNCTIONS.items() if not function.least),
    *(f"name.{name}()" for name, function in FUNCTIONS.items() if not function.least),
    *(f"name.{name}(value)" for name in WITH_ONE_ARGUMENT),
    "name = value", "name ~ value", "name < value", "name + value", "name in value", "name | value.item", "-name",
    "value is Quantity", "value.unit", "name.given[0]", "item.where(name = 'a' and code = 1)", "extension('a').value",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(text=texts, resource=resources)
def test_any_text_compiles_or_is_refused_and_runs_or_fails_typed(
    text: str, resource: dict[str, Any]
) -> None:
    try:
        path = compile_path(text, steps=10_000)
    except FhirPathError:
        return
    try:
        json.dumps(path(resource, {"x": [1, "a"]}), default=str)
        path.test(resource, {"x": [1, "a"]})
        path.text(resource, {"x": [1, "a"]})
    except PathFailed:
        return


@settings(max_examples=400, deadline=None)
@given(text=st.sampled_from(CALLS), resource=resources)
def test_any_resource_gives_values_or_a_typed_failure(text: str, resource: dict[str, Any]) -> None:
    before = repr(resource)
    with contextlib.suppress(PathFailed):
        compile_path(text, steps=20_000)(resource)
    assert repr(resource) == before


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8),
    other=st.lists(st.sampled_from(["b", "d", "e"]), max_size=4),
)
def test_sets_obey_their_laws(values: list[str], other: list[str]) -> None:
    resource = {"a": values, "b": other}

    def find(path: str) -> list[Any]:
        return list(compile_path(path)(resource))

    assert find("a.distinct()") == list(dict.fromkeys(values))
    assert find("a | b") == list(dict.fromkeys([*values, *other]))
    assert find("a.intersect(b)") == [v for v in dict.fromkeys(values) if v in other]
    assert find("a.exclude(b)") == [v for v in values if v not in other]
    assert find("a.count() = a.where(true).count()") == [True]
    assert find("a.subsetOf(a | b)") == [True]


@settings(max_examples=200, deadline=None)
@given(low=st.dates(), days=st.integers(-400, 400))
def test_days_added_and_taken_away_again_give_the_date(low: Any, days: int) -> None:
    try:
        found = compile_path(f"(d.toDate() + {abs(days)} days) - {abs(days)} days = d.toDate()")(
            {"d": low.isoformat()}
        )
    except FhirPathError:
        pytest.fail("compiles")
    assert found in ([True], [])


@pytest.mark.parametrize(
    "text",
    [
        "descendants().select(%resource.descendants()).count()",
        "name.select(%resource.name.select(%resource.name.select(%resource.name))).count()",
        "name.aggregate($total | %resource.name.combine($total)).count()",
        "name.repeat(%resource.name.select($this & 'x'))",
        "name.select(%resource.name.sort().join(',').replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa'))",
        "name.aggregate($total & $total & $this)",
        "name.where(%resource = %resource).count()",
        "name.where(%resource ~ %resource).count()",
        "name.where($this in %resource.item.name).count()",
        "name.where(%resource.name.join().matches('(a|aa)*(a|aa)*(a|aa)*b'))",
    ],
)
def test_hostile_paths_end_within_their_budget(text: str) -> None:
    resource = {"name": [f"a{n}" for n in range(300)], "item": [{"name": "a" * 50}] * 300}
    with pytest.raises(PathFailed) as failed:
        compile_path(text, steps=100_000)(resource)
    assert failed.value.failure in (Failure.BUDGET, Failure.SIZE)


def test_nesting_beyond_any_resource_is_a_typed_failure() -> None:
    nested: Any = {}
    for _ in range(5_000):
        nested = {"item": nested}
    for path in ("item.distinct() | item", "item = item", "repeat(item)"):
        with pytest.raises(PathFailed) as failed:
            compile_path(path)(nested)
        assert failed.value.failure is Failure.DEPTH
    assert compile_path("descendants().count()")(nested) == [5_000]
