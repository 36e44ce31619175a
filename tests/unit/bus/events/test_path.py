"""Far from the store the line is filled, stat does not wait behind bulk, and order and truth hold as near it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bus.events.group import ENVELOPE_BYTES
from bus.events.path import StorePath
from bus.events.protocol import NewEvent, Priority, StoredEvent
from bus.events.publisher import Publisher
from bus.flow import QuotaLimits
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import (
    ConsumerEvents,
    ConsumerSpec,
    Delivery,
    DurableConsumer,
    EventStore,
    Outgoing,
    Stored,
    StreamSpec,
    StreamState,
)
from schemas.errors import Closed, DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from tests.unit.bus.events.kit import SITE, Bench, LoopClock, Service, event, run_jumping

BODY_BYTES = 1536
RATE = 1_250_000.0
"""Bytes a second: 10 Mbit/s."""


class FarStore:
    """A store at the end of a long line: `EventStore`, each message taking its time on the line and back."""

    def __init__(self, store: EventStore, *, rtt_s: float, rate: float = RATE) -> None:
        self._store = store
        self.rtt_s = rtt_s
        self._rate = rate
        self._free_s = 0.0
        self._last_s = 0.0
        self.calls: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.cut_until_s = 0.0

    async def store(
        self,
        batch: Sequence[Outgoing],
        *,
        timeout_s: float,
        settled: Callable[[int, Stored | MeshError], None] | None = None,
    ) -> list[Stored | MeshError]:
        now_s = asyncio.get_running_loop().time()
        self.calls.append(len(batch))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        answers_s = []
        for message in batch:
            size = len(message.payload) + 300
            self._free_s = max(self._free_s, now_s, self.cut_until_s) + size / self._rate
            answers_s.append(self._free_s + self.rtt_s)
        results: list[Stored | MeshError] = []
        for place, message in enumerate(batch):
            await self._pass(min(answers_s[place], now_s + timeout_s))
            if answers_s[place] > now_s + timeout_s:
                result: Stored | MeshError = DeadlineExceeded("no answer")
            else:
                result = (await self._store.store([message], timeout_s=timeout_s))[0]
            results.append(result)
            if settled is not None:
                settled(place, result)
        self.under_way -= 1
        return results

    async def _pass(self, until_s: float) -> None:
        await asyncio.sleep(until_s - asyncio.get_running_loop().time())

    async def stream_state(self, stream: str) -> StreamState:
        await asyncio.sleep(self.rtt_s)
        return await self._store.stream_state(stream)

    async def ensure_stream(self, spec: StreamSpec) -> StreamState:
        return await self._store.ensure_stream(spec)

    async def read(self, stream: str, seq: int) -> Delivery:
        return await self._store.read(stream, seq)

    async def delete(self, stream: str, seq: int) -> None:
        await self._store.delete(stream, seq)

    async def consume(self, spec: ConsumerSpec, events: ConsumerEvents) -> DurableConsumer:
        return await self._store.consume(spec, events)


class Far:
    """A publisher, its path and its store."""

    def __init__(
        self,
        bench: Bench,
        service: Service,
        *,
        rtt_s: float = 0.05,
        store: FarStore | None = None,
        path: StorePath | None = None,
        quota: QuotaLimits | None = None,
    ) -> None:
        self.bench = bench
        self.service = service
        self.store = store or FarStore(service.transport.store, rtt_s=rtt_s)
        self.path = path or StorePath(LoopClock())
        self.publisher = Publisher(
            site=SITE,
            store=self.store,
            seals=service.seals,
            clock=LoopClock(),
            counters=bench.counters,
            fresh_id=lambda: bench.chance.randbytes(16),
            max_payload=lambda: service.transport.max_payload,
            path=self.path,
            quota=quota,
        )

    async def publish(
        self, number: int, priority: Priority = Priority.ROUTINE, *, partition: int = 0
    ) -> float:
        """Publish one; returns how long it took."""
        began_s = asyncio.get_running_loop().time()
        body = f"{partition}:{number}:".encode().ljust(BODY_BYTES, b".")
        subject = f"evt.north.raw.hl7v2.{partition}"
        new = NewEvent(subject=subject, type="x", body=body, priority=priority)
        await self.publisher.publish(new, timeout_s=60)
        return asyncio.get_running_loop().time() - began_s

    async def keep_publishing(
        self, until_s: float, priority: Priority, *, partition: int = 0
    ) -> int:
        """One caller after the other until a time; how many were stored."""
        count = 0
        while asyncio.get_running_loop().time() < until_s:
            await self.publish(count, priority, partition=partition)
            count += 1
        return count

    async def stored(self) -> list[str]:
        """`<partition>:<number>` of everything, in the order of the stream."""
        opener = self.service.seals.opener(replay_window=False)
        for epoch in self.service.seals.vault.packages:
            opener.learn(epoch)  # type: ignore[attr-defined]  # the paper one has it
        state = await self.service.transport.store.stream_state("evt-north")
        found = []
        for seq in range(1, state.last_seq + 1):
            delivery = await self.service.transport.store.read("evt-north", seq)
            body = opener.open(delivery.subject, delivery.payload).content.body
            found.append(body.rstrip(b".").decode().rstrip(":"))
        return found


async def far(folder: Path, *, rtt_s: float = 0.05, quota: QuotaLimits | None = None) -> Far:
    bench = Bench(MemoryBroker(clock=LoopClock()), folder)
    return Far(bench, await bench.service("emr-in"), rtt_s=rtt_s, quota=quota)


def test_a_long_line_is_filled_with_small_commits(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        callers = (site.keep_publishing(10.0, Priority.ROUTINE, partition=p) for p in range(64))
        count = sum(await asyncio.gather(*callers))
        assert site.path.is_long
        assert count * (BODY_BYTES + 600) > 0.75 * 10 * RATE
        assert max(site.store.calls[5:]) <= 16
        assert site.store.most_under_way > 2
        assert site.path.in_flight == 0

    run_jumping(main())


def test_near_the_store_groups_grow_as_before_and_no_window_holds_them(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path, rtt_s=0.001)
        await site.publish(0)
        await asyncio.gather(*(site.publish(n, partition=n % 64) for n in range(500)))
        assert not site.path.is_long
        assert max(site.store.calls) == 256
        assert site.store.most_under_way <= 2

    run_jumping(main())


def test_stat_does_not_wait_behind_a_backlog_of_bulk(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        await site.publish(0)
        await asyncio.sleep(1)
        backlog = [
            asyncio.create_task(site.publish(n, Priority.BULK, partition=n % 60))
            for n in range(6000)
        ]
        await asyncio.sleep(3)
        waits = []
        for n in range(20):
            waits.append(await site.publish(n, Priority.STAT, partition=63))
            await asyncio.sleep(0.05)
        assert not all(task.done() for task in backlog), "bulk did saturate the line"
        assert max(waits) < 0.2, "of which 0.05 are the way there and back"
        for task in backlog:
            task.cancel()
        await asyncio.gather(*backlog, return_exceptions=True)

    run_jumping(main())


def test_a_flood_of_stat_does_not_starve_bulk(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        await site.publish(0)
        await asyncio.sleep(1)
        flood = [site.keep_publishing(15.0, Priority.STAT, partition=p) for p in range(60)]
        rest = [site.keep_publishing(15.0, Priority.BULK, partition=60 + p) for p in range(4)]
        counts = await asyncio.gather(*flood, *rest)
        assert sum(counts[60:]) > 0.03 * sum(counts), "a twenty-first part is theirs"

    run_jumping(main())


def test_events_of_one_subject_keep_their_order_whatever_their_priorities(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        await site.publish(0)
        await asyncio.sleep(1)
        classes = list(Priority)
        tasks = [
            asyncio.create_task(
                site.publish(n, classes[site.bench.chance.randrange(3)], partition=n % 5)
            )
            for n in range(1, 1500)
        ]
        await asyncio.gather(*tasks)
        found = await site.stored()
        assert len(found) == 1500
        for partition in range(5):
            numbers = [int(x.split(":")[1]) for x in found if x.startswith(f"{partition}:")]
            assert numbers == sorted(numbers)

    run_jumping(main())


def test_after_a_cut_the_line_is_used_again_and_everyone_was_told_the_truth(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        loop = asyncio.get_running_loop()
        callers = [
            asyncio.create_task(site.keep_publishing(20.0, Priority.ROUTINE, partition=p))
            for p in range(64)
        ]
        await asyncio.sleep(5)
        site.store.cut_until_s = loop.time() + 5
        await asyncio.sleep(5.5)
        before = len(await site.stored())
        await asyncio.sleep(3)
        assert (len(await site.stored()) - before) * (BODY_BYTES + 600) > 0.6 * 3 * RATE
        await asyncio.gather(*callers)

    run_jumping(main())


def test_publishers_on_one_connection_share_its_path_and_wake_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        one = await far(tmp_path)
        other = Far(one.bench, one.service, store=one.store, path=one.path)
        await one.publish(0)
        await asyncio.sleep(1)
        counts = await asyncio.gather(
            *(one.keep_publishing(10.0, Priority.ROUTINE, partition=p) for p in range(40)),
            *(other.keep_publishing(10.0, Priority.ROUTINE, partition=p) for p in range(40)),
        )
        first, second = sum(counts[:40]), sum(counts[40:])
        assert 0.5 < first / second < 2
        assert one.path.window_bytes < 0.4 * RATE

    run_jumping(main())


def test_stopping_far_away_leaves_no_caller_without_an_answer_and_nothing_under_way(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        await site.publish(0)
        await asyncio.sleep(1)
        tasks = [asyncio.create_task(site.publish(n)) for n in range(500)]
        await asyncio.sleep(0.02)
        await site.publisher.stop()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, Unavailable | float) for answer in answers)
        assert site.path.in_flight == 0

    run_jumping(main())


def test_one_event_larger_than_the_window_passes_alone(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path)
        await site.publish(0)
        await asyncio.sleep(1)
        body = bytes(2 * site.path.window_bytes)
        large = NewEvent(subject="evt.north.raw.hl7v2.9", type="x", body=body)
        small = [asyncio.create_task(site.publish(n)) for n in range(50)]
        await site.publisher.publish(large, timeout_s=60)
        await asyncio.gather(*small)
        assert site.path.in_flight == 0
        assert site.path.window_bytes > ENVELOPE_BYTES

    run_jumping(main())


def test_a_rate_holds_back_and_then_refuses_naming_the_setting(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path, quota=QuotaLimits(events_per_s=10, wait_s=1.0))
        tasks = [asyncio.create_task(site.publish(n)) for n in range(40)]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        passed = [answer for answer in answers if isinstance(answer, float)]
        refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
        assert (len(passed), len(refused)) == (21, 19)
        assert max(passed) > 1.0
        assert "limits.events_per_s = 10" in str(refused[0])
        assert "emr-in" in str(refused[0])
        assert site.bench.counters.get("publish_refused", reason="events_per_s") == 19
        assert site.bench.counters.get("publish_waited", reason="quota") == 10
        assert await site.stored() == [f"0:{n}" for n in range(21)]
        receipt = NewEvent(subject="dlq.evt-north.his", type="x", body=b"")
        assert isinstance(await site.publisher.publish(receipt, timeout_s=5), StoredEvent)

    run_jumping(main())


def test_stat_passes_beyond_the_rate_but_not_what_waits_of_its_own_subject(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        site = await far(tmp_path, quota=QuotaLimits(events_per_s=10, wait_s=2.0))
        tasks = [asyncio.create_task(site.publish(n)) for n in range(20)]
        await asyncio.sleep(0)
        elsewhere = await site.publish(0, Priority.STAT, partition=1)
        assert elsewhere < 0.2
        same = asyncio.create_task(site.publish(20, Priority.STAT))
        await asyncio.gather(*tasks, same)
        found = await site.stored()
        assert [x for x in found if x.startswith("0:")] == [f"0:{n}" for n in range(21)]

    run_jumping(main())


def test_a_call_that_cannot_pass_before_its_deadline_is_refused_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        site = await far(tmp_path, quota=QuotaLimits(events_per_s=1, wait_s=60.0))
        tasks = [asyncio.create_task(site.publish(n)) for n in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted, match="deadline"):
            await site.publisher.publish(event(9), timeout_s=1.0)
        await site.publisher.stop()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, Closed | Unavailable | float) for answer in answers)

    run_jumping(main())
