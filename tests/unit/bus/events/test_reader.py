"""The reader misses nothing that comes as soon as it has gone back."""

from __future__ import annotations

import asyncio
import random

from bus.events.reader import Reader
from bus.events.tracking import Tracker
from bus.telemetry.counters import Counters
from bus.transport.protocol import ConsumerState, Delivery


class NothingFinished:
    def is_finished(self, seq: int) -> bool:
        return False


class Taken:
    """Needs a while to say that the stream is the same, as one that asks a server does."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.came = asyncio.Event()

    def take(self, delivery: Delivery) -> None:
        self.seqs.append(delivery.seq)
        if len(self.seqs) == 5:
            self.came.set()

    def renew(self, delivery: Delivery) -> None:
        raise AssertionError("nothing comes again")

    async def is_same_stream(self) -> bool:
        for _ in range(10):
            await asyncio.sleep(0)
        return True


class PromptConsumer:
    """Gives its messages right after the rewind, with the credits that were outstanding."""

    def __init__(self) -> None:
        self.reader: Reader | None = None

    async def rewind(self, seq: int) -> None:
        assert self.reader is not None
        for number in range(seq, seq + 5):
            delivery = Delivery(
                subject="evt.a", payload=b"", seq=number, deliveries=1, stored_ms=0, pending=0,
                reply="", headers=None,
            )  # fmt: skip
            asyncio.get_running_loop().call_soon(self.reader.delivered, delivery)

    def credit(self, messages: int) -> None:
        pass

    def acknowledge(self, delivery: Delivery) -> None:
        pass

    def extend(self, delivery: Delivery) -> None:
        pass

    async def state(self) -> ConsumerState:
        raise AssertionError("not asked")

    async def close(self) -> None:
        pass


async def test_what_comes_right_after_a_rewind_is_taken() -> None:
    taken, consumer = Taken(), PromptConsumer()
    reader = consumer.reader = Reader(
        name="his-out", tracker=Tracker(NothingFinished(), start=1), limit=10, takes=taken,
        chance=random.Random(1), counters=Counters(),
    )  # fmt: skip
    order = asyncio.create_task(reader.keep_order())
    reader.begin(consumer, rewind=True)
    async with asyncio.timeout(5):
        await taken.came.wait()
    assert taken.seqs == [1, 2, 3, 4, 5]
    order.cancel()
    await asyncio.gather(order, return_exceptions=True)
