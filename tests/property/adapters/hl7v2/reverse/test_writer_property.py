"""Any JSON gives a message or issues: never an exception, never a value in an issue, always the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.codec import Message
from adapters.hl7v2.reverse import default_writer
from tests.unit.adapters.hl7v2.reverse.resources import (
    bundle,
    context,
    header,
    observation,
    order,
    patient,
    report,
)

SECRET = "zq4711"
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([SECRET, "Patient/p", "#", "#x", "2026-03-01", "final", "active", '""', "|\r^"]),
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "identifier", "name", "code", "coding", "status", "subject", "reference", "value", "system", "type", "result",
        "valueQuantity", "valueString", "resourceType", "id", "contained", "extension", "url", "basedOn", "note",
        "requester", "text", "given", "family", "hasMember", "component", "effectivePeriod", "start", "_birthDate",
    ]
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=25,
)
BASES = (
    (patient(), order()),
    (patient(), report("x"), observation()),
    (header("A08"), patient()),
    (header("A01", response={"identifier": "1", "code": "ok"}),),
)


@settings(deadline=None, max_examples=60)
@given(JSON)
def test_any_json_is_answered(value: object) -> None:
    written = default_writer().write(value, context())
    assert written.failed == (written.message is None)


@settings(deadline=None, max_examples=120)
@given(st.sampled_from(BASES), st.integers(0, 2), st.dictionaries(NAMES, JSON, max_size=4))
def test_any_damage_gives_a_message_that_parses_or_an_error(
    base: tuple[dict[str, Any], ...], at: int, damage: dict[str, Any]
) -> None:
    resources = [dict(one) for one in base]
    resources[at % len(resources)].update(damage)
    value = bundle(*resources)
    written = default_writer().write(value, context())
    again = default_writer().write(value, context())
    assert (written.message, written.issues) == (again.message, again.issues)
    assert all(SECRET not in f"{one.where} {one.detail}" for one in written.issues)
    if written.message is None:
        assert any(one.severity.value == "error" for one in written.issues)
    else:
        assert Message.parse(written.message).header.message_type


@settings(deadline=None, max_examples=100)
@given(st.text(min_size=1, max_size=60))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    """But for surrounding white space, the kind of line breaks, and what no charset has."""
    written = default_writer().write(bundle(patient(name=[{"family": text}]), order()), context())
    if written.message is None:
        return
    wanted = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    assert Message.parse(written.message).get("PID-5.1") == wanted
