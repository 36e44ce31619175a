"""One signature for what leaves in one turn; nothing leaves before its key package is stored."""

from __future__ import annotations

import asyncio

import pytest

from bus.envelope.types import ContentTooLarge, EpochId, Plain
from bus.services.sealing import MAX_BATCH, TurnSealer
from bus.telemetry.counters import Counters
from schemas.errors import Closed, DeadlineExceeded, ResourceExhausted, Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.unit.bus.events.kit import PaperSeals, Vault


def plain(number: int = 0) -> Plain:
    return Plain(subject=f"svc.north.beds.v1.rpc.m{number}", content=pb.Content(raw_size=number))


def sealer(seals: PaperSeals, **more: int) -> TurnSealer:
    return TurnSealer(seals, Counters(), **more)


async def test_one_turn_is_one_signature() -> None:
    seals = PaperSeals(Vault())
    turn = sealer(seals)
    sealed = await asyncio.gather(*(turn.seal(plain(n)) for n in range(30)))
    assert seals.batches == [30]
    assert len({one.leaf for one in sealed}) == 30


async def test_a_batch_is_bounded() -> None:
    seals = PaperSeals(Vault())
    turn = sealer(seals)
    await asyncio.gather(*(turn.seal(plain(n)) for n in range(150)))
    assert seals.batches == [MAX_BATCH] * 4 + [150 - 4 * MAX_BATCH]


async def test_message_that_is_alone_is_sealed_at_once() -> None:
    seals = PaperSeals(Vault())
    turn = sealer(seals)
    await turn.seal(plain(1))
    assert turn.seal(plain(2), is_alone=True).done()
    first, second = turn.seal(plain(3)), turn.seal(plain(4), is_alone=True)
    assert not second.done()  # another waits for the turn's end: one signature for both
    await asyncio.gather(first, second)
    assert seals.batches == [1, 1, 2]


async def test_batch_leaves_before_the_next_is_sealed() -> None:
    seals = PaperSeals(Vault())
    turn = sealer(seals, max_batch=2)
    await turn.seal(plain())
    left: list[int] = []
    for n in range(5):
        turn.seal_then(plain(n), lambda _: left.append(len(seals.batches)))
    await turn.seal(plain(5))
    assert left == [2, 2, 3, 3, 4]


async def test_message_waits_for_its_key_package_no_longer_than_it_may() -> None:
    seals = Slow()
    turn = sealer(seals)
    with pytest.raises(DeadlineExceeded):
        await turn.seal(plain(1), timeout_s=0.01)
    seals.gate.set()
    assert (await turn.seal(plain(2), timeout_s=10)).envelope


async def test_one_that_may_not_be_sealed_does_not_refuse_its_neighbours() -> None:
    seals = PaperSeals(Vault())
    seals.refuse = lambda one: ContentTooLarge("too large") if one.content.raw_size == 3 else None
    turn = sealer(seals)
    ended = await asyncio.gather(*(turn.seal(plain(n)) for n in range(5)), return_exceptions=True)
    assert [isinstance(one, ContentTooLarge) for one in ended] == [False] * 3 + [True, False]


async def test_nothing_leaves_before_its_key_package_is_stored() -> None:
    vault = Vault()
    turn = sealer(PaperSeals(vault))
    assert not vault.packages
    await turn.seal(plain())
    assert vault.packages


async def test_package_that_could_not_be_stored_is_tried_with_the_next_message() -> None:
    vault = Vault(failure=Unavailable("no buckets"))
    turn = sealer(PaperSeals(vault))
    with pytest.raises(Unavailable):
        await turn.seal(plain())
    vault.failure = None
    await turn.seal(plain())
    assert vault.packages
    assert vault.puts == 2


class Slow(PaperSeals):
    """The first package takes until the gate opens."""

    def __init__(self) -> None:
        super().__init__(Vault(), epoch_batches=1)
        self.gate = asyncio.Event()
        self.first = True

    async def publish_package(self, epoch: EpochId, package: bytes) -> None:
        if self.first:
            self.first = False
            await self.gate.wait()
        await super().publish_package(epoch, package)


async def test_slow_package_holds_up_its_own_messages_only() -> None:
    seals = Slow()
    turn = sealer(seals)
    first = turn.seal(plain(1))
    await asyncio.sleep(0)
    assert (await turn.seal(plain(2))).envelope
    assert not first.done()
    seals.gate.set()
    assert (await first).envelope


async def test_what_waits_is_bounded() -> None:
    seals = Slow()
    turn = sealer(seals, max_waiting=2)
    held = [turn.seal(plain(1)), turn.seal(plain(2))]
    with pytest.raises(ResourceExhausted):
        turn.seal(plain(3))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        turn.seal(plain(3))
    seals.gate.set()
    await asyncio.gather(*held)
    await turn.seal(plain(3))


async def test_message_whose_sender_has_left_is_not_sealed() -> None:
    seals = PaperSeals(Vault())
    turn = sealer(seals)
    left, stays = turn.seal(plain(1)), turn.seal(plain(2))
    left.cancel()
    await stays
    assert seals.batches == [1]


async def test_close_tells_who_waits() -> None:
    seals = Slow()
    turn = sealer(seals)
    held = turn.seal(plain(1))
    await asyncio.sleep(0)
    fresh = turn.seal(plain(2))
    await turn.close()
    for one in (held, fresh):
        with pytest.raises(Closed):
            await one
    with pytest.raises(Closed):
        turn.seal(plain(3))
