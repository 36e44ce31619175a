"""Search: what each kind of parameter finds, in which order, page by page, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.clock import FakeClock
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.adapters.fhir.store.kit import (
    BASE,
    Ward,
    issue,
    observation,
    parsed,
    ward,
)

PATIENTS: dict[str, dict[str, Any]] = {
    "anna": {
        "identifier": [{"system": "urn:mrn", "value": "1"}, {"value": "bare"}],
        "name": [{"family": "Müller", "given": ["Anna", "Maria"]}],
        "gender": "female",
        "birthDate": "1970-05-17",
        "active": True,
        "address": [{"city": "Köln", "postalCode": "50667"}],
        "telecom": [{"system": "phone", "value": "555"}],
        "generalPractitioner": [{"reference": "Practitioner/doc"}],
    },
    "bert": {
        "identifier": [{"system": "urn:other", "value": "1"}],
        "name": [{"family": "Mullner", "given": ["Bert, Jr."]}],
        "gender": "male",
        "birthDate": "1970-05",
        "generalPractitioner": [
            {"identifier": {"system": "urn:lanr", "value": "77"}, "display": "X"}
        ],
    },
    "cleo": {
        "name": [{"family": "Ozil"}],
        "birthDate": "1985",
        "deceasedDateTime": "2020-02-03T10:00:00+01:00",
        "managingOrganization": {"reference": "https://elsewhere.example/Organization/7"},
        "link": [{"other": {"reference": f"{BASE}/Patient/anna"}, "type": "seealso"}],
    },
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Ward]:
    clock = FakeClock()
    async with ward(tmp_path, clock=clock) as running:
        for name, body in PATIENTS.items():
            assert (await running.put(f"Patient/{name}", body)).status == 201
            clock.advance(1)
        await running.put("Practitioner/doc", {"name": [{"family": "Strange"}]})
        yield running


@pytest.mark.parametrize(
    ("query", "found"),
    [
        # token
        ("identifier=urn:mrn|1", "anna"),
        ("identifier=1", "anna bert"),
        ("identifier=|bare", "anna"),
        ("identifier=|1", ""),
        ("identifier=urn:other|", "bert"),
        ("identifier=urn:mrn|1,urn:other|1", "anna bert"),
        ("gender=female", "anna"),
        ("gender=http://hl7.org/fhir/administrative-gender|female", "anna"),
        ("gender:not=female", "bert cleo"),
        ("gender:missing=true", "cleo"),
        ("gender:missing=false", "anna bert"),
        ("active=true", "anna"),
        ("deceased=true", "cleo"),
        ("phone=555", "anna"),
        # string
        ("family=mull", "anna bert"),
        ("family=MÜLL", "anna bert"),
        ("family:exact=Müller", "anna"),
        ("family:exact=Muller", ""),
        ("family:contains=LLN", "bert"),
        ("name=maria", "anna"),
        ("given=bert\\, jr", "bert"),
        ("given=bert,anna", "anna bert"),
        ("address=köln", "anna"),
        ("address-city=kol", "anna"),
        ("address:missing=true", "bert cleo"),
        # date
        ("birthdate=1970", "anna bert"),
        ("birthdate=1970-05-17", "anna"),
        ("birthdate=1970-05", "anna bert"),
        ("birthdate=ne1970", "cleo"),
        ("birthdate=gt1970", "cleo"),
        ("birthdate=ge1970-05", "anna bert cleo"),
        ("birthdate=gt1970-05-17", "bert cleo"),
        ("birthdate=lt1970-05-17", "bert"),
        ("birthdate=le1970-05-17", "anna bert"),
        ("birthdate=sa1970-05-17", "cleo"),
        ("birthdate=eb1985", "anna bert"),
        ("birthdate=ap1970-05", "anna bert"),
        ("birthdate=ge1970&birthdate=lt1980", "anna bert"),
        ("death-date=2020-02-03T09:00:00Z", "cleo"),
        ("death-date=2020-02-03", "cleo"),
        # reference
        ("general-practitioner=Practitioner/doc", "anna"),
        ("general-practitioner=doc", "anna"),
        ("general-practitioner:Practitioner=doc", "anna"),
        ("general-practitioner:Organization=doc", ""),
        (f"general-practitioner={BASE}/Practitioner/doc", "anna"),
        ("general-practitioner:identifier=urn:lanr|77", "bert"),
        ("general-practitioner:missing=true", "cleo"),
        ("organization=https://elsewhere.example/Organization/7", "cleo"),
        ("organization=7", ""),
        ("link=Patient/anna", "cleo"),
        # chains
        ("general-practitioner:Practitioner.name=strange", "anna"),
        ("link:Patient.general-practitioner:Practitioner.family=strange", "cleo"),
        ("link:Patient.gender=male", ""),
        ("_has:Patient:link:family=ozil", "anna"),
        # the row itself
        ("_id=anna,cleo", "anna cleo"),
        ("_id=nobody", ""),
        ("_lastUpdated=lt2000", ""),
        ("_lastUpdated=gt2000", "anna bert cleo"),
    ],
)
async def test_search_finds(store: Ward, query: str, found: str) -> None:
    pairs = [tuple(one.split("=", 1)) for one in query.split("&")]
    assert await store.ids("Patient", *pairs) == found.split()  # type: ignore[arg-type]


async def test_search_finds_the_same_whichever_way_its_index_is_asked(
    store: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.fhir.store.search._FEW", 1)
    (mark,) = test_search_finds.pytestmark  # type: ignore[attr-defined]
    for query, found in mark.args[1]:
        pairs = [tuple(one.split("=", 1)) for one in query.split("&")]
        assert await store.ids("Patient", *pairs) == found.split(), query


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("birthdate=nonsense", "value"),
        ("birthdate=ge", "value"),
        ("birthdate=2026-13", "value"),
        ("gender:in=x", "not-supported"),
        ("family:text=x", "not-supported"),
        ("gender:missing=maybe", "value"),
        ("identifier=", "value"),
        ("identifier=,", "value"),
        ("family:exact=,", "value"),
        ("_count=many", "value"),
        ("_count=-1", "value"),
        ("_summary=some", "value"),
        ("_total=some", "value"),
        ("_include=Patient", "value"),
        ("_include:other=Patient:link", "not-supported"),
        ("_has:Patient=1", "invalid"),
        ("family.name=x", "invalid"),
        ("link:Patient.link:Patient.link:Patient.link:Patient.family=x", "too-costly"),
        ("_sort=family,given,birthdate,gender,_id", "too-costly"),
        ("identifier=" + ",".join("x" * 501), "too-costly"),
    ],
)
async def test_search_refuses_with_a_code(store: Ward, query: str, code: str) -> None:
    name, _, value = query.partition("=")
    outcome = await store.ask(pb.KIND_SEARCH, "Patient", query=[(name, value)])
    assert issue(outcome)[:2] == (400, code)


async def test_composite_parameter_is_refused_clearly(store: Ward) -> None:
    query = [("code-value-quantity", "x$5")]
    outcome = await store.ask(pb.KIND_SEARCH, "Observation", query=query)
    assert issue(outcome) == (400, "not-supported", "http.code-value-quantity")


async def test_unknown_parameter_is_told_or_refused(store: Ward) -> None:
    bundle = await store.search("Patient", ("shoe-size", "43"), ("gender", "female"))
    assert bundle["link"][0]["url"] == f"{BASE}/Patient?gender=female"
    assert [one["search"]["mode"] for one in bundle["entry"]] == ["match", "outcome"]
    warning = bundle["entry"][1]["resource"]["issue"][0]
    assert (warning["severity"], warning["expression"]) == ("warning", ["http.shoe-size"])
    strict = await store.ask(pb.KIND_SEARCH, "Patient", query=[("shoe-size", "43")], is_strict=True)
    assert issue(strict) == (400, "not-supported", "http.shoe-size")
    chain = await store.search("Patient", ("link:Patient.shoe-size", "43"))
    assert chain["entry"][-1]["search"]["mode"] == "outcome"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("5.4", "a"),
        ("5.40", "a"),
        ("5", "a"),
        ("gt5.4", "b"),
        ("ge5.4", "a b"),
        ("lt5.45", "a c"),
        ("le5.5", "a b c"),
        ("ne5.4", "b c"),
        ("sa5.4", "b"),
        ("eb5.45", "a c"),
        ("ap5", "a b"),
        ("5.4|urn:ucum|mmol/L", "a"),
        ("5.4||mmol/L", "a"),
        ("5.4|urn:ucum|mg", ""),
        ("-3e1", "c"),
        ("lt0", "c"),
    ],
)
async def test_quantity_is_as_precise_as_it_is_written(store: Ward, value: str, found: str) -> None:
    for name, number in (("a", 5.4), ("b", 5.5), ("c", -30)):
        await store.put(f"Observation/{name}", observation("Patient/anna", number))
    assert await store.ids("Observation", ("value-quantity", value)) == found.split()


async def test_number_and_uri_are_found(store: Ward) -> None:
    await store.put("RiskAssessment/r", {"prediction": [{"probabilityDecimal": 0.5}]})
    assert await store.ids("RiskAssessment", ("probability", "gt0.4")) == ["r"]
    assert await store.ids("RiskAssessment", ("probability", "0.50")) == ["r"]
    await store.put("ValueSet/v", {"url": "http://e.example/vs/1", "status": "draft"})
    assert await store.ids("ValueSet", ("url", "http://e.example/vs/1")) == ["v"]
    assert await store.ids("ValueSet", ("url:below", "http://e.example/vs")) == ["v"]
    assert await store.ids("ValueSet", ("url", "http://e.example/vs")) == []


async def test_what_was_changed_or_deleted_is_found_as_it_is_now(store: Ward) -> None:
    await store.put("Patient/anna", {"gender": "other"})
    assert await store.ids("Patient", ("gender", "female")) == []
    assert await store.ids("Patient", ("gender", "other")) == ["anna"]
    await store.ask(pb.KIND_DELETE, "Patient/anna")
    assert await store.ids("Patient") == ["bert", "cleo"]


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        ("family", "anna bert cleo"),
        ("-family", "cleo bert anna"),
        ("birthdate", "bert anna cleo"),
        ("-birthdate", "cleo bert anna"),
        ("gender,-_id", "anna bert cleo"),
        ("-gender", "bert anna cleo"),
        ("address-city", "anna bert cleo"),
        ("-address-city,-_id", "anna cleo bert"),
        ("-_lastUpdated", "cleo bert anna"),
        ("_id", "anna bert cleo"),
    ],
)
async def test_order_is_kept_over_pages(store: Ward, sort: str, found: str) -> None:
    query = (("_sort", sort), ("_count", "1"))
    cursor, seen = "", []
    while True:
        outcome = await store.ask(pb.KIND_SEARCH, "Patient", query=query, cursor=cursor)
        bundle = parsed(outcome)
        assert bundle["total"] == 3
        seen += [one["resource"]["id"] for one in bundle["entry"]]
        cursor = outcome.next_cursor
        links = {one["relation"]: one["url"] for one in bundle["link"]}
        assert ("next" in links) == bool(cursor)
        if not cursor:
            break
        assert links["next"].endswith(f"&_cursor={cursor}")
    assert seen == found.split()


async def test_page_neither_repeats_nor_loses_when_others_write(store: Ward) -> None:
    first = await store.ask(pb.KIND_SEARCH, "Patient", query=[("_count", "2")])
    await store.ask(pb.KIND_DELETE, "Patient/anna")
    await store.put("Patient/dora", {})
    rest = await store.ask(
        pb.KIND_SEARCH, "Patient", query=[("_count", "2")], cursor=first.next_cursor
    )
    assert [one["resource"]["id"] for one in parsed(rest)["entry"]] == ["cleo", "dora"]


async def test_cursor_of_another_search_is_refused(store: Ward) -> None:
    first = await store.ask(pb.KIND_SEARCH, "Patient", query=[("_count", "1")])
    for cursor in (first.next_cursor[:-2], "x", "", "é", "AAAA" * 2000):
        outcome = await store.ask(
            pb.KIND_SEARCH, "Patient", query=[("_count", "1"), ("gender", "male")], cursor=cursor
        )
        assert outcome.status == (400 if cursor else 200)
    other = await store.ask(
        pb.KIND_SEARCH, "Patient", query=[("gender", "male")], cursor=first.next_cursor
    )
    assert issue(other) == (400, "invalid", "http._cursor")


async def test_includes_bring_what_is_named_and_what_names(store: Ward) -> None:
    await store.put("Encounter/e", {"status": "planned", "subject": {"reference": "Patient/anna"}})
    seen = {**observation("Patient/anna"), "encounter": {"reference": "Encounter/e"}}
    await store.put("Observation/o", seen)

    async def shown(kind: str, *query: tuple[str, str]) -> list[str]:
        bundle = await store.search(kind, *query)
        return [f"{one['search']['mode'][0]}:{one['resource']['id']}" for one in bundle["entry"]]

    assert await shown("Observation", ("_include", "Observation:subject")) == ["m:o", "i:anna"]
    assert await shown("Observation", ("_include", "Observation:subject:Group")) == ["m:o"]
    every = await shown("Observation", ("_include", "*"))
    assert sorted(every) == ["i:anna", "i:e", "m:o"]
    further = [("_include", "Observation:encounter"), ("_include:iterate", "Encounter:subject")]
    assert await shown("Observation", *further) == ["m:o", "i:e", "i:anna"]
    back = [("_id", "anna"), ("_revinclude", "Observation:subject")]
    assert await shown("Patient", *back) == ["m:anna", "i:o"]
    around = [("_id", "anna"), ("_revinclude", "Encounter:subject")]
    iterated = [*around, ("_revinclude:iterate", "Observation:encounter")]
    assert await shown("Patient", *iterated) == ["m:anna", "i:e", "i:o"]


async def test_more_includes_than_allowed_are_left_out_and_told(tmp_path: Path) -> None:
    async with ward(tmp_path, limits={"max_includes": 2}) as store:
        await store.put("Patient/p", {})
        for number in range(4):
            await store.put(f"Observation/o{number}", observation("Patient/p"))
        bundle = await store.search("Patient", ("_revinclude", "Observation:subject"))
        modes = [one["search"]["mode"] for one in bundle["entry"]]
        assert modes == ["match", "include", "include", "outcome"]


async def test_summary_and_elements_leave_out_and_say_so(store: Ward) -> None:
    async def keys(*query: tuple[str, str]) -> set[str]:
        bundle = await store.search("Patient", ("_id", "anna"), *query)
        resource = bundle["entry"][0]["resource"]
        tags = [one["code"] for one in resource["meta"].get("tag", [])]
        return {*resource, *tags}

    always = {"resourceType", "id", "meta", "SUBSETTED"}
    assert await keys(("_elements", "gender,Patient.birthDate")) == always | {
        "gender",
        "birthDate",
    }
    assert "generalPractitioner" not in await keys(("_summary", "true"))
    assert "name" in await keys(("_summary", "true"))
    assert await keys(("_summary", "text")) == always
    assert "SUBSETTED" not in await keys(("_summary", "false"))
    for count in (("_summary", "count"), ("_count", "0")):
        counted = await store.search("Patient", count)
        assert (counted["total"], "entry" in counted) == (3, False)
    assert "total" not in await store.search("Patient", ("_total", "none"))


async def test_search_over_types(store: Ward) -> None:
    both = await store.search("", ("_type", "Patient,Practitioner"), ("_id", "anna,doc"))
    assert [one["resource"]["id"] for one in both["entry"]] == ["anna", "doc"]
    assert (await store.search("", ("_lastUpdated", "gt2000")))["total"] == 4


async def test_count_is_cut_to_the_most_that_is_allowed(tmp_path: Path) -> None:
    async with ward(tmp_path, limits={"count": 1, "max_count": 2}) as store:
        for number in range(4):
            await store.put(f"Patient/p{number}", {})
        assert len(await store.ids("Patient")) == 1
        assert len(await store.ids("Patient", ("_count", "1000"))) == 2


async def test_search_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    from adapters.fhir.store.sqlite import QueryTooLong

    async with ward(tmp_path, limits={"query_timeout_s": 0.0001}) as store:
        engine = store.adapter._engine  # type: ignore[union-attr]

        async def endless(unit: Any) -> Any:
            store.clock.advance(1)  # type: ignore[attr-defined]
            return await unit.fetch(
                "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
            )

        with pytest.raises(QueryTooLong):
            await engine.read(endless)
        assert await store.ids("Patient") == []


async def test_r5_is_searched_by_its_own_elements(tmp_path: Path) -> None:
    async with ward(tmp_path, release="R5") as store:
        encounter = {
            "status": "completed",
            "actualPeriod": {"start": "2026-03-01", "end": "2026-03-03"},
            "subject": {"reference": "Patient/p"},
            "participant": [{"actor": {"reference": "Practitioner/d"}}],
            "reason": [{"value": [{"concept": {"coding": [{"system": "s", "code": "x"}]}}]}],
        }
        await store.put("Encounter/e", encounter)
        for query in (
            ("date", "2026-03-02"),
            ("date-start", "2026-03-01"),
            ("patient", "p"),
            ("practitioner", "d"),
            ("reason-code", "s|x"),
        ):
            expected = [] if query == ("date", "2026-03-02") else ["e"]
            assert await store.ids("Encounter", query) == expected, query
        assert await store.ids("Encounter", ("date", "ap2026-03-02")) == ["e"]
        medication = {"concept": {"coding": [{"system": "atc", "code": "N02BE01"}]}}
        await store.put("MedicationRequest/m", {"medication": medication, "status": "active"})
        assert await store.ids("MedicationRequest", ("code", "atc|N02BE01")) == ["m"]
        named = {"reference": {"reference": "Medication/x"}}
        await store.put("MedicationRequest/n", {"medication": named, "status": "active"})
        assert await store.ids("MedicationRequest", ("medication", "Medication/x")) == ["n"]
