"""`Mesh` in memory: everything is sealed and signed as in a hospital; only the carrier is in this process."""

from __future__ import annotations

import asyncio

import pytest

from medmesh import Closed, ConfigurationError, Mesh, MeshEvent
from schemas.errors import SubjectError

JSON = "application/json"


async def take(mesh: Mesh, count: int) -> list[MeshEvent]:
    """The next events, all accepted."""
    taken = []
    subscription = mesh.subscribe("evt.test.>", durable="reader")
    async with asyncio.timeout(20):
        async for event in subscription:
            taken.append(event)
            if len(taken) == count:
                event.accept()
                break
    await subscription.close()
    return taken


async def test_what_is_published_comes_back_as_it_was_and_in_order() -> None:
    async with Mesh.in_memory() as mesh:
        for n in range(20):
            await mesh.publish("patient.admitted", b"%d" % n, key=b"patient 4711", type=JSON)
        events = await take(mesh, 20)
    assert [event.body for event in events] == [b"%d" % n for n in range(20)]
    assert {(event.type, event.source, event.attempt) for event in events} == {(JSON, "test", 1)}
    assert len({event.subject for event in events}) == 1, "one patient, one partition"


async def test_the_key_is_not_in_the_subject() -> None:
    async with Mesh.in_memory() as mesh:
        await mesh.publish("patient.admitted", b"x", key=b"4711", type=JSON)
        (event,) = await take(mesh, 1)
    assert "4711" not in event.subject
    assert event.body == b"x"
    assert "x" not in repr(event).split(", ")[-1]


async def test_the_same_message_id_is_stored_once() -> None:
    async with Mesh.in_memory() as mesh:
        first = await mesh.publish("order.placed", b"x", type=JSON, message_id=b"i" * 16)
        again = await mesh.publish("order.placed", b"x", type=JSON, message_id=b"i" * 16)
    assert (first.duplicate, again.duplicate) == (False, True)


async def test_an_event_that_is_tried_again_comes_again() -> None:
    attempts = []
    async with Mesh.in_memory() as mesh, asyncio.timeout(20):
        await mesh.publish("order.placed", b"x", type=JSON)
        async for event in mesh.subscribe("evt.test.order.>", durable="reader"):
            attempts.append(event.attempt)
            if len(attempts) == 2:
                event.accept()
                break
            event.retry("not yet")
    assert attempts == [1, 2]


async def test_a_rejected_event_steps_aside_and_the_next_one_comes() -> None:
    bodies = []
    async with Mesh.in_memory() as mesh, asyncio.timeout(20):
        for body in (b"bad", b"good"):
            await mesh.publish("order.placed", body, key=b"k", type=JSON)
        async for event in mesh.subscribe("evt.test.order.>", durable="reader"):
            bodies.append(event.body)
            if event.body == b"good":
                event.accept()
                break
            event.reject("cannot be right")
    assert bodies == [b"bad", b"good"]


async def test_an_event_in_hand_when_the_loop_is_left_comes_again() -> None:
    async with Mesh.in_memory() as mesh, asyncio.timeout(20):
        for n in range(3):
            await mesh.publish("order.placed", b"%d" % n, key=b"k", type=JSON)
        subscription = mesh.subscribe("evt.test.order.>", durable="reader")
        seen = []
        async for event in subscription:
            seen.append(event.body)
            if event.body == b"1":
                break
        await subscription.close()
        again = mesh.subscribe("evt.test.order.>", durable="reader")
        async for event in again:
            seen.append(event.body)
            if event.body == b"2":
                event.accept()
                break
    assert seen == [b"0", b"1", b"1", b"2"]


async def test_an_error_in_the_loop_leaves_the_event_unacknowledged_and_passes_through() -> None:
    async def program() -> None:
        async with Mesh.in_memory() as mesh, asyncio.timeout(20):
            await mesh.publish("order.placed", b"x", type=JSON)
            async for _ in mesh.subscribe("evt.test.order.>", durable="reader"):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await program()


async def test_a_loop_ends_when_the_subscription_is_closed() -> None:
    async with Mesh.in_memory() as mesh, asyncio.timeout(20):
        subscription = mesh.subscribe("evt.test.order.>", durable="reader")
        await subscription.start()

        async def read() -> int:
            return len([event async for event in subscription])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        await subscription.close()
        assert await reading == 0


@pytest.mark.parametrize(
    "event", ["admitted", "patient", "patient.a.b", "animal.admitted", "patient.A"]
)
async def test_an_event_is_named_by_domain_and_name(event: str) -> None:
    async with Mesh.in_memory() as mesh:
        with pytest.raises(SubjectError):
            await mesh.publish(event, b"", type=JSON)


@pytest.mark.parametrize("pattern", ["evt.other.>", "evt.>", ">", "ctl.test.>"])
async def test_a_subscription_stays_within_the_site(pattern: str) -> None:
    async with Mesh.in_memory() as mesh:
        with pytest.raises(SubjectError, match="must begin with"):
            mesh.subscribe(pattern, durable="reader")


async def test_a_mesh_that_is_not_open_says_so() -> None:
    mesh = Mesh.in_memory()
    with pytest.raises(Closed, match="async with"):
        await mesh.publish("order.placed", b"", type=JSON)
    async with mesh:
        pass


def test_a_program_cannot_take_the_name_of_an_adapter(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "mesh.toml"
    path.write_text(
        '[[adapter]]\nname = "in"\nkind = "hl7v2.mllp-server"\nlisten = "127.0.0.1:0"\n'
    )
    with pytest.raises(ConfigurationError, match="name of an adapter"):
        Mesh.connect(path, service="in")


async def test_scheduled_event_comes_when_it_is_due_and_again() -> None:
    async with Mesh.in_memory() as mesh, asyncio.timeout(30):
        reader = mesh.subscribe("evt.test.schedule.>", durable="reader", new_only=True)
        await reader.start()
        due_ms = await mesh.schedule(
            "rounds", "schedule.round", b"ward 3", type="text/plain", every_s=1.0
        )
        async for event in reader:
            assert event.body == b"ward 3"
            assert (event.source, event.on_behalf_of) == ("scheduler", "test")
            assert event.stored_ms >= due_ms - 1000
            if event.stored_ms > due_ms + 900:
                break
        assert await mesh.unschedule("rounds")
        assert not await mesh.unschedule("rounds")
