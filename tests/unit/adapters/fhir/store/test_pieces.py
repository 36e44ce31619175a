"""The store's pure pieces: stamps, patches, times, values, references, rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.store.checking import check, depth_exceeds
from adapters.fhir.store.cursors import Cursors, Place
from adapters.fhir.store.events import Change, domain_of, event_name
from adapters.fhir.store.extraction import extract, folded, local_reference, short
from adapters.fhir.store.patching import JSON_PATCH, MERGE_PATCH, patched
from adapters.fhir.store.references import reference_member, references_in, replaced
from adapters.fhir.store.refusals import Refusal
from adapters.fhir.store.splice import stamped
from adapters.fhir.store.times import instant, span_of
from adapters.fhir.store.values import Prefix, bounds_of, prefixed, split, unescaped
from schemas import subjects
from schemas.fhir.release import Release
from schemas.fhir.searching import Kind, parameters_of
from schemas.subjects import Domain
from tests.shared_data import shared_path

STAMP: dict[str, Any] = {"id": "new", "version": 7, "last_updated": "2026-01-01T00:00:00.000Z"}
texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
SPACE = st.sampled_from([None, 1])


@given(
    st.dictionaries(texts, values, max_size=5),
    st.none() | st.dictionaries(texts | st.just("versionId"), values, max_size=4),
    st.none() | texts,
    SPACE,
    st.booleans(),
)
def test_stamp_changes_nothing_else(
    rest: dict[str, Any],
    meta: dict[str, Any] | None,
    id: str | None,
    indent: int | None,
    plain: bool,
) -> None:
    document = {**rest, "resourceType": "Patient"}
    document.pop("id", None)
    document.pop("meta", None)
    if meta is not None:
        document["meta"] = meta
    if id is not None:
        document["id"] = id
    body = json.dumps(document, indent=indent, ensure_ascii=plain).encode("utf-8", "replace")
    document = json.loads(body)
    made = json.loads(stamped(body, **STAMP))
    document["id"] = "new"
    stamp = {"versionId": "7", "lastUpdated": STAMP["last_updated"]}
    document["meta"] = {**document.get("meta", {}), **stamp}
    assert made == document
    assert stamped(stamped(body, **STAMP), **STAMP) == stamped(body, **STAMP)


def test_official_examples_are_stamped_and_extracted_whole() -> None:
    parameters = parameters_of(Release.R4)
    count = 0
    for file in sorted(shared_path("data/fhir/r4-examples").rglob("*.json")):
        body = file.read_bytes()
        checked = check(body, Release.R4, max_bytes=1 << 24)
        made = json.loads(stamped(body, **STAMP))
        given = {**checked.resource, "id": "new"}
        given["meta"] = made["meta"]
        assert made == given, file.name
        assert not extract(checked.resource, parameters).is_cut, file.name
        count += 1
    assert count > 300


@given(st.binary(max_size=60) | texts.map(str.encode))
def test_any_bytes_are_a_resource_or_refused(body: bytes) -> None:
    with pytest.raises(Refusal):
        check(body, Release.R4, max_bytes=1000)


def test_depth_is_bounded() -> None:
    assert not depth_exceeds({"a": [{"b": 1}]}, 3)
    assert depth_exceeds({"a": [{"b": 1}]}, 2)


# ── patches: the examples of RFC 6902 appendix A and RFC 7396 appendix A


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        (
            '{"foo":"bar"}',
            '[{"op":"add","path":"/baz","value":"qux"}]',
            '{"foo":"bar","baz":"qux"}',
        ),
        (
            '{"foo":["bar","baz"]}',
            '[{"op":"add","path":"/foo/1","value":"qux"}]',
            '{"foo":["bar","qux","baz"]}',
        ),
        ('{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'),
        (
            '{"foo":["bar","qux","baz"]}',
            '[{"op":"remove","path":"/foo/1"}]',
            '{"foo":["bar","baz"]}',
        ),
        (
            '{"baz":"qux","foo":"bar"}',
            '[{"op":"replace","path":"/baz","value":"boo"}]',
            '{"baz":"boo","foo":"bar"}',
        ),
        (
            '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
            '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
            '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}',
        ),
        (
            '{"foo":["all","grass","cows","eat"]}',
            '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
            '{"foo":["all","cows","eat","grass"]}',
        ),
        (
            '{"baz":"qux","foo":["a",2,"c"]}',
            '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2.0}]',
            '{"baz":"qux","foo":["a",2,"c"]}',
        ),
        (
            '{"foo":"bar"}',
            '[{"op":"add","path":"/baz","value":1,"xyz":1}]',
            '{"foo":"bar","baz":1}',
        ),
        ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'),
        (
            '{"foo":["bar"]}',
            '[{"op":"add","path":"/foo/-","value":["abc"]}]',
            '{"foo":["bar",["abc"]]}',
        ),
        ('{"a":{"b":1}}', '[{"op":"copy","from":"/a","path":"/c"}]', '{"a":{"b":1},"c":{"b":1}}'),
        ('{"a":1}', '[{"op":"replace","path":"","value":{"b":1.50}}]', '{"b":1.50}'),
    ],
)
def test_json_patch_does_what_its_rfc_shows(document: str, patch: str, result: str) -> None:
    assert patched(document.encode(), patch.encode(), JSON_PATCH).decode() == result


@pytest.mark.parametrize(
    ("patch", "status"),
    [
        ('[{"op":"test","path":"/foo","value":"other"}]', 422),
        ('[{"op":"test","path":"/foo","value":1}]', 422),
        ('[{"op":"add","path":"/none/bat","value":1}]', 422),
        ('[{"op":"remove","path":"/none"}]', 422),
        ('[{"op":"remove","path":""}]', 422),
        ('[{"op":"replace","path":"/none","value":1}]', 422),
        ('[{"op":"add","path":"/list/5","value":1}]', 422),
        ('[{"op":"add","path":"/list/01","value":1}]', 422),
        ('[{"op":"remove","path":"/list/-"}]', 422),
        ('[{"op":"move","from":"/list","path":"/list/0"}]', 422),
        ('[{"op":"replace","path":"","value":7}]', 422),
        ('[{"op":"add","path":"/x"}]', 400),
        ('[{"op":"add","path":"x","value":1}]', 400),
        ('[{"op":"add","path":"/~2","value":1}]', 400),
        ('[{"op":"spam","path":"/x"}]', 400),
        ('{"op":"add"}', 400),
        ("[", 400),
        ("[" + ",".join(['{"op":"test","path":"","value":1}'] * 1001) + "]", 413),
    ],
)
def test_json_patch_that_does_not_fit_is_refused(patch: str, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        patched(b'{"foo":"bar","list":[0]}', patch.encode(), JSON_PATCH)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
        ('{"a":"b"}', '{"a":null}', "{}"),
        ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
        ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
        ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
        ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
        ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
        ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
        ('{"n":1.500}', '{"a":2.50}', '{"n":1.500,"a":2.50}'),
    ],
)
def test_merge_patch_does_what_its_rfc_shows(document: str, patch: str, result: str) -> None:
    assert patched(document.encode(), patch.encode(), MERGE_PATCH).decode() == result


# ── times, values, references


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("1970", "1970-01-01T00:00:00.000Z", "1970-12-31T23:59:59.999Z"),
        ("2024-02", "2024-02-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z"),
        ("2026-12", "2026-12-01T00:00:00.000Z", "2026-12-31T23:59:59.999Z"),
        ("2026-03-01", "2026-03-01T00:00:00.000Z", "2026-03-01T23:59:59.999Z"),
        ("2026-03-01T10:00+01:00", "2026-03-01T09:00:00.000Z", "2026-03-01T09:00:59.999Z"),
        ("2026-03-01T10:00:05", "2026-03-01T10:00:05.000Z", "2026-03-01T10:00:05.999Z"),
        ("2026-03-01T10:00:05.25Z", "2026-03-01T10:00:05.250Z", "2026-03-01T10:00:05.259Z"),
        ("2026-03-01T10:00:05.123456Z", "2026-03-01T10:00:05.123Z", "2026-03-01T10:00:05.123Z"),
        ("1969-12-31T23:59:60-00:30", "1970-01-01T00:30:00.000Z", "1970-01-01T00:30:00.999Z"),
    ],
)
def test_date_spans_what_its_precision_leaves_open(text: str, low: str, high: str) -> None:
    span = span_of(text)
    assert span is not None
    assert (instant(span.low), instant(span.high)) == (low, high)


@given(st.text(max_size=30))
def test_any_text_is_a_date_or_none(text: str) -> None:
    span = span_of(text)
    assert span is None or span.low <= span.high


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_escaped_values_come_back(parts: list[str]) -> None:
    def escape(text: str) -> str:
        for one in "\\,|$":
            text = text.replace(one, f"\\{one}")
        return text

    joined = ",".join(map(escape, parts))
    assert [unescaped(one) for one in split(joined, ",")] == parts


def test_prefixes_and_precision() -> None:
    assert prefixed("ge2026") == (Prefix.GE, "2026")
    assert prefixed("2026") == (Prefix.EQ, "2026")
    assert prefixed("ge") == (Prefix.EQ, "ge")
    assert bounds_of("100", "x")[:2] == (99.5, 100.5)
    assert bounds_of("1e2", "x")[:2] == (95.0, 105.0)
    for wrong in ("", "x", "1,5", "NaN", "Infinity", "1e9999", "0x10", "9" * 50):
        with pytest.raises(Refusal):
            bounds_of(wrong, "x")


def test_reference_members_are_found_where_they_stand_and_nowhere_else() -> None:
    body = (
        b'{"a":{"reference" : "x"},"text":"\\"reference\\": \\"x\\"","code":"reference",'
        b'"b":[{"display":"x","reference":"Pat\\u0069ent\\/1"}]}'
    )
    assert list(references_in(body)) == ["x", "Patient/1"]
    made = replaced(body, {"x": reference_member("y")}.get)
    assert made == body.replace(b'"reference" : "x"', b'"reference":"y"')


def test_local_references() -> None:
    base = "https://here.example/fhir"
    assert local_reference("Patient/1/_history/2") == ("Patient", "1")
    assert local_reference(f"{base}/Patient/1", base) == ("Patient", "1")
    assert local_reference("https://there.example/Patient/1", base)[0] == ""
    assert local_reference("urn:uuid:1")[0] == ""
    assert local_reference("Patient/1?x")[0] == ""


def test_texts_are_folded_and_cut_for_the_index() -> None:
    assert folded("  MÜLLER-Łuk\u0301\0x ") == "muller-łuk x"
    assert len(short("x" * 10_000)) == len(short("y" * 10_000)) == 240
    assert short("x" * 10_000) != short("x" * 9_999)
    assert len(folded("x" * 10_000)) == 200


def test_rows_of_periods_timings_ranges_and_money() -> None:
    def rows(**more: Any) -> set[tuple[float, float]]:
        found = extract(more, parameters_of(Release.R4)).ranges
        return {(one.low, one.high) for one in found}

    start = span_of("2026")
    assert start is not None
    (period,) = rows(resourceType="Encounter", period={"start": "2026"})
    assert period[0] == start.low
    assert period[1] > start.high
    events = ["2026", "2027"]
    timing = rows(resourceType="Observation", effectiveTiming={"event": events})
    assert len(timing) == 2
    quantity = {"value": 5, "comparator": "<", "unit": "mg"}
    (less,) = rows(resourceType="Observation", valueQuantity=quantity)
    assert less[1] == 5
    assert less[0] < -1e100
    money = rows(resourceType="Invoice", totalNet={"value": 7.5, "currency": "EUR"})
    assert (7.5, 7.5) in money


def test_cursor_is_bound_to_key_and_question() -> None:
    cursors = Cursors(b"k" * 32)
    place = Place(row=7, keys=["a", 1.5], total=9)
    text = cursors.write(place, ["a"])
    assert cursors.read(text, ["a"]) == place
    for other, question in ((cursors, ["b"]), (Cursors(b"o" * 32), ["a"])):
        with pytest.raises(Refusal):
            other.read(text, question)


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with pytest.raises(Refusal):
        Cursors(b"k" * 32).read(text, [])


@pytest.mark.parametrize("release", list(Release))
def test_every_type_has_an_event_and_every_parameter_compiles(release: Release) -> None:
    from adapters.fhir.store.checking import resource_types

    parameters = parameters_of(release)
    for name in resource_types(release):
        for change in Change:
            subjects.token(event_name(name, change))
        assert domain_of(name) in Domain
        for one in parameters.of(name).values():
            assert one.kind is Kind.COMPOSITE or one.path.source == one.expression


def test_keys_of_parameters_do_not_meet() -> None:
    keys: dict[int, tuple[str, str]] = {}
    for release in Release:
        own = parameters_of(release)
        for name in own._types:
            for one in own.of(name).values():
                assert keys.setdefault(one.key, (one.owner, one.code)) == (one.owner, one.code)
