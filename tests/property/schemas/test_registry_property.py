"""Whatever is fed to the registry's pure parts: keys lead back, the strongest pattern holds, bad bytes are refused."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from schemas import subjects
from schemas.registry.checks import compile_check
from schemas.registry.closures import from_stored, read_set
from schemas.registry.errors import SchemaError, SchemaRefused
from schemas.registry.models import Binding, Depth, Kind, decode
from schemas.registry.patterns import conflicting, key_of, pattern_of, rank, strongest
from schemas.registry.peeks import hl7_type, resource_type, whole_resource_type

words = st.sampled_from(["a", "b", "c"])
tokens = st.lists(st.one_of(words, st.just("*")), min_size=1, max_size=4)
patterns = st.builds(
    lambda some, rest: subjects.pattern(".".join([*some, ">"] if rest else some)),
    tokens,
    st.booleans(),
)
names = st.lists(words, min_size=1, max_size=5).map(".".join)


@given(patterns)
def test_key_of_a_pattern_leads_back_to_it(pattern: str) -> None:
    key = key_of(pattern)
    assert pattern_of(key) == pattern
    assert not set(key) & {"*", ">"}


@given(patterns, patterns)
def test_pattern_within_another_is_stronger(narrow: str, wide: str) -> None:
    if narrow != wide and subjects.matches(wide, narrow):
        assert rank(narrow) > rank(wide)


@given(st.lists(patterns, unique=True, max_size=6), names)
def test_strongest_pattern_covers_the_subject_and_no_stronger_one_does(
    bound: list[str], name: str
) -> None:
    found = strongest(bound, name)
    covering = [one for one in bound if subjects.matches(one, name)]
    assert (found is None) == (not covering)
    if found is not None:
        assert rank(found) == max(map(rank, covering))
        assert all(
            conflicting(found, [one])
            for one in covering
            if one != found and rank(one) == rank(found)
        )


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for read in (decode, read_set, lambda one: from_stored(one, "0" * 64)):
        with contextlib.suppress(SchemaError):
            read(raw)
    hl7_type(raw)
    hl7_type(b"MSH" + raw)
    resource_type(raw)
    whole_resource_type(raw)


@given(
    st.text(max_size=60),
    st.binary(max_size=200),
    st.sampled_from([Kind.FHIR, Kind.HL7V2, Kind.CONTENT]),
)
def test_any_content_fits_or_is_refused_in_words_of_our_own(
    content_type: str, body: bytes, kind: Kind
) -> None:
    types = {
        Kind.FHIR: "application/fhir+json",
        Kind.HL7V2: "hl7v2/ADT^A01",
        Kind.CONTENT: "text/plain",
    }
    binding = Binding(
        pattern="evt.a.>", kind=kind, content_types=(types[kind],), depth=Depth.FULL,
        release="R4" if kind is Kind.FHIR else "",
    )  # fmt: skip
    check = compile_check(binding, None)
    for named in (content_type, types[kind]):
        said = ""
        try:
            check(named, body)
        except SchemaRefused as refused:
            said = refused.seen
        assert said.isascii()
        assert len(said) < 130


@given(st.binary(max_size=120), st.binary(max_size=20))
def test_hl7_type_is_the_same_whatever_follows_the_first_line(head: bytes, tail: bytes) -> None:
    line = b"MSH|^~\\&|" + head.replace(b"\r", b"").replace(b"\n", b"")
    assert hl7_type(line + b"\r" + tail) == hl7_type(line + b"\r")
