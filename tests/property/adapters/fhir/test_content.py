"""Whatever bytes come: what is read of them is true or a `MeshError`, nothing else, and bytes stay as they are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir.codec.interactions import Policy, Unrepeatable, identifier_query, plan
from adapters.fhir.codec.notification import read_notification
from adapters.fhir.codec.outcome import outcome_issues
from adapters.fhir.codec.partial import Identifier, read_bundle, read_head, resources_of
from adapters.fhir.codec.responses import judge_entries, judge_message
from adapters.fhir.convert import Intent, to_event
from schemas.errors import MeshError
from schemas.subjects import Domain
from tests.unit.adapters.parts import SITE, SITE_KEY

INTENT = Intent(site=SITE, site_key=SITE_KEY, adapter="in", event=(Domain.RAW, "x"), events={})
NAMES = st.one_of(
    st.sampled_from(["resourceType", "id", "identifier", "subject", "patient", "type", "entry"]),
    st.sampled_from(["resource", "request", "system", "value", "use", "reference", "method"]),
    st.sampled_from(["link", "parameter", "response", "issue"]),
)
WORDS = st.sampled_from(["Patient", "Bundle", "Parameters", "transaction", "history", "a/b", ""])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | WORDS
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)
LIKE_RESOURCES = st.dictionaries(NAMES, JSON, max_size=6).map(
    lambda fields: json.dumps({"resourceType": "Bundle"} | fields).encode()
)
BODIES = st.binary(max_size=200) | LIKE_RESOURCES


def to_an_event(body: bytes) -> object:
    return to_event(body, INTENT, received_ms=0)


def to_a_plan(body: bytes) -> object:
    return plan(body, Policy(unrepeatable=Unrepeatable.SEND))


READERS: list[Callable[[bytes], object]] = [
    *(read_head, read_bundle, read_notification, outcome_issues),
    *(judge_entries, judge_message, to_an_event, to_a_plan),
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@given(body=BODIES)
def test_any_bytes_are_read_or_refused(read: Callable[[bytes], object], body: bytes) -> None:
    with contextlib.suppress(MeshError):
        read(body)


@given(st.lists(LIKE_RESOURCES, max_size=5), st.sampled_from([b"", b" ", b"\r\n\t"]))
def test_entries_come_out_as_they_went_in(bodies: list[bytes], space: bytes) -> None:
    entries = b",".join(b'{"resource":%b%b%b}' % (space, body, space) for body in bodies)
    bundle = b'{"resourceType":"Bundle","entry":[%b]}' % entries
    assert list(resources_of(read_bundle(bundle))) == bodies


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_query_of_an_identifier_is_one_parameter_with_two_parts(system: str, value: str) -> None:
    query = identifier_query(Identifier(system=system, value=value))
    assert query.isascii()
    assert not set(query) & set(" #&\r\n")
    (text,) = parse_qs(urlsplit(f"http://h/Patient?{query}").query)["identifier"]
    parts: list[str] = []
    now, escaped = "", False
    for char in text:
        if escaped or char not in "\\|":
            now, escaped = now + char, False
        elif char == "\\":
            escaped = True
        else:
            parts, now = [*parts, now], ""
    assert [*parts, now] == [system, value]
