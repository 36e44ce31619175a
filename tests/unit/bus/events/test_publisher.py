"""Group commit tells each caller the truth, keeps the order of publish calls and bounds what it gathers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.events.commits import CommitLimits
from bus.events.protocol import Priority, StoredEvent
from bus.events.publisher import Publisher
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import StreamFull, StreamSpec
from schemas.errors import (
    Closed,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    ResourceExhausted,
    SubjectError,
    Unavailable,
)
from tests.unit.bus.events.kit import SITE, Bench, LoopClock, Service, event, run_jumping

STREAM = "evt-north"


async def site(folder: Path) -> tuple[Bench, Service]:
    bench = Bench(MemoryBroker(clock=LoopClock()), folder)
    return bench, await bench.service("emr-in")


async def bodies(service: Service) -> list[bytes]:
    opener = service.seals.opener(replay_window=False)
    state = await service.transport.store.stream_state(STREAM)
    found = []
    for seq in range(1, state.last_seq + 1):
        delivery = await service.transport.store.read(STREAM, seq)
        for epoch in service.seals.vault.packages:
            opener.learn(epoch)  # type: ignore[attr-defined]  # the paper one has it
        found.append(opener.open(delivery.subject, delivery.payload).content.body)
    return found


def test_calls_of_one_turn_share_signatures_of_at_most_256_in_their_order(tmp_path: Path) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        stored = await asyncio.gather(*(service.events.publish(event(n)) for n in range(600)))
        assert service.seals.batches == [256, 256, 88]
        assert [one.seq for one in stored] == list(range(1, 601))
        assert await bodies(service) == [f"0:{n}".encode() for n in range(600)]

    run_jumping(main())


def test_what_comes_while_a_commit_is_under_way_makes_the_next_group(tmp_path: Path) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        service.transport.disconnect()
        first = asyncio.gather(*(service.events.publish(event(n)) for n in range(3)))
        await asyncio.sleep(0.5)
        second = [asyncio.create_task(service.events.publish(event(n))) for n in range(3, 20)]
        await asyncio.sleep(0.5)
        service.transport.reconnect()
        await asyncio.gather(first, *second)
        # what gathered is divided, so that one half can be sealed while the other is stored
        assert service.seals.batches[:2] == [3, 10]
        assert sum(service.seals.batches) == 20
        assert await bodies(service) == [f"0:{n}".encode() for n in range(20)]

    run_jumping(main())


def test_from_the_size_on_at_which_the_store_makes_a_batch_one_commit_takes_all(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        service.transport.disconnect()
        first = asyncio.gather(*(service.events.publish(event(n)) for n in range(3)))
        await asyncio.sleep(0.5)
        second = [asyncio.create_task(service.events.publish(event(n))) for n in range(3, 50)]
        await asyncio.sleep(0.5)
        service.transport.reconnect()
        await asyncio.gather(first, *second)
        assert service.seals.batches == [3, 47]
        assert await bodies(service) == [f"0:{n}".encode() for n in range(50)]

    run_jumping(main())


def test_each_caller_gets_its_own_answer_when_the_stream_fills_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        await service.transport.store.ensure_stream(
            StreamSpec(name=STREAM, subjects=("evt.north.>", "ctl.north.replay.>"), max_messages=10)
        )
        answers = await asyncio.gather(
            *(service.events.publish(event(n)) for n in range(15)), return_exceptions=True
        )
        assert all(isinstance(answer, StoredEvent) for answer in answers[:10])
        assert all(isinstance(answer, StreamFull) for answer in answers[10:])
        assert bench.counters.get("publish_failed", reason="stream_full") == 5
        assert bench.counters.get("message_stored") == 10

    run_jumping(main())


def test_one_event_that_may_not_be_sealed_does_not_refuse_its_neighbours(tmp_path: Path) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        service.seals.refuse = lambda plain: (
            PermissionRefused("not yours") if plain.content.body == b"0:3" else None
        )
        answers = await asyncio.gather(
            *(service.events.publish(event(n)) for n in range(6)), return_exceptions=True
        )
        assert isinstance(answers[3], PermissionRefused)
        assert await bodies(service) == [b"0:0", b"0:1", b"0:2", b"0:4", b"0:5"]

    run_jumping(main())


def test_no_envelope_leaves_before_its_key_package_lies_where_readers_find_it(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        bench.vault.failure = Unavailable("no buckets")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await service.events.publish(event(0))
        state = await service.transport.store.stream_state(STREAM)
        assert (state.messages, bench.vault.packages) == (0, {})
        bench.vault.failure = None
        await service.events.publish(event(1))
        # the package was given once, with the first batch, and not forgotten when it could not be put
        assert len(bench.vault.packages) == 1
        assert await bodies(service) == [b"0:1"]

    run_jumping(main())


def test_the_same_message_id_is_stored_once(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        bench.broker.faults.lose_store_answers(1)
        with pytest.raises(DeadlineExceeded):
            await service.events.publish(event(1, message_id=b"m" * 16), timeout_s=1)
        again = await service.events.publish(event(1, message_id=b"m" * 16))
        assert (again.seq, again.duplicate, again.message_id) == (1, True, b"m" * 16)
        assert bench.counters.get("message_stored_before") == 1

    run_jumping(main())


def test_a_caller_that_leaves_before_its_commit_sends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        service.transport.disconnect()
        under_way = asyncio.create_task(service.events.publish(event(0)))
        await asyncio.sleep(0.1)  # fewer than make a commit of their own wait for the one under way
        with pytest.raises(DeadlineExceeded, match="same message id"):
            await service.events.publish(event(1), timeout_s=1.0)
        leaving = asyncio.create_task(service.events.publish(event(2)))
        await asyncio.sleep(0.1)
        leaving.cancel()
        service.transport.reconnect()
        await under_way
        await service.events.publish(event(3))
        assert await bodies(service) == [b"0:0", b"0:3"]

    run_jumping(main())


def test_what_waits_is_bounded_and_stat_may_exceed_the_bound_a_little(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        publisher = Publisher(
            site=SITE,
            store=service.transport.store,
            seals=service.seals,
            clock=LoopClock(),
            counters=bench.counters,
            fresh_id=lambda: bench.chance.randbytes(16),
            max_payload=lambda: service.transport.max_payload,
            limits=CommitLimits(gathered_messages=8, waiting_messages=80, commit_messages=5),
        )
        calls = [asyncio.create_task(publisher.publish(event(n), timeout_s=60)) for n in range(100)]
        urgent = event(100, partition=1, priority=Priority.STAT)
        calls.append(asyncio.create_task(publisher.publish(urgent, timeout_s=60)))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, StoredEvent) for answer in (*answers[:80], answers[100]))
        assert all(isinstance(answer, ResourceExhausted) for answer in answers[80:100])
        assert "waiting_messages" in str(answers[80])
        assert bench.counters.get("publish_waited") == 72 + 1
        assert bench.counters.get("publish_refused", reason="waiting_full") == 20
        assert max(service.seals.batches) == 5
        found = await bodies(service)
        assert found[0] == b"1:100"
        assert found[1:] == [f"0:{n}".encode() for n in range(80)]
        await publisher.drain()

    run_jumping(main())


def test_the_memory_of_what_waits_is_bounded_too(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        publisher = Publisher(
            site=SITE,
            store=service.transport.store,
            seals=service.seals,
            clock=LoopClock(),
            counters=bench.counters,
            fresh_id=lambda: bench.chance.randbytes(16),
            max_payload=lambda: service.transport.max_payload,
            limits=CommitLimits(waiting_bytes=7),
        )
        calls = (publisher.publish(event(n), timeout_s=60) for n in range(5))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, StoredEvent) for answer in answers] == [True] * 2 + [False] * 3
        with pytest.raises(ResourceExhausted, match="waiting_bytes"):
            await asyncio.gather(*(publisher.publish(event(n), timeout_s=60) for n in range(5)))

    run_jumping(main())


def test_a_caller_whose_time_runs_out_in_line_is_told_then_and_sends_nothing(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        publisher = Publisher(
            site=SITE,
            store=service.transport.store,
            seals=service.seals,
            clock=LoopClock(),
            counters=bench.counters,
            fresh_id=lambda: bench.chance.randbytes(16),
            max_payload=lambda: service.transport.max_payload,
            limits=CommitLimits(gathered_messages=1),
        )
        service.transport.disconnect()
        under_way = asyncio.create_task(publisher.publish(event(0), timeout_s=60))
        await asyncio.sleep(0.1)
        admitted = asyncio.create_task(publisher.publish(event(1), timeout_s=60))
        await asyncio.sleep(0.1)
        before_s = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded, match="same message id"):
            await publisher.publish(event(2), timeout_s=1.0)
        assert asyncio.get_running_loop().time() - before_s == pytest.approx(1.0)
        assert bench.counters.get("publish_failed", reason="deadline_exceeded") == 1
        service.transport.reconnect()
        await asyncio.gather(under_way, admitted)
        assert await bodies(service) == [b"0:0", b"0:1"]

    run_jumping(main())


def test_a_large_event_passes_alone_though_it_exceeds_the_bound(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)
        publisher = Publisher(
            site=SITE,
            store=service.transport.store,
            seals=service.seals,
            clock=LoopClock(),
            counters=bench.counters,
            fresh_id=lambda: bench.chance.randbytes(16),
            max_payload=lambda: service.transport.max_payload,
            limits=CommitLimits(commit_bytes=2),
        )
        await asyncio.gather(*(publisher.publish(event(n), timeout_s=5) for n in range(3)))
        assert service.seals.batches == [1, 1, 1]

    run_jumping(main())


def test_stopping_leaves_no_caller_without_an_answer(tmp_path: Path) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        service.transport.disconnect()
        first = [asyncio.create_task(service.events.publish(event(n))) for n in range(3)]
        await asyncio.sleep(0.1)
        second = [asyncio.create_task(service.events.publish(event(n))) for n in range(3)]
        await asyncio.sleep(0.1)
        await service.events.stop()
        answers = await asyncio.gather(*first, *second, return_exceptions=True)
        assert all(isinstance(answer, Unavailable) for answer in answers)
        with pytest.raises(Closed):
            await service.events.publish(event(9))

    run_jumping(main())


def test_a_broken_seal_fails_its_callers_and_not_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        bench, service = await site(tmp_path)

        def broken(_: object) -> MeshError:
            raise ZeroDivisionError

        service.seals.refuse = broken
        with pytest.raises(Unavailable):
            await service.events.publish(event(0))
        service.seals.refuse = lambda _: None
        await service.events.publish(event(1))
        assert bench.counters.get("publish_failed", reason="internal") == 1

    run_jumping(main())


@pytest.mark.parametrize(
    "subject", ["evt.south.raw.hl7v2.1", "dlq.evt-north.his", "ctl.north.replay.his", "Evt.x"]
)
def test_only_events_of_the_own_site_are_published(tmp_path: Path, subject: str) -> None:
    async def main() -> None:
        _, service = await site(tmp_path)
        new = event(1)
        with pytest.raises(SubjectError):
            await service.events.publish(type(new)(subject=subject, type="x", body=b""))
        with pytest.raises(ValueError, match="16 bytes"):
            await service.events.publish(event(1, message_id=b"short"))

    run_jumping(main())
