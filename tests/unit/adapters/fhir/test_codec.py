"""Answers, outcomes, references and pages: what is read of them, and what never is."""

from __future__ import annotations

import pytest

from adapters.fhir.codec.answers import Answer, entry_status, retry_after_s
from adapters.fhir.codec.outcome import OutcomeIssue, operation_outcome, outcome_issues
from adapters.fhir.codec.partial import read_bundle, resources_of
from adapters.fhir.codec.responses import judge_entries, judge_message
from adapters.fhir.convert import Intent, message_id, patient_key, relative, to_event
from adapters.fhir.errors import ForeignLink
from adapters.fhir.rest import next_path
from schemas import subjects
from schemas.fhir.projection import project
from schemas.subjects import Domain
from tests.unit.adapters.parts import SITE, SITE_KEY

NOW_MS = 1_445_412_480_000
"""Wed, 21 Oct 2015 07:28:00 GMT"""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Wed, 21 Oct 2015 07:29:30 GMT", 90.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 30, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW_MS) == seconds


@pytest.mark.parametrize(
    ("etag", "version"),
    [('W/"3"', "3"), ('"a-1.b"', "a-1.b"), ("3", ""), ('W/"<x>"', ""), ("", "")],
)
def test_etag_names_the_version(etag: str, version: str) -> None:
    assert Answer(status=200, headers={"etag": etag}).version_id == version


@pytest.mark.parametrize(
    ("text", "status"), [("201 Created", 201), ("404", 404), ("", 0), ("OK", 0), ("99999", 0)]
)
def test_status_of_an_entry_is_its_number(text: str, status: int) -> None:
    assert entry_status(text) == status


def test_outcome_gives_codes_and_no_words() -> None:
    body = (
        b'{"resourceType":"OperationOutcome","text":{"div":"ZEBRAFISH"},"issue":[{"severity":"error",'
        b'"code":"invalid","diagnostics":"ZEBRAFISH","details":{"text":"ZEBRAFISH","coding":[{"code":"MSG_BAD"}]}},'
        b'{"severity":"ZEBRAFISH QUOKKA","code":"19331122"}]}'
    )
    assert outcome_issues(body) == (
        OutcomeIssue("error", "invalid", "MSG_BAD"),
        OutcomeIssue("error", "unknown"),
    )
    assert "ZEBRAFISH" not in "".join(map(str, outcome_issues(body)))
    for other in (b"", b"<html>", b'{"resourceType":"Patient"}', b"[" * 5000, b'{"issue":1}'):
        assert outcome_issues(other) == ()
    assert outcome_issues(operation_outcome("invalid", "ours")) == (
        OutcomeIssue("error", "invalid"),
    )


def test_answers_that_hide_failures_are_seen_through() -> None:
    fine = b'{"type":"batch-response","entry":[{"response":{"status":"201 Created"}}]}'
    assert judge_entries(fine) is None
    assert judge_entries(b"") is None
    mixed = fine.replace(b"]}", b',{"response":{"status":"503"}},{"response":{"status":"422 x"}}]}')
    refusal = judge_entries(mixed)
    assert refusal is not None
    assert (refusal.text, refusal.retryable) == ("entry[1] 503, entry[2] 422", False)
    busy = judge_entries(fine.replace(b"201 Created", b"503"))
    assert busy is not None
    assert busy.retryable
    for code, retryable in (("transient-error", True), ("fatal-error", False)):
        header = '{"resourceType":"MessageHeader","response":{"code":"%s"}}' % code  # noqa: UP031
        told = judge_message(b'{"type":"message","entry":[{"resource":%b}]}' % header.encode())
        assert told is not None
        assert told.retryable is retryable
    assert judge_message(b'{"entry":[{"resource":{"resourceType":"MessageHeader"}}]}') is None
    assert judge_message(b"{}") is None


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/1",
        "Patient/1/_history/7",
        "https://ehr.example/r4/Patient/1",
        "http://ehr.example/Patient/1/_history/2",
    ],
)
def test_references_to_one_patient_are_one(reference: str) -> None:
    assert relative(reference) == "Patient/1"
    body = (
        '{"resourceType":"Observation","subject":{"reference":"%s"}}' % reference  # noqa: UP031
    ).encode()
    assert patient_key(project(body)) == b"Patient/1"


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"resourceType":"Patient","id":"1"}', b"Patient/1"),
        (b'{"resourceType":"Patient","identifier":[{"system":"s","value":"v"}]}', b"s|v"),
        (b'{"resourceType":"Coverage","beneficiary":{"reference":"Patient/1"}}', b"Patient/1"),
        (b'{"resourceType":"Task","for":{"reference":"Patient/1"}}', b"Patient/1"),
        (
            b'{"resourceType":"Claim","patient":{"identifier":{"system":"s","value":"v"}}}',
            b"s|v",
        ),
        (b'{"resourceType":"Basic","subject":[{"reference":"Patient/1"}]}', b"Patient/1"),
        (b'{"resourceType":"Observation","subject":{"reference":"Group/1"}}', b""),
        (b'{"resourceType":"Organization"}', b""),
        (b'{"resourceType":"Observation","subject":{"reference":"urn:uuid:1"}}', b"urn:uuid:1"),
    ],
)
def test_patient_is_found_where_the_type_has_it(body: bytes, key: bytes) -> None:
    assert patient_key(project(body)) == key


def test_event_has_the_patients_partition_and_the_contents_identity() -> None:
    intent = Intent(
        site=SITE, site_key=SITE_KEY, adapter="in", event=(Domain.RAW, "fhir"), events={}
    )
    body = b'{"resourceType":"Patient","id":"1"}'
    made = to_event(body, intent, received_ms=5)
    partition = subjects.partition_for(SITE_KEY, b"Patient/1")
    assert made.subject == f"evt.north.raw.fhir.{partition}"
    assert made.message_id == message_id(SITE_KEY, "in", body)
    assert made.body is body
    assert message_id(SITE_KEY, "other", body) != made.message_id
    assert message_id(b"other", "in", body) != made.message_id
    assert message_id(SITE_KEY, "in", body + b" ") != made.message_id


def test_entries_keep_their_bytes_even_where_ids_come_twice() -> None:
    body = b'{"entry":[{"resource": {"id":"1", "x":1.50} },{"resource":{"id":"1"}},{},{"resource":null}]}'
    assert list(resources_of(read_bundle(body))) == [b'{"id":"1", "x":1.50}', b'{"id":"1"}']


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("http://h:80/r4/Patient?page=2", "Patient?page=2"),
        ("http://H/r4?_getpages=a-b&x=1%7C2", "?_getpages=a-b&x=1%7C2"),
        ("?_getpages=1", "?_getpages=1"),
        ("Patient?p=2", "Patient?p=2"),
        ("/r4/Patient?p=2", "Patient?p=2"),
    ],
)
def test_next_page_lies_below_the_base(link: str, path: str) -> None:
    assert next_path("http://h/r4", link) == path


@pytest.mark.parametrize(
    "link",
    [
        "https://h/r4/Patient",
        "http://h:81/r4/Patient",
        "http://h.evil/r4/Patient",
        "http://user@evil/r4",
        "/other/Patient",
        "/r4x/Patient",
        "../admin",
        "//evil/r4/Patient",
        "file:///etc/passwd",
        "http://h:x/r4",
    ],
)
def test_next_page_elsewhere_is_refused(link: str) -> None:
    with pytest.raises(ForeignLink):
        next_path("http://h/r4", link)
