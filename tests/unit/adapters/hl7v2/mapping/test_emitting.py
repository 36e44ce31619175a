"""Rules as Python: what stands in the text, and that nothing of a table does."""

from __future__ import annotations

from adapters.hl7v2.mapping.emitting import Rule
from adapters.hl7v2.mapping.frames import Naming
from adapters.hl7v2.mapping.functions import FUNCTIONS
from adapters.hl7v2.mapping.makers import Maker
from adapters.hl7v2.mapping.shapes import load_shapes
from adapters.hl7v2.mapping.sources import parse_source
from adapters.hl7v2.mapping.targets import compile_target


def _rule(source: str, to: str, function: str = "string") -> Rule:
    registered = FUNCTIONS[function]
    return Rule(
        segment="PID",
        target=compile_target(to, "Patient", load_shapes(), "here"),
        naming=Naming(rule="PID[Patient]/here", layer="std"),
        source=parse_source(source, "here"),
        maker=Maker(gives=registered.gives, text=registered.text),
    )


def test_the_text_of_a_rule_can_be_read_and_names_what_it_stands_for() -> None:
    rule = _rule("PID-7", "birthDate", "date")
    assert rule.text.startswith("def rule(frame):")
    assert "found = view.repetitions(FIELD)" in rule.text
    assert (rule.names["FIELD"], rule.names["NAME"]) == (7, "birthDate")
    assert rule.names["FUNCTION"] is FUNCTIONS["date"].text


def test_nothing_that_a_table_says_is_in_the_text() -> None:
    url = "http://example.org/'); import os #"
    rule = _rule("PID-7", f"extension[url={url.replace(' ', '%20')}].valueString")
    assert "example" not in rule.text
    assert "extension" not in rule.text


def test_rules_of_one_form_share_their_text() -> None:
    assert _rule("PID-7", "birthDate").text == _rule("PID-8", "gender").text
    assert _rule("PID-7", "birthDate").text != _rule("PID-7[*]", "birthDate").text


def test_the_function_is_called_as_its_rule() -> None:
    assert _rule("PID-7", "birthDate").made().__code__.co_name == "PID[Patient]/here"
