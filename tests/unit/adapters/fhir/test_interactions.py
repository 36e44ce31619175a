"""Which interaction delivers a resource, and whether it may come twice."""

from __future__ import annotations

import pytest

from adapters.fhir.codec.errors import Undeliverable, Unidentified, UnreadableResource
from adapters.fhir.codec.interactions import Interaction, Plan, Policy, Unrepeatable, plan

SEND = Policy(unrepeatable=Unrepeatable.SEND)


def resource(kind: str = "Patient", rest: str = "") -> bytes:
    return f'{{"resourceType":"{kind}"{"," if rest else ""}{rest}}}'.encode()


def identifiers(*triples: tuple[str, str, str]) -> str:
    inner = ",".join(f'{{"system":"{s}","value":"{v}","use":"{u}"}}' for s, v, u in triples)
    return f'"identifier":[{inner}]'


def short(chosen: Plan) -> tuple[str, str]:
    return chosen.method, chosen.path


def test_id_comes_before_identifier() -> None:
    body = resource(rest=f'"id":"p1",{identifiers(("urn:s", "1", ""))}')
    assert short(plan(body, Policy())) == ("PUT", "Patient/p1")


@pytest.mark.parametrize(
    ("value", "query"),
    [
        ("1", "urn%3As%7C1"),
        ("a b&c=d#e", "urn%3As%7Ca%20b%26c%3Dd%23e"),
        ("x|y,z$", "urn%3As%7Cx%5C%7Cy%5C%2Cz%5C%24"),
        ("ü", "urn%3As%7C%C3%BC"),
    ],
)
def test_identifier_is_escaped_for_search_and_address(value: str, query: str) -> None:
    body = resource(rest=identifiers(("urn:s", value, "")))
    assert short(plan(body, Policy())) == ("PUT", f"Patient?identifier={query}")


def test_old_identifiers_and_those_without_a_system_do_not_identify() -> None:
    body = resource(
        rest=identifiers(("urn:s", "1", "old"), ("", "2", ""), ("urn:t", "3", "official"))
    )
    assert short(plan(body, Policy()))[1].endswith("urn%3At%7C3")
    with pytest.raises(Unidentified):
        plan(resource(rest=identifiers(("", "2", ""))), Policy())


def test_preferred_systems_decide_and_no_other_will_do() -> None:
    policy = Policy(identifier_systems=("urn:b", "urn:a"))
    body = resource(rest=identifiers(("urn:a", "1", ""), ("urn:b", "2", "")))
    assert short(plan(body, policy))[1].endswith("urn%3Ab%7C2")
    with pytest.raises(Unidentified):
        plan(resource(rest=identifiers(("urn:c", "1", ""))), policy)


def test_types_may_have_interactions_of_their_own() -> None:
    policy = Policy(
        by_type={
            "Patient": Interaction.CONDITIONAL_CREATE,
            "Basic": Interaction.CREATE,
            "Task": Interaction.UPDATE,
            "Observation": Interaction.CONDITIONAL_UPDATE,
        }
    )
    own = identifiers(("urn:s", "1", ""))
    made = plan(resource(rest=f'"id":"p1",{own}'), policy)
    assert (made.method, made.path, made.repeatable) == ("POST", "Patient", True)
    assert made.headers == (("if-none-exist", "identifier=urn%3As%7C1"),)
    basic = plan(resource("Basic"), policy)
    assert (basic.method, basic.path, basic.repeatable) == ("POST", "Basic", False)
    changed = plan(resource("Observation", f'"id":"o1",{own}'), policy)
    assert short(changed) == ("PUT", "Observation?identifier=urn%3As%7C1")
    for kind in ("Task", "Observation"):
        with pytest.raises(Unidentified):
            plan(resource(kind), policy)


def test_nothing_to_tell_it_by_is_refused_or_sent_once() -> None:
    with pytest.raises(Unidentified, match="unrepeatable"):
        plan(resource(), Policy())
    sent = plan(resource(), SEND)
    assert (sent.method, sent.path, sent.repeatable) == ("POST", "Patient", False)


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [
        ('"method":"PUT","url":"Patient/1"', True),
        ('"method":"PUT","url":"Patient?identifier=a"', True),
        ('"method":"DELETE","url":"Patient/1"', True),
        ('"method":"GET","url":"Patient/1"', True),
        ('"method":"POST","url":"Patient","ifNoneExist":"identifier=a"', True),
        ('"method":"POST","url":"Patient"', False),
        ('"method":"POST","url":"Patient","ifNoneExist":""', False),
        ('"method":"PATCH","url":"Patient/1"', False),
        ('"method":"put","url":"Patient/1"', False),
    ],
)
@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_transactions_go_to_the_base_where_they_may_come_twice(
    request_: str, repeatable: bool, kind: str
) -> None:
    safe = '{"request":{"method":"PUT","url":"Patient/0"}}'
    body = resource("Bundle", f'"type":"{kind}","entry":[{safe},{{"request":{{{request_}}}}}]')
    assert plan(body, SEND) == Plan(interaction=kind, method="POST", path="", repeatable=repeatable)
    if not repeatable:
        with pytest.raises(Unidentified):
            plan(body, Policy())


def test_bundles_that_are_kept_are_resources_and_answers_go_nowhere() -> None:
    own = '"identifier":{"system":"urn:s","value":"1"}'
    document = resource("Bundle", f'"type":"document",{own}')
    assert short(plan(document, Policy())) == ("PUT", "Bundle?identifier=urn%3As%7C1")
    assert short(plan(resource("Bundle", '"type":"message"'), Policy())) == (
        "POST",
        "$process-message",
    )
    for kind in ("searchset", "history", "transaction-response", "subscription-notification"):
        with pytest.raises(Undeliverable):
            plan(resource("Bundle", f'"type":"{kind}"'), SEND)


def test_element_of_another_type_is_as_if_it_were_not_there() -> None:
    odd = resource(rest='"id":"p1","identifier":"text","subject":["x"],"patient":7')
    assert short(plan(odd, Policy())) == ("PUT", "Patient/p1")
    with pytest.raises(UnreadableResource):
        plan(resource("Bundle", '"type":{"text":"x"}'), Policy())
