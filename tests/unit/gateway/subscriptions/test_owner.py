"""Who may subscribe to what; what is refused, and how; what is shown, and to whom."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.fhir.store.events import Change
from bus.flow.priority import Priority
from bus.services.protocol import CallContext, CallRefused
from bus.transport.memory import MemoryBroker
from gateway.subscriptions.book import BUCKET
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.peers.subscriber import event_numbers
from tests.unit.gateway.subscriptions.parts import BACKPORT, House, house, patient, r4, r5


def issue(outcome: pb.Outcome) -> dict[str, Any]:
    body = orjson.loads(outcome.body)
    assert body["resourceType"] == "OperationOutcome"
    return dict(body["issue"][0])


@pytest.fixture
async def home(memory_broker: MemoryBroker) -> House:
    return await house(memory_broker)


async def test_a_subscription_is_kept_requested_until_its_endpoint_was_greeted(home: House) -> None:
    id_ = await home.create(r4())
    read = await home.ask(pb.KIND_READ, id=id_)
    assert orjson.loads(read.body)["status"] == "requested"
    assert (read.version, read.status) == ("1", 200)


async def test_any_gateway_knows_what_one_was_told(memory_broker: MemoryBroker) -> None:
    first, second = await house(memory_broker), await house(memory_broker)
    id_ = await first.create(r4())
    assert (await second.ask(pb.KIND_READ, id=id_)).status == 200
    assert (await second.ask(pb.KIND_DELETE, id=id_)).status == 204
    assert (await first.ask(pb.KIND_READ, id=id_)).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (r4() | {"criteria": "urn:example:none"}, 422, "not-supported"),
        (r4() | {"criteria": "Patient?name=x"}, 422, "not-supported"),
        (r4() | {"criteria": ""}, 422, "required"),
        (r4(query="Patient?no-such=1"), 422, "not-supported"),
        (r4(query="Patient?birthdate=tomorrow"), 422, "value"),
        (r4(query="Patient?general-practitioner.name=x"), 422, "invalid"),
        (r4(query="Patient?_has:Observation:subject:code=x"), 422, "invalid"),
        (r4(query="Observation?code=1"), 422, "value"),
        (r4(endpoint="https://elsewhere.example/hook"), 422, "forbidden"),
        (r4(endpoint="https://ehr.example.evil.example/hook"), 422, "forbidden"),
        (r4(endpoint="http://ehr.example/hook"), 422, "forbidden"),
        (r4(endpoint=""), 422, "required"),
        (r4(type="email"), 422, "not-supported"),
        (r4(payload="application/fhir+xml"), 422, "not-supported"),
        (r4(content="everything"), 422, "value"),
        (r4(header=["Host: inside"]), 422, "value"),
        (r4(header=["X-Token: a\r\nX-Other: b"]), 422, "value"),
        (r4(header=["X-Token: ***"]), 422, "value"),
        (r4(header=["X: y"] * 21), 422, "too-costly"),
        (r4(extension=[{"url": f"{BACKPORT}backport-timeout", "valueUnsignedInt": -1}]), 422, "value"),
        (r4() | {"status": "nonsense"}, 422, "value"),
        (r4() | {"end": "never"}, 422, "value"),
        (r4() | {"channel": []}, 400, "structure"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused(
    home: House, body: dict[str, Any], status: int, code: str
) -> None:
    outcome = await home.ask(pb.KIND_CREATE, body=orjson.dumps(body))
    assert (outcome.status, issue(outcome)["code"]) == (status, code)
    assert not home.book.records()


async def test_a_client_needs_the_right_to_read_what_it_wants_to_hear_of(home: House) -> None:
    refused = await home.ask(
        pb.KIND_CREATE,
        body=orjson.dumps(r4()),
        client="nurse",
        scopes=("system/Subscription.cruds",),
    )
    assert refused.status == 403
    narrow = await home.ask(pb.KIND_CREATE, body=orjson.dumps(r4()), scopes=("system/Patient.r",))
    assert narrow.status == 403
    confined = await home.ask(pb.KIND_CREATE, body=orjson.dumps(r4()), compartment="Patient/1")
    assert confined.status == 403


async def test_a_client_sees_and_changes_its_own_subscriptions_alone(home: House) -> None:
    id_ = await home.create(r4())
    assert (await home.ask(pb.KIND_READ, id=id_, client="other")).status == 404
    assert (await home.ask(pb.KIND_READ, id=id_, client="operator")).status == 200
    taken = await home.ask(
        pb.KIND_UPDATE, id=id_, client="other", body=orjson.dumps(r4() | {"id": id_})
    )
    assert taken.status == 403
    assert (await home.ask(pb.KIND_DELETE, id=id_, client="other")).status == 404
    assert (await home.ask(pb.KIND_DELETE, id=id_, client="operator")).status == 403
    found = orjson.loads((await home.ask(pb.KIND_SEARCH, client="other")).body)
    assert found["total"] == 0
    for name in ("$status", "$events", "$get-ws-binding-token"):
        asked = await home.ask(pb.KIND_OPERATION, id=id_, operation=name, client="other")
        assert asked.status == 404


async def test_secrets_of_a_subscriber_are_sealed_and_never_shown(
    home: House, memory_broker: MemoryBroker
) -> None:
    id_ = await home.create(r4(header=["Authorization: Bearer s3cret"], content="empty"))
    read = await home.ask(pb.KIND_READ, id=id_)
    assert b"s3cret" not in read.body
    bucket = await (await memory_broker.connect()).key_value(BUCKET)
    for key in await bucket.keys():
        value = (await bucket.get(key)).value or b""
        assert b"s3cret" not in value
        assert b"ehr.example" not in value
    back = await home.ask(pb.KIND_UPDATE, id=id_, body=read.body)
    assert back.status == 200
    record = home.book.record(id_)
    assert record is not None
    assert record.wish.headers == (("Authorization", "Bearer s3cret"),)
    moved = orjson.loads(read.body)
    moved["channel"]["endpoint"] = "https://ehr.example/hook/elsewhere"
    assert (await home.ask(pb.KIND_UPDATE, id=id_, body=orjson.dumps(moved))).status == 422


async def test_preconditions_hold(home: House) -> None:
    id_ = await home.create(r4())
    body = orjson.dumps(r4() | {"id": id_})
    assert (await home.ask(pb.KIND_UPDATE, id=id_, body=body, if_match="7")).status == 412
    assert (await home.ask(pb.KIND_UPDATE, id=id_, body=body, if_none_match="*")).status == 412
    assert (await home.ask(pb.KIND_UPDATE, id=id_, body=body, if_match="1")).version == "2"


async def test_what_is_not_done_with_subscriptions_is_said(home: House) -> None:
    assert (await home.ask(pb.KIND_PATCH, id="1", body=b"[]")).status == 501
    assert (await home.ask(pb.KIND_TRANSACTION, body=b"{}")).status == 501
    created = await home.ask(pb.KIND_CREATE, resource_type="SubscriptionTopic", body=b"{}")
    assert created.status == 405
    unknown = await home.ask(pb.KIND_OPERATION, operation="$nonsense")
    assert unknown.status == 404


async def test_topics_are_resources_in_r5_and_stand_in_the_capabilities_of_all(
    home: House,
) -> None:
    listed = await home.ask(pb.KIND_SEARCH, resource_type="SubscriptionTopic", release="R5")
    topics = [one["resource"] for one in orjson.loads(listed.body)["entry"]]
    assert {one["url"].rpartition(":")[2] for one in topics} >= {"Patient", "Observation"}
    one = await home.ask(
        pb.KIND_READ, resource_type="SubscriptionTopic", release="R5", id=topics[0]["id"]
    )
    assert orjson.loads(one.body) == topics[0]
    refused = await home.ask(pb.KIND_SEARCH, resource_type="SubscriptionTopic")
    assert refused.status == 404
    told = orjson.loads((await home.ask(pb.KIND_CAPABILITIES)).body)
    own = told["rest"][0]["resource"][0]
    assert {one["name"] for one in own["operation"]} == {"status", "events", "get-ws-binding-token"}
    assert any(one["valueCanonical"].endswith(":Patient") for one in own["extension"])


async def test_there_is_a_bound_to_subscriptions(memory_broker: MemoryBroker) -> None:
    home = await house(memory_broker, max_subscriptions=1)
    await home.create(r4())
    refused = await home.ask(pb.KIND_CREATE, body=orjson.dumps(r4()))
    assert (refused.status, issue(refused)["code"]) == (422, "too-costly")


async def test_r5_is_read_as_it_is_written_there(home: House) -> None:
    body = r5(
        filterBy=[{"filterParameter": "birthdate", "comparator": "lt", "value": "1990"}],
        parameter=[{"name": "X-Key", "value": "k3y"}],
        heartbeatPeriod=60,
        maxCount=5,
        timeout=3,
    )
    id_ = await home.create(body, release="R5")
    record = home.book.record(id_)
    assert record is not None
    assert (record.wish.filters[0].name, record.wish.filters[0].value) == ("birthdate", "lt1990")
    assert (record.wish.heartbeat_s, record.wish.max_count, record.wish.timeout_s) == (60, 5, 3)
    assert record.wish.headers == (("X-Key", "k3y"),)
    shown = await home.ask(pb.KIND_READ, id=id_, release="R5")
    assert orjson.loads(shown.body)["parameter"] == [{"name": "X-Key", "value": "***"}]
    assert (await home.ask(pb.KIND_READ, id=id_, release="R4")).status == 404


async def test_nobody_but_a_gateway_may_speak_for_clients(home: House) -> None:
    context = CallContext(
        caller="billing",
        method="interaction",
        id=b"",
        attempt=1,
        priority=Priority.ROUTINE,
        left_s=lambda: 1.0,
    )
    with pytest.raises(CallRefused):
        await home.owner.answer(pb.Interaction(kind=pb.KIND_SEARCH).SerializeToString(), context)


async def test_events_are_told_to_whom_may_read_them_now(home: House) -> None:
    id_ = await home.create(r4())
    await home.change(Change.CREATED, patient("1"))
    events = {"id": id_, "operation": "$events"}
    told = await home.ask(pb.KIND_OPERATION, **events)
    assert event_numbers(orjson.loads(told.body)) == [1]
    narrow = await home.ask(pb.KIND_OPERATION, scopes=("system/Subscription.rs",), **events)
    assert narrow.status == 403
    blind = await home.ask(
        pb.KIND_OPERATION, client="operator", scopes=("system/Subscription.rs",), **events
    )
    assert blind.status == 403


async def test_events_are_told_from_a_number_to_a_number(home: House) -> None:
    id_ = await home.create(r4(content="empty"))
    for number in range(200):
        await home.change(Change.CREATED, patient(str(number)))
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "eventsSinceNumber", "valueInteger64": "60"},
            {"name": "eventsUpToNumber", "valueInteger64": "70"},
            {"name": "content", "valueCode": "full-resource"},
        ],
    }
    told = await home.ask(pb.KIND_OPERATION, id=id_, operation="$events", body=orjson.dumps(body))
    bundle = orjson.loads(told.body)
    assert event_numbers(bundle) == list(range(60, 71))
    assert bundle["entry"][1]["resource"]["id"] == "59"
    for name, value in (("eventsSinceNumber", "x"), ("content", "everything")):
        wrong = [pb.Parameter(name=name, value=value)]
        asked = await home.ask(pb.KIND_OPERATION, id=id_, operation="$events", parameters=wrong)
        assert asked.status == 400
