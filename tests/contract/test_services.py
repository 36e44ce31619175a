"""The promises of `Channel` and `Server`, on every carrier."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from bus.envelope.seals import Seals
from bus.services.channel import Carries
from bus.services.protocol import (
    CallContext,
    CallFailed,
    CallRefused,
    Health,
    InvalidRequest,
    Method,
    NotFoundThere,
    Offer,
    Overloaded,
    Priority,
)
from bus.transport.protocol import NoResponders
from schemas import subjects
from schemas.errors import DeadlineExceeded, Unavailable
from tests.contract.carriers import Carrier
from tests.unit.bus.events.kit import PaperSeals, Vault
from tests.unit.bus.services.serving import SITE, Calls, Ward, request, running, serving

SECRET = "Mrs Example, MRN 4711"


class OnCarrier:
    """Seals on paper over the carrier under test."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.vault = Vault()

    async def __call__(self, name: str) -> tuple[Carries, Seals]:
        return await self.carrier.connect(), PaperSeals(self.vault, service=name)


@pytest.fixture
def connect(carrier: Carrier) -> OnCarrier:
    return OnCarrier(carrier)


@pytest.fixture
async def ward(connect: OnCarrier) -> AsyncIterator[Ward]:
    async with serving(connect) as ward:
        yield ward


async def test_call_reaches_the_queue_group_and_a_chosen_instance(ward: Ward) -> None:
    channel = await ward.channel()
    anyone = await channel.call(request(), timeout_s=5)
    chosen = await channel.call(request(body=b"ward 4"), timeout_s=5, instance="a1")
    assert (anyone.body, chosen.body) == (b"ward 3", b"ward 4")
    assert anyone.instance == chosen.instance == "a1"
    assert chosen.load.limit == ward.admission.limit


async def test_handler_knows_caller_id_attempt_priority_and_time_left(ward: Ward) -> None:
    channel = await ward.channel("emr")
    sent = request(
        id=bytes(range(16)), attempt=2, priority=Priority.STAT, traceparent="00-ab-cd-01"
    )
    await channel.call(sent, timeout_s=5)
    (seen,) = ward.calls.seen
    assert (seen.caller, seen.method, seen.id, seen.attempt) == ("emr", "echo", sent.id, 2)
    assert (seen.priority, seen.traceparent) == (Priority.STAT, "00-ab-cd-01")
    assert 0 < seen.left_s() <= 5
    assert ward.admission.asked[0][0] is Priority.STAT


async def test_a_hundred_calls_are_in_work_at_once(ward: Ward) -> None:
    channel = await ward.channel()
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(
                channel.call(request("hold", str(n).encode()), timeout_s=15, instance="a1")
            )
            for n in range(100)
        ]
        await ward.calls.started(100)
        assert ward.admission.in_flight == ward.server.load().in_flight == 100
        ward.calls.gate.set()
    assert sorted(int(task.result().body) for task in waiting) == list(range(100))
    assert ward.admission.in_flight == 0


async def test_nobody_there_is_told_at_once(ward: Ward) -> None:
    channel = await ward.channel()
    with pytest.raises(NoResponders):
        await channel.call(request(), timeout_s=5, instance="gone")
    with pytest.raises(NoResponders):
        await channel.call(request(major=2), timeout_s=5)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InvalidRequest("bad_ward", "ward: missing"), InvalidRequest),
        (CallRefused("not_your_ward", ""), CallRefused),
        (NotFoundThere("no_such_bed", "7"), NotFoundThere),
        (CallFailed("robot_stuck", "in the lift"), CallFailed),
    ],
)
async def test_errors_of_the_service_arrive_as_they_are(
    ward: Ward, error: CallFailed, told: type[CallFailed]
) -> None:
    ward.calls.error = error
    channel = await ward.channel()
    with pytest.raises(told) as caught:
        await channel.call(request("fail"), timeout_s=5)
    assert type(caught.value) is told
    assert (caught.value.reason, str(caught.value)) == (error.reason, str(error))


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), KeyError(SECRET), ValueError(SECRET), TimeoutError(SECRET)]
)
async def test_other_errors_leak_nothing(
    ward: Ward, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    ward.calls.error = error
    channel = await ward.channel()
    with pytest.raises(CallFailed) as caught:
        await channel.call(request("fail"), timeout_s=5)
    assert str(caught.value) == caught.value.reason == "internal"
    told = (
        ward.server.stats().decode() + repr(ward.counters.snapshot()) + "".join(capsys.readouterr())
    )
    assert "Example" not in told
    assert "4711" not in told


async def test_overload_is_told_with_a_pause_and_nothing_is_done(connect: OnCarrier) -> None:
    async with serving(connect, limit=1) as ward, asyncio.TaskGroup() as group:
        channel = await ward.channel()
        group.create_task(channel.call(request("hold"), timeout_s=15))
        await ward.calls.started(1)
        with pytest.raises(Overloaded) as caught:
            await channel.call(request(), timeout_s=5)
        assert caught.value.retry_after_s > 0
        assert len(ward.calls.seen) == 1
        assert ward.counters.get("request_shed", reason="unopened") == 1
        ward.calls.gate.set()


async def test_work_past_its_deadline_is_cancelled(ward: Ward) -> None:
    channel = await ward.channel()
    with pytest.raises(DeadlineExceeded):
        await channel.call(request("hold"), timeout_s=0.5)
    async with asyncio.timeout(10):
        while not ward.calls.cancelled:
            await channel.call(request("again"), timeout_s=5)
    assert ward.admission.in_flight == 0
    assert ward.admission.ended.count(False) == 1


async def test_two_instances_share_the_queue_group(connect: OnCarrier) -> None:
    async with serving(connect, instance="a1") as one, serving(connect, instance="a2") as two:
        channel = await one.channel()
        answers = await asyncio.gather(
            *(channel.call(request("again", str(n).encode()), timeout_s=5) for n in range(60))
        )
        assert len(one.calls.seen) + len(two.calls.seen) == 60
        assert {answer.instance for answer in answers} == {"a1", "a2"}


async def test_drain_under_load_loses_nothing(connect: OnCarrier) -> None:
    """Callers keep the queue group busy while one of two instances leaves, and each call is answered."""
    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(serving(connect, instance="a1"))
        staying = await stack.enter_async_context(serving(connect, instance="a2"))
        channel = await leaving.channel()
        enough = asyncio.Event()
        answered: list[bytes] = []

        async def caller(number: int) -> None:
            turn = 0
            while not enough.is_set():
                turn += 1
                body = f"{number}.{turn}".encode()
                response = await channel.call(request("echo", body), timeout_s=15)
                assert response.body == body
                answered.append(body)

        async with asyncio.TaskGroup() as group:
            for number in range(16):
                group.create_task(caller(number))
            held = group.create_task(channel.call(request("hold"), timeout_s=15, instance="a1"))
            await leaving.calls.started(1)
            draining = group.create_task(leaving.server.drain(timeout_s=10))
            async with asyncio.timeout(10):
                while not staying.calls.seen or leaving.server.health is not Health.DRAINING:
                    await channel.call(request("again"), timeout_s=5)
            assert not draining.done()
            leaving.calls.gate.set()
            report = await draining
            enough.set()
        assert report.left == 0
        assert held.result().instance == "a1"
        seen = (*leaving.calls.seen, *staying.calls.seen)
        worked = sum(call.method == "echo" for call in seen)
        assert worked == len(answered) == len(set(answered))
        with pytest.raises(NoResponders):
            await channel.call(request(), timeout_s=5, instance="a1")
        assert (await channel.call(request(), timeout_s=5)).instance == "a2"


async def test_stop_tells_the_callers_whose_work_it_cut_short(connect: OnCarrier) -> None:
    async with serving(connect) as ward:
        channel = await ward.channel()
        once = asyncio.create_task(channel.call(request("hold"), timeout_s=15))
        twice = asyncio.create_task(channel.call(request("hold-again"), timeout_s=15))
        await ward.calls.started(2)
        report = await ward.server.drain(timeout_s=0.05)
        assert report.left == 2
        await ward.server.stop()
        with pytest.raises(CallFailed, match="stopped"):
            await once
        with pytest.raises(Unavailable):
            await twice
        assert ward.counters.get("call_cut_short") == 2


async def test_second_try_of_a_call_gets_the_answer_of_the_first(ward: Ward) -> None:
    channel = await ward.channel()
    call_id = bytes(16)
    async with asyncio.TaskGroup() as group:
        tries = [
            group.create_task(channel.call(request("hold", id=call_id, attempt=n), timeout_s=15))
            for n in (1, 2, 3)
        ]
        await ward.calls.started(1)
        async with asyncio.timeout(10):
            while ward.counters.get("request_repeated") < 2:
                await channel.call(request("again"), timeout_s=5)
        ward.calls.gate.set()
    late = await channel.call(request("hold", id=call_id, attempt=4), timeout_s=5)
    assert {task.result().body for task in tries} | {late.body} == {b"ward 3"}
    assert sum(call.method == "hold" for call in ward.calls.seen) == 1


async def test_calls_in_turn_get_no_more_time_than_is_left(connect: OnCarrier) -> None:
    """A handler calls on: the second service sees the first caller's deadline and trace."""
    async with serving(connect) as ward:
        onward = await ward.channel("front")

        async def call_on(body: bytes, call: CallContext) -> bytes:
            return (await onward.call(request("again", body), timeout_s=60)).body

        front = Offer(
            name="front", version="1.0.0", methods=(Method(name="echo", handler=call_on),)
        )
        transport, seals = await connect("front")
        async with running(front, transport, seals):
            first = await ward.channel("emr")
            sent = replace(request(traceparent="00-ab-cd-01"), service="front")
            await first.call(sent, timeout_s=3)
    (seen,) = ward.calls.seen
    assert seen.caller == "front"
    assert seen.left_s() <= 3
    assert seen.traceparent == "00-ab-cd-01"


async def test_stock_clients_are_refused_unless_the_offer_takes_them(
    connect: OnCarrier,
) -> None:
    subject = subjects.call(SITE, "beds", 1, "echo")
    async with serving(connect) as ward:
        transport, _ = await connect("stock")
        answer = await transport.messenger.request(subject, b"plain", timeout_s=5)
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] == "401"
        assert not ward.calls.seen
    async with serving(connect, offer=Calls().offer(takes_plain=True)) as ward:
        answer = await transport.messenger.request(subject, b"plain", timeout_s=5)
        assert (answer.payload, answer.headers) == (b"plain", None)
        own = subjects.instance_call(SITE, "beds", 1, "a1", "echo")
        direct = await transport.messenger.request(own, b"plain", timeout_s=5)
        assert (direct.headers or {})["Nats-Service-Error-Code"] == "401"
        lost = await transport.messenger.request(
            subjects.call(SITE, "beds", 1, "nothing"), b"", timeout_s=5
        )
        assert (lost.headers or {})["Nats-Service-Error-Code"] == "404"
        sealed = await (await ward.channel()).call(request(), timeout_s=5)
        assert sealed.body == b"ward 3"


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
@pytest.mark.parametrize("rest", ["", ".beds", ".beds.a1"])
async def test_discovery_questions_are_answered(
    ward: Ward, connect: OnCarrier, verb: str, rest: str
) -> None:
    transport, _ = await connect("tool")
    answer = await transport.messenger.request(f"$SRV.{verb}{rest}", b"", timeout_s=5)
    told = json.loads(answer.payload)
    assert told["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
    assert (told["name"], told["id"], told["version"]) == ("beds", "a1", "1.2.0")


async def test_other_services_questions_are_left_to_them(ward: Ward, connect: OnCarrier) -> None:
    transport, _ = await connect("tool")
    with pytest.raises(NoResponders):
        await transport.messenger.request("$SRV.PING.labs", b"", timeout_s=5)
