"""Which change concerns which subscription, and the number it gets: once, whoever counts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.fhir.store.events import Change
from bus.events.protocol import Rejected
from bus.transport.memory import MemoryBroker
from gateway.subscriptions.model import Happening
from schemas.errors import ConfigurationError, Unavailable
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.unit.gateway.subscriptions.parts import House, client_section, house, patient, r4, r5

ENDED = {
    "resourceType": "SubscriptionTopic",
    "url": "urn:example:topic:discharged",
    "status": "active",
    "resourceTrigger": [
        {
            "resource": "http://hl7.org/fhir/StructureDefinition/Encounter",
            "supportedInteraction": ["create", "update"],
            "queryCriteria": {
                "previous": "status:not=finished",
                "resultForCreate": "test-passes",
                "current": "status=finished",
                "requireBoth": True,
            },
        }
    ],
    "canFilterBy": [{"resource": "Encounter", "filterParameter": "subject"}],
}


async def queued(home: House, id_: str) -> list[tuple[int, str, str]]:
    events = await home.book.events(id_, 1, 1000)
    return [(one.number, one.focus, one.change) for one in events]


async def test_changes_are_numbered_without_gaps(memory_broker: MemoryBroker) -> None:
    home = await house(memory_broker)
    id_ = await home.create(r4())
    await home.change(Change.CREATED, patient("1"))
    await home.change(Change.UPDATED, patient("1", 2))
    await home.change(Change.DELETED, patient("1", 3))
    assert await queued(home, id_) == [
        (1, "Patient/1", "created"),
        (2, "Patient/1", "updated"),
        (3, "Patient/1", "deleted"),
    ]


async def test_an_event_that_comes_again_keeps_its_number(memory_broker: MemoryBroker) -> None:
    first, second = await house(memory_broker), await house(memory_broker)
    id_ = await first.create(r4())
    event = first.event(Change.CREATED, patient("1"))
    await first.matcher.handle(event)
    await second.matcher.handle(event)
    await first.matcher.handle(event)
    assert await queued(second, id_) == [(1, "Patient/1", "created")]


async def test_two_gateways_that_count_at_a_time_give_each_number_once(
    memory_broker: MemoryBroker,
) -> None:
    homes = [await house(memory_broker), await house(memory_broker)]
    id_ = await homes[0].create(r4())
    events = [homes[0].event(Change.CREATED, patient(str(n))) for n in range(100)]
    lanes: dict[int, list[Any]] = {}
    for event in events:
        lanes.setdefault(event.partition, []).append(event)

    async def lane(home: House, own: list[Any]) -> None:
        for event in own:
            await home.matcher.handle(event)

    await asyncio.gather(*(lane(homes[key % 2], own) for key, own in lanes.items()))
    found = await queued(homes[1], id_)
    assert [number for number, _, _ in found] == list(range(1, 101))
    assert len({focus for _, focus, _ in found}) == 100


async def test_one_who_lost_the_partition_writes_nothing(memory_broker: MemoryBroker) -> None:
    home = await house(memory_broker)
    id_ = await home.create(r4())
    event = Happening(0, 0, "Patient", "1", "1", "created")
    assert await home.book.append(id_, event, partition=3, seq=10, fence=5) == 1
    with pytest.raises(Unavailable):
        await home.book.append(id_, event, partition=3, seq=11, fence=4)


async def test_filters_look_at_the_resource_and_for_deletions_at_its_last_version(
    memory_broker: MemoryBroker,
) -> None:
    home = await house(memory_broker)
    id_ = await home.create(r4(query="Patient?gender=female&birthdate=lt1990"))
    await home.change(Change.CREATED, patient("1", gender="female", birthDate="1980-01-01"))
    await home.change(Change.CREATED, patient("2", gender="male", birthDate="1980-01-01"))
    await home.change(Change.CREATED, patient("3", gender="female", birthDate="2001-01-01"))
    await home.change(Change.DELETED, patient("1", 2))
    await home.change(Change.DELETED, patient("2", 2))
    assert [focus for _, focus, _ in await queued(home, id_)] == ["Patient/1", "Patient/1"]


async def test_a_topic_of_a_file_compares_two_versions(
    memory_broker: MemoryBroker, tmp_path: Path
) -> None:
    (tmp_path / "discharged.json").write_text(json.dumps(ENDED))
    home = await house(memory_broker, topics=tmp_path)
    scopes = ("system/Encounter.rs",)
    refused = await home.ask(
        pb.KIND_CREATE, body=json.dumps(r4() | {"criteria": ENDED["url"]}).encode(), scopes=scopes
    )
    assert refused.status == 403  # the client may read patients alone
    own = (client_section("portal", *scopes),)
    home = await house(memory_broker, topics=tmp_path, clients=own)
    id_ = await home.create(r4() | {"criteria": ENDED["url"]}, scopes=scopes)

    def encounter(id_: str, version: int, status: str) -> dict[str, Any]:
        meta = {"versionId": str(version)}
        return {"resourceType": "Encounter", "id": id_, "meta": meta, "status": status}

    await home.change(Change.CREATED, encounter("1", 1, "in-progress"))
    await home.change(Change.UPDATED, encounter("1", 2, "finished"))
    await home.change(Change.UPDATED, encounter("1", 3, "finished"))
    await home.change(Change.CREATED, encounter("2", 1, "finished"))
    assert [number for number, _, _ in await queued(home, id_)] == [1, 2]
    bad = r4(query="Encounter?status=finished") | {"criteria": ENDED["url"]}
    outcome = await home.ask(pb.KIND_CREATE, body=json.dumps(bad).encode(), scopes=scopes)
    assert outcome.status == 422  # canFilterBy offers subject alone


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"resourceType":"SubscriptionTopic","url":"urn:x","resourceTrigger":[]}',
     '{"resourceType":"SubscriptionTopic","url":"urn:x","resourceTrigger":[{"resource":"Patient","fhirPathCriteria":"true"}]}',
     '{"resourceType":"SubscriptionTopic","url":"urn:x","resourceTrigger":[{"resource":"Patient","queryCriteria":{"current":"nonsense=1"}}]}'],
)  # fmt: skip
async def test_a_topic_that_cannot_be_used_stops_the_start(
    memory_broker: MemoryBroker, tmp_path: Path, text: str
) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"gateway\.subscriptions\.topics"):
        await house(memory_broker, topics=tmp_path)


async def test_releases_do_not_mix(memory_broker: MemoryBroker) -> None:
    home = await house(memory_broker)
    id_ = await home.create(r5(), release="R5")
    await home.change(Change.CREATED, patient("1"))
    assert await queued(home, id_) == []
    home.release = "R5"
    await home.change(Change.CREATED, patient("2"))
    assert len(await queued(home, id_)) == 1


async def test_what_is_no_change_of_a_resource_is_a_dead_letter(
    memory_broker: MemoryBroker,
) -> None:
    home = await house(memory_broker)
    for body in (b"{", b"[]", b'{"resourceType":"Observation","id":"1"}'):
        event = replace(home.event(Change.CREATED, patient("1")), body=body)
        with pytest.raises(Rejected):
            await home.matcher.handle(event)


async def test_a_long_queue_is_read_in_pages_and_the_oldest_go(memory_broker: MemoryBroker) -> None:
    home = await house(memory_broker, keep_events=128)
    id_ = await home.create(r4())
    event = Happening(0, 0, "Patient", "1", "1", "created")
    for seq in range(1, 401):
        await home.book.append(id_, event, partition=0, seq=seq, fence=1)
    numbers = [one.number for one in await home.book.events(id_, 1, 400)]
    assert numbers == list(range(numbers[0], 401))
    assert 200 <= numbers[0] <= 273
    assert [one.number for one in await home.book.events(id_, 300, 302)] == [300, 301, 302]
    await home.book.delete(id_)
    assert await home.book.events(id_, 1, 400) == []


async def test_rights_that_are_withdrawn_stop_the_queue(memory_broker: MemoryBroker) -> None:
    home = await house(memory_broker)
    id_ = await home.create(r4())
    later = await house(memory_broker, clients=(client_section("portal", "system/Observation.rs"),))
    await later.change(Change.CREATED, patient("1"))
    assert await queued(later, id_) == []
