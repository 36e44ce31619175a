"""What one instance does at its bounds, at its begin and at its end."""

from __future__ import annotations

import asyncio

import pytest

from bus.envelope.seals import Opening, Seals
from bus.envelope.types import Reason, Refused
from bus.flow.priority import Priority
from bus.services.channel import Carries
from bus.services.context import current_call, detached
from bus.services.protocol import (
    BadAnswer,
    CallContext,
    CallFailed,
    Health,
    InvalidRequest,
    Method,
    NotFoundThere,
    Offer,
    Overloaded,
)
from bus.services.server import Server
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import NoResponders
from schemas.errors import (
    Closed,
    ConfigurationError,
    DeadlineExceeded,
    PermissionRefused,
    ResourceExhausted,
    SubjectError,
    Unavailable,
)
from tests.unit.bus.events.kit import LoopClock, PaperSeals
from tests.unit.bus.services.serving import (
    SITE,
    Calls,
    Paper,
    Slots,
    request,
    running,
    serving,
)


def server(offer: Offer, transport: Carries, seals: Seals, **more: object) -> Server:
    return Server(
        offer, instance="a1", site=SITE, transport=transport, seals=seals, admission=Slots(),
        clock=LoopClock(), counters=Counters(), **more,  # type: ignore[arg-type]  # one of several
    )  # fmt: skip


async def test_unknown_method_is_not_found() -> None:
    async with serving(Paper()) as ward:
        with pytest.raises(NotFoundThere, match="no_such_method"):
            await (await ward.channel()).call(request("nothing"), timeout_s=5)


async def test_body_of_another_type_is_refused_before_it_is_worked() -> None:
    calls = Calls()
    offer = Offer(
        name="beds",
        version="1.0.0",
        methods=(Method(name="echo", handler=calls.echo, request_type="application/json"),),
    )
    async with serving(Paper(), calls=calls, offer=offer) as ward:
        channel = await ward.channel()
        with pytest.raises(InvalidRequest, match="unsupported_type"):
            await channel.call(request(type="text/plain"), timeout_s=5)
        await channel.call(request(type="application/json"), timeout_s=5)
    assert len(calls.seen) == 1


async def test_id_that_names_two_requests_is_refused() -> None:
    async with serving(Paper()) as ward:
        channel = await ward.channel()
        await channel.call(request(id=bytes(16), body=b"one"), timeout_s=5)
        with pytest.raises(InvalidRequest, match="id_reused"):
            await channel.call(request(id=bytes(16), body=b"two"), timeout_s=5)
        # ids of two callers, or of two methods, are two things
        other = await ward.channel("his")
        await other.call(request(id=bytes(16), body=b"two"), timeout_s=5)
        await channel.call(request("again", id=bytes(16), body=b"two"), timeout_s=5)


async def test_failed_work_is_not_done_again_by_a_second_try() -> None:
    async with serving(Paper()) as ward:
        channel = await ward.channel()
        ward.calls.error = RuntimeError("half done")
        for attempt in (1, 2):
            with pytest.raises(CallFailed):
                await channel.call(request("fail", id=bytes(16), attempt=attempt), timeout_s=5)
        assert len(ward.calls.seen) == 1
        for attempt in (1, 2):
            sent = request("fail-again", id=bytes(16), attempt=attempt)
            with pytest.raises(CallFailed):
                await channel.call(sent, timeout_s=5)
        assert len(ward.calls.seen) == 3


async def test_shed_call_is_not_remembered() -> None:
    async with serving(Paper(), limit=1) as ward:
        channel = await ward.channel()
        held = asyncio.create_task(channel.call(request("hold"), timeout_s=15))
        await ward.calls.started(1)
        with pytest.raises(Overloaded):
            await channel.call(request(id=bytes(16)), timeout_s=5)
        ward.calls.gate.set()
        await held
        assert (await channel.call(request(id=bytes(16)), timeout_s=5)).body == b"ward 3"


async def test_burst_is_held_to_the_limit_within_one_turn() -> None:
    async with serving(Paper(), limit=10) as ward:
        channel = await ward.channel()
        tasks = [
            asyncio.create_task(channel.call(request("hold"), timeout_s=15)) for _ in range(50)
        ]
        await ward.calls.started(10)
        ward.calls.gate.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(one, Overloaded) for one in ended) == 40
        assert len(ward.calls.seen) == 10
        assert ward.server.stats().count(b'"shed":40') == 1


async def test_size_of_what_is_in_hand_is_bounded() -> None:
    async with serving(Paper(), max_in_hand_bytes=100_000) as ward:
        channel = await ward.channel()
        tasks = [
            asyncio.create_task(channel.call(request("hold", b"x" * 40_000), timeout_s=15))
            for _ in range(5)
        ]
        await ward.calls.started(2)
        ward.calls.gate.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(one, Overloaded) for one in ended) == 3


async def test_one_request_is_taken_however_large() -> None:
    async with serving(Paper(), max_in_hand_bytes=10) as ward:
        assert (await (await ward.channel()).call(request(body=b"x" * 999), timeout_s=5)).body


async def test_priority_reaches_admission_where_there_is_room() -> None:
    async with serving(Paper()) as ward:
        await (await ward.channel()).call(request(priority=Priority.BULK), timeout_s=3)
        ((priority, waited_s, left_s),) = ward.admission.asked
        assert priority is Priority.BULK
        assert waited_s >= 0
        assert 2 < left_s <= 3


async def test_answer_that_fits_into_no_message_is_told() -> None:
    calls = Calls()

    async def huge(body: bytes, call: CallContext) -> bytes:
        return b"x" * (2 << 20)

    offer = Offer(name="beds", version="1.0.0", methods=(Method(name="echo", handler=huge),))
    paper = Paper(MemoryBroker(max_payload=1 << 20))
    async with serving(paper, calls=calls, offer=offer) as ward:
        with pytest.raises(CallFailed, match="answer_too_large"):
            await (await ward.channel()).call(request(), timeout_s=5)
        assert ward.counters.get("answer_lost", reason="payload_too_large") == 1


async def test_handler_that_returns_no_bytes_is_a_failed_call() -> None:
    async def wrong(body: bytes, call: CallContext) -> bytes:
        return "text"  # type: ignore[return-value]  # no types

    offer = Offer(name="beds", version="1.0.0", methods=(Method(name="echo", handler=wrong),))
    async with serving(Paper(), offer=offer) as ward:
        with pytest.raises(CallFailed, match="internal"):
            await (await ward.channel()).call(request(), timeout_s=5)


async def test_handler_that_awaits_something_cancelled_does_not_end_the_server() -> None:
    async def cancels(body: bytes, call: CallContext) -> bytes:
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting.cancel()
        return await waiting

    offer = Offer(name="beds", version="1.0.0", methods=(Method(name="echo", handler=cancels),))
    async with serving(Paper(), offer=offer) as ward:
        channel = await ward.channel()
        for _ in range(2):
            with pytest.raises(CallFailed, match="internal"):
                await channel.call(request(), timeout_s=5)
        assert ward.admission.in_flight == 0


async def test_fault_of_the_opener_is_counted_and_survived() -> None:
    paper = Paper()
    async with serving(paper) as ward:
        channel = await ward.channel()
        opening = paper.seals["beds"].openings[0]
        honest = opening.open
        opening.open = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment]  # a bug
        with pytest.raises(DeadlineExceeded):
            await channel.call(request(), timeout_s=0.05)
        opening.open = honest  # type: ignore[method-assign]  # mended
        await channel.call(request(), timeout_s=5)
        assert ward.counters.get("request_crashed", reason="ZeroDivisionError") == 1


class Blind(PaperSeals):
    """Its lookups never end."""

    async def supply(self, refusal: Refused, sealed: bytes, opener: Opening) -> bool:
        await asyncio.Event().wait()
        return False


async def test_request_whose_key_cannot_be_had_is_refused_in_time() -> None:
    paper = Paper()
    transport, _ = await paper("beds")
    seals = Blind(paper.vault, service="beds")
    calls = Calls()
    counters = Counters()
    async with (
        running(calls.offer(), transport, seals, counters=counters, lookup_s=0.05),
        serving(paper, instance="a2") as ward,
    ):
        with pytest.raises(BadAnswer, match="key_package_missing"):
            await (await ward.channel()).call(request(), timeout_s=5, instance="a1")
        assert counters.get("request_refused", reason=Reason.KEY_PACKAGE_MISSING.value) == 1


async def test_stale_directory_is_told_and_not_worked() -> None:
    paper = Paper()
    async with serving(paper) as ward:
        channel = await ward.channel()
        paper.seals["beds"].openings[0].stale = True
        with pytest.raises(BadAnswer, match="directory_stale"):
            await channel.call(request(), timeout_s=5)


async def test_bounds_of_a_channel() -> None:
    async with serving(Paper()) as ward:
        channel = await ward.channel(max_in_flight=1, max_call_s=10.0)
        with pytest.raises(ConfigurationError, match="max_call_s"):
            await channel.call(request(), timeout_s=11)
        with pytest.raises(DeadlineExceeded):
            await channel.call(request(), timeout_s=0)
        with pytest.raises(ValueError, match="16 bytes"):
            await channel.call(request(id=b"short"), timeout_s=5)
        with pytest.raises(SubjectError):
            await channel.call(request("Not A Token"), timeout_s=5)
        held = asyncio.create_task(channel.call(request("hold"), timeout_s=9))
        await ward.calls.started(1)
        with pytest.raises(ResourceExhausted, match="max_in_flight"):
            await channel.call(request(), timeout_s=5)
        ward.calls.gate.set()
        await held
        assert channel.in_flight == 0
        await channel.stop()
        with pytest.raises(Closed):
            await channel.call(request(), timeout_s=5)


async def test_cancelled_call_is_abandoned() -> None:
    async with serving(Paper()) as ward:
        channel = await ward.channel()
        held = asyncio.create_task(channel.call(request("hold"), timeout_s=9))
        await ward.calls.started(1)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        assert channel.in_flight == 0
        ward.calls.gate.set()


async def test_cancelled_call_is_taken_back_and_its_work_ends() -> None:
    ended = asyncio.Event()

    async def wait(body: bytes, call: CallContext) -> bytes:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    begun = asyncio.Event()
    offer = Offer(name="beds", version="1.0.0", methods=(Method(name="echo", handler=wait),))
    async with serving(Paper(), offer=offer) as ward:
        channel = await ward.channel()
        held = asyncio.create_task(channel.call(request(), timeout_s=60))
        await asyncio.wait_for(begun.wait(), 5)
        held.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await held
        assert ward.counters.get("request_cancelled") == ward.counters.get("call_taken_back") == 1


async def test_detached_work_does_not_inherit_the_deadline() -> None:
    found: list[CallContext | None] = []

    async def look(body: bytes, call: CallContext) -> bytes:
        found.append(current_call())
        with detached():
            found.append(current_call())
        found.append(current_call())
        return b""

    offer = Offer(name="beds", version="1.0.0", methods=(Method(name="echo", handler=look),))
    async with serving(Paper(), offer=offer) as ward:
        await (await ward.channel()).call(request(), timeout_s=5)
    assert found[0] is found[2] is not None
    assert found[1] is None
    assert current_call() is None


async def test_health_is_told_as_it_changes() -> None:
    paper, told = Paper(), list[Health]()
    transport, seals = await paper("beds")
    one = server(Calls().offer(), transport, seals, changed=told.append)
    with pytest.raises(Closed):
        one.load()
    await one.start()
    assert one.instance.started_ms > 0
    with pytest.raises(Closed):
        await one.start()
    await one.drain(timeout_s=1)
    await one.stop()
    await one.stop()
    assert told == [Health.HEALTHY, Health.DRAINING, Health.GONE]


async def test_start_that_fails_leaves_nothing_behind() -> None:
    paper = Paper()
    transport = await paper.broker.connect(deny_subscribe=("svc.north.beds.v1.rpc.*",))
    one = server(Calls().offer(), transport, PaperSeals(paper.vault, service="beds"))
    with pytest.raises(PermissionRefused):
        await one.start()
    probe = await paper.broker.connect()
    with pytest.raises(NoResponders):
        await probe.messenger.request("$SRV.PING", b"", timeout_s=1)


@pytest.mark.parametrize(
    "offer",
    [
        Offer(name="beds", version="1.0.0", methods=()),
        Offer(name="beds", version="1", methods=Calls().offer().methods),
        Offer(name="beds", version="1.0.0", methods=Calls().offer().methods * 2),
    ],
)
async def test_offer_that_cannot_be_served_is_told_at_once(offer: Offer) -> None:
    transport, seals = await Paper()("beds")
    with pytest.raises(ConfigurationError):
        server(offer, transport, seals)


async def test_key_store_that_is_away_is_told_to_the_caller() -> None:
    paper = Paper()
    async with serving(paper) as ward:
        channel = await ward.channel()
        paper.vault.failure = Unavailable("no buckets")
        with pytest.raises(Unavailable):
            await channel.call(request(), timeout_s=5)
