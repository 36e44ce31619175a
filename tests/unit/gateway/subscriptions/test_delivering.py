"""Deliveries to an endpoint: what is told, what is kept before, what becomes of failures; the lease; WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from adapters.fhir.store.events import Change
from bus.transport.memory import MemoryBroker
from gateway.subscriptions.delivering import Deliverer, Runner
from gateway.subscriptions.endpoints import EndpointRefused
from gateway.subscriptions.hook import HookFailed
from gateway.subscriptions.lease import Lease
from gateway.subscriptions.model import Wish
from gateway.subscriptions.sealing import BadSeal, Safe
from gateway.subscriptions.sockets import Sockets
from schemas.errors import MeshError, Unavailable
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb
from tests.peers.subscriber import event_numbers, status
from tests.unit.adapters.parts import SITE, SITE_KEY
from tests.unit.gateway.subscriptions.parts import House, client_section, house, patient, r4


class ScriptedHook:
    """An endpoint that keeps what it gets and fails as it is told."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.failure: MeshError | None = None
        self.tried = 0
        self.changed = asyncio.Condition()

    async def post(self, wish: Wish, body: bytes) -> None:
        async with self.changed:
            self.tried += 1
            self.changed.notify_all()
            if self.failure is not None:
                raise self.failure
            self.got.append(orjson.loads(body))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(condition)

    @property
    def kinds(self) -> list[str]:
        return [status(one)["type"] for one in self.got]

    @property
    def numbers(self) -> list[int]:
        return [number for one in self.got for number in event_numbers(one)]


@asynccontextmanager
async def running(home: House, hook: ScriptedHook) -> AsyncIterator[None]:
    task = asyncio.create_task(Deliverer(home.desk, hook).run())  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(home: House, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await home.book.changed.wait()


def state(home: House, id_: str) -> str:
    record = home.book.record(id_)
    return record.status if record is not None else ""


async def quick(broker: MemoryBroker, **more: Any) -> House:
    return await house(broker, longest_delay_s=0.1, error_after=2, **more)


async def test_the_handshake_comes_first_and_makes_it_active(memory_broker: MemoryBroker) -> None:
    home, hook = await quick(memory_broker), ScriptedHook()
    id_ = await home.create(r4())
    await home.change(Change.CREATED, patient("1"))
    async with running(home, hook):
        await hook.until(lambda: hook.numbers == [1])
    assert hook.kinds == ["handshake", "event-notification"]
    assert state(home, id_) == "active"


@pytest.mark.parametrize(
    "failure",
    [HookFailed("the endpoint answered 404"), Unavailable("away"), EndpointRefused("no more")],
)
async def test_one_who_cannot_be_told_is_in_error_and_hears_everything_later(
    memory_broker: MemoryBroker, failure: MeshError
) -> None:
    home, hook = await quick(memory_broker), ScriptedHook()
    id_ = await home.create(r4())
    async with running(home, hook):
        await until(home, lambda: state(home, id_) == "active")
        hook.failure = failure
        for number in range(40):
            await home.change(Change.CREATED, patient(str(number)))
        await until(home, lambda: state(home, id_) == "error")
        told = await home.ask(pb.KIND_OPERATION, id=id_, operation="$status")
        entry = orjson.loads(told.body)["entry"][0]
        found = status({"entry": [entry]})
        assert (found["status"], found["events-since-subscription-start"]) == ("error", "40")
        assert failure.code in str(found["error"])
        home.clock.advance(3600)
        hook.failure = None
        await hook.until(lambda: 40 in hook.numbers)
        await until(home, lambda: state(home, id_) == "active")
    assert hook.numbers == list(range(1, 41))


async def test_rights_that_are_withdrawn_end_it_in_error(memory_broker: MemoryBroker) -> None:
    first = await quick(memory_broker)
    id_ = await first.create(r4())
    await first.change(Change.CREATED, patient("1"))
    now = (client_section("portal", "system/Observation.rs"),)
    home, hook = await quick(memory_broker, clients=now), ScriptedHook()
    async with running(home, hook):
        await until(home, lambda: state(home, id_) == "error")
    assert hook.tried == 0
    asked = await home.ask(pb.KIND_OPERATION, id=id_, operation="$events")
    assert asked.status == 403


async def test_what_cannot_be_recorded_is_not_told(memory_broker: MemoryBroker) -> None:
    home, hook = await quick(memory_broker), ScriptedHook()
    id_ = await home.create(r4())
    async with running(home, hook):
        await until(home, lambda: state(home, id_) == "active")
        home.access.failure = Unavailable("no records")
        await home.change(Change.CREATED, patient("1"))
        await until(home, lambda: state(home, id_) == "error")
        assert hook.numbers == []
        home.access.failure = None
        await hook.until(lambda: hook.numbers == [1])
    (record,) = home.access.records
    assert (record.what, record.details["events"]) == ("Patient/1", "1-1")
    assert record.client.name == "portal"


async def test_it_is_off_when_its_end_has_come(memory_broker: MemoryBroker) -> None:
    home, hook = await quick(memory_broker), ScriptedHook()
    id_ = await home.create(r4() | {"end": "2020-01-01T00:00:00Z"})
    async with running(home, hook):
        await until(home, lambda: state(home, id_) == "off")
    assert hook.tried == 0


async def test_full_content_is_read_with_the_rights_of_the_client(
    memory_broker: MemoryBroker,
) -> None:
    home, hook = await quick(memory_broker), ScriptedHook()
    await home.create(r4(content="full-resource"))
    await home.change(Change.CREATED, patient("1"))
    async with running(home, hook):
        await hook.until(lambda: hook.numbers == [1])
    assert hook.got[-1]["entry"][1]["resource"] == patient("1")
    asked = home.asked[-1]
    assert (asked.kind, asked.version) == (pb.KIND_VREAD, "1")
    assert asked.requester.client == "portal"
    assert list(asked.requester.scopes) == ["system/Patient.rs", "system/Subscription.cruds"]


async def test_what_is_no_longer_kept_is_skipped_and_counted(memory_broker: MemoryBroker) -> None:
    home, hook = await quick(memory_broker, keep_events=128), ScriptedHook()
    id_ = await home.create(r4())
    for number in range(400):
        await home.change(Change.CREATED, patient(str(number)))
    async with running(home, hook):
        await hook.until(lambda: 400 in hook.numbers)
    assert hook.numbers == list(range(hook.numbers[0], 401))
    assert hook.numbers[0] > 1
    assert state(home, id_) == "active"


async def test_a_runner_ends_with_its_subscription(memory_broker: MemoryBroker) -> None:
    home = await quick(memory_broker)
    id_ = await home.create(r4())
    await home.ask(pb.KIND_DELETE, id=id_)
    async with asyncio.timeout(5):
        await Runner(home.desk, ScriptedHook(), id_).run()  # type: ignore[arg-type]


async def test_one_gateway_at_a_time_holds_the_lease_and_gives_it_back(
    memory_broker: MemoryBroker,
) -> None:
    homes = [await house(memory_broker), await house(memory_broker)]
    holders: list[int] = []
    changed = asyncio.Condition()

    async def hold(number: int) -> None:
        async with changed:
            holders.append(number)
            changed.notify_all()
        try:
            await asyncio.Event().wait()
        finally:
            holders.remove(number)

    tasks = [
        asyncio.create_task(Lease(home.runtime, lease_s=1.0).run(lambda n=n: hold(n)))  # type: ignore[misc]
        for n, home in enumerate(homes)
    ]
    try:
        async with asyncio.timeout(10), changed:
            await changed.wait_for(lambda: len(holders) == 1)
            first = holders[0]
            tasks[first].cancel()
            await changed.wait_for(lambda: holders == [1 - first])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def test_a_seal_holds_for_its_place_and_its_site_alone() -> None:
    safe = Safe(SITE, SITE_KEY)
    sealed = safe.seal("s.1", Wish(topic="urn:example:t", channel="rest-hook"))
    assert safe.open("s.1", sealed, Wish).topic == "urn:example:t"
    for other, place, raw in (
        (safe, "s.2", sealed),
        (Safe(SITE, b"another key of another site 12345"), "s.1", sealed),
        (safe, "s.1", sealed[:-4] + b"AAAA"),
        (safe, "s.1", b"nonsense"),
    ):
        with pytest.raises(BadSeal):
            other.open(place, raw, Wish)


async def socket(home: House, first: dict[str, Any], *, until_sent: int) -> list[dict[str, Any]]:
    """What a connection is sent, until so many messages are there; then the peer goes."""
    sent: list[dict[str, Any]] = []
    enough = asyncio.Event()
    incoming = [{"type": "websocket.connect"}, first]

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        await enough.wait()
        return {"type": "websocket.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > until_sent:
            enough.set()

    async with asyncio.timeout(10):
        await Sockets(home.desk, home.tokens)({"type": "websocket"}, receive, send)
    return sent


async def test_a_socket_goes_on_where_the_last_one_ended(memory_broker: MemoryBroker) -> None:
    home = await quick(memory_broker)
    id_ = await home.create(r4(type="websocket", endpoint=""))
    for number in range(3):
        await home.change(Change.CREATED, patient(str(number)))
    token, _ = home.tokens.issue("portal", [id_])
    bind = {"type": "websocket.receive", "text": f"bind-with-token {token}"}
    sent = await socket(home, bind, until_sent=2)
    told = [orjson.loads(one["text"]) for one in sent if one["type"] == "websocket.send"]
    assert [status(one)["type"] for one in told] == ["handshake", "event-notification"]
    assert event_numbers(told[1]) == [1, 2, 3]
    await home.change(Change.UPDATED, patient("1", 2))
    sent = await socket(home, bind, until_sent=2)
    assert event_numbers(orjson.loads(sent[2]["text"])) == [4]
    assert [one.details["channel"] for one in home.access.records] == ["websocket", "websocket"]


@pytest.mark.parametrize("text", ["bind-with-token forged", "hello", "", None])
async def test_a_socket_without_a_token_is_closed(
    memory_broker: MemoryBroker, text: str | None
) -> None:
    home = await quick(memory_broker)
    sent = await socket(home, {"type": "websocket.receive", "text": text}, until_sent=9)
    assert [(one["type"], one.get("code")) for one in sent] == [
        ("websocket.accept", None),
        ("websocket.close", 1008),
    ]


async def test_a_token_ends(memory_broker: MemoryBroker) -> None:
    home = await quick(memory_broker)
    token, _ = home.tokens.issue("portal", ["1"])
    home.clock.advance(61)
    bind = {"type": "websocket.receive", "text": f"bind-with-token {token}"}
    sent = await socket(home, bind, until_sent=9)
    assert sent[-1]["code"] == 1008
