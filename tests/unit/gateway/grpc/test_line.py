"""The events of one PublishAll: many at a time, of each subject one."""

from __future__ import annotations

import asyncio

import pytest

from gateway.grpc.api.line import MAX_EVENTS, STORED_KEY, Line, Store
from gateway.grpc.status import RpcFailed
from schemas.errors import MeshError, Unavailable
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb


class Disk:
    def __init__(self) -> None:
        self.begun: list[int] = []
        self.gates: dict[int, asyncio.Future[None]] = {}

    def store(self, number: int) -> Store:
        self.gates[number] = asyncio.get_running_loop().create_future()

        async def go() -> pb.Stored:
            self.begun.append(number)
            await self.gates[number]
            return pb.Stored(seq=number)

        return go

    def done(self, number: int) -> None:
        self.gates[number].set_result(None)

    def fail(self, number: int) -> None:
        self.gates[number].set_exception(Unavailable("away"))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_of_each_subject_one_is_under_way_and_of_several_many() -> None:
    disk, line = Disk(), Line()
    for number, subject in enumerate(["a", "a", "b"]):
        line.add(subject, disk.store(number))
    await turns()
    assert disk.begun == [0, 2]
    disk.done(0)
    await turns()
    assert disk.begun == [0, 2, 1]
    disk.done(1)
    disk.done(2)
    await line.end()
    assert [one.seq for one in line.stored] == [0, 1, 2]


async def test_behind_one_that_failed_nothing_of_its_subject_is_tried() -> None:
    disk, line = Disk(), Line()
    for number, subject in enumerate(["a", "b", "b", "a"]):
        line.add(subject, disk.store(number))
    await turns()
    disk.done(0)
    disk.fail(1)
    await turns()
    disk.done(3)
    with pytest.raises(MeshError) as caught:
        await line.end()
    failure = await line.failed(caught.value)
    await line.close()
    assert 2 not in disk.begun
    assert dict(failure.trailers())[STORED_KEY] == "1"


async def test_one_call_takes_so_many_events() -> None:
    line = Line()
    line.count = MAX_EVENTS
    with pytest.raises(RpcFailed):
        await line.room()


async def test_what_is_under_way_is_given_up_with_the_call() -> None:
    disk, line = Disk(), Line()
    line.add("a", disk.store(0))
    await turns()
    await line.close()
    assert disk.gates[0].cancelled()
