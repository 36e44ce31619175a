"""The way out: one write a turn, a bound that publishers wait at, an end that leaves nobody waiting."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from bus.transport.nats.writing import Writer
from bus.transport.protocol import PayloadTooLarge
from schemas.errors import SubjectError


class Stream:
    """Stands in for the stream and its socket."""

    def __init__(self) -> None:
        self.transport = self
        self.written: list[bytes] = []
        self.held = 0
        self.stuck = False
        self.drained = asyncio.Event()
        self.error: OSError | None = None

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        assert low < high

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.stuck:
            self.held += len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    async def drain(self) -> None:
        await self.drained.wait()
        if self.error is not None:
            raise self.error


class Setup:
    def __init__(self, bound: int = 1000) -> None:
        self.stream = Stream()
        self.broken: list[str] = []
        self.usable = True
        self.writer = Writer(
            cast("asyncio.StreamWriter", self.stream),
            bound=bound,
            max_payload=200_000,
            usable=lambda: self.usable,
            broken=self._broken,
        )

    def is_full(self) -> bool:
        return self.writer.full

    def _broken(self, reason: str) -> None:
        self.broken.append(reason)
        self.writer.stop()

    async def turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


async def test_messages_of_one_turn_leave_in_one_write() -> None:
    setup = Setup()
    setup.writer.send("a", b"1", b"", None)
    setup.writer.send("b", b"22", b"r.1", None)
    setup.writer.send("c", b"333", b"", b"NATS/1.0\r\nK: v\r\n\r\n")
    setup.writer.send("d", b"", b"r.2", b"NATS/1.0\r\nK: v\r\n\r\n")
    setup.writer.answer(b"$JS.ACK.x", b"+ACK")
    setup.writer.put(b"SUB e  1\r\n")
    assert setup.stream.written == []
    await setup.turn()
    assert setup.stream.written == [
        b"PUB a 1\r\n1\r\n"
        b"PUB b r.1 2\r\n22\r\n"
        b"HPUB c 18 21\r\nNATS/1.0\r\nK: v\r\n\r\n333\r\n"
        b"HPUB d r.2 18 18\r\nNATS/1.0\r\nK: v\r\n\r\n\r\n"
        b"PUB $JS.ACK.x 4\r\n+ACK\r\n"
        b"SUB e  1\r\n"
    ]


async def test_sizes_beyond_the_table_are_written_out() -> None:
    setup = Setup()
    setup.writer.send("a", bytes(5000), b"", None)
    setup.writer.send("a", bytes(5000), b"", b"h" * 4096)
    await setup.turn()
    [written] = setup.stream.written
    assert written.startswith(b"PUB a 5000\r\n")
    assert b"HPUB a 4096 9096\r\n" in written


async def test_much_in_one_turn_is_handed_on_in_chunks() -> None:
    setup = Setup()
    for _ in range(10):
        setup.writer.send("a", bytes(50_000), b"", None)
    assert len(setup.stream.written) == 3
    await setup.turn()
    assert sum(map(len, setup.stream.written)) == 10 * len(b"PUB a 50000\r\n\r\n") + 500_000


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0\r\n", "a\tb"])
async def test_subject_that_would_break_the_line_is_refused(subject: str) -> None:
    setup = Setup()
    with pytest.raises(SubjectError):
        setup.writer.send(subject, b"", b"", None)
    with pytest.raises(SubjectError):
        setup.writer.send(subject, b"", b"", b"NATS/1.0\r\n\r\n")


async def test_message_over_the_servers_bound_is_refused_with_its_headers_counted() -> None:
    setup = Setup()
    with pytest.raises(PayloadTooLarge):
        setup.writer.send("a", bytes(200_001), b"", None)
    with pytest.raises(PayloadTooLarge):
        setup.writer.send("a", bytes(199_999), b"", b"12")


async def test_what_may_change_is_copied() -> None:
    setup = Setup()
    payload = bytearray(b"before")
    setup.writer.send("a", cast("bytes", payload), b"", None)
    payload[:] = b"behind"
    await setup.turn()
    assert b"before" in setup.stream.written[0]


async def test_publishers_wait_while_the_socket_holds_more_than_the_bound() -> None:
    setup = Setup(bound=100)
    setup.stream.stuck = True
    setup.writer.send("a", bytes(200), b"", None)
    assert not setup.is_full()
    await setup.turn()
    assert setup.is_full()
    waiting = [asyncio.create_task(setup.writer.room()) for _ in range(3)]
    waiting[1].cancel()
    await setup.turn()
    assert [task.done() for task in waiting] == [False, True, False]
    setup.stream.held = 0
    setup.stream.drained.set()
    await asyncio.gather(waiting[0], waiting[2])
    assert not setup.is_full()


async def test_end_wakes_who_waits_and_drops_the_rest() -> None:
    setup = Setup(bound=100)
    setup.stream.stuck = True
    setup.writer.send("a", bytes(200), b"", None)
    await setup.turn()
    waiting = asyncio.create_task(setup.writer.room())
    await setup.turn()
    setup.writer.send("a", b"late", b"", None)
    setup.writer.stop()
    await waiting
    await setup.turn()
    assert len(setup.stream.written) == 1


async def test_connection_that_is_gone_is_told_at_the_write() -> None:
    setup = Setup()
    setup.usable = False
    setup.writer.send("a", b"", b"", None)
    await setup.turn()
    assert setup.broken == ["connection_lost"]
    assert setup.stream.written == []


async def test_connection_that_breaks_while_draining_is_told() -> None:
    setup = Setup(bound=100)
    setup.stream.stuck = True
    setup.stream.error = ConnectionResetError()
    setup.writer.send("a", bytes(200), b"", None)
    await setup.turn()
    waiting = asyncio.create_task(setup.writer.room())
    setup.stream.drained.set()
    await waiting
    assert setup.broken == ["connection_lost"]
