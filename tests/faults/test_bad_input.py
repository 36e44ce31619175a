"""Bad input at a whole site: a clear answer or a closed connection, peace for the healthy, no growth."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.hospital import Sink, Site, eventually, mllp_in, mllp_out, running
from tests.peers.sender import (
    END,
    START,
    Sender,
    Tally,
    ask,
    control_id,
    pause,
    read_answer,
    synthetic,
)
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(120)]

GROWTH_BYTES = 40 << 20
LONGEST_BYTES = 2 << 20
ANSWER_S = 15.0


@dataclass
class Ward:
    """A site with one healthy sender at work, and what everybody else was told."""

    port: int
    accepted: list[bytes] = field(default_factory=list)
    """Messages with a positive answer, of bad peers and good ones."""

    async def provoke(self, wire: bytes, *messages: bytes, answers: int) -> list[str]:
        """Send bytes and read so many answers, or all until the connection is closed when it is 0.

        `messages` are what those bytes held: one for each answer, so that it is known what was accepted.
        """
        codes: list[str] = []
        async with asyncio.timeout(ANSWER_S), self.peer() as (reader, writer):
            writer.write(wire)
            while not answers or len(codes) < answers:
                try:
                    answer = await reader.readuntil(END)
                except (EOFError, ConnectionError):
                    codes.append("closed")
                    break
                self.note(
                    answer, messages[len(codes)] if len(codes) < len(messages) else b"", codes
                )
        return codes

    @contextlib.asynccontextmanager
    async def peer(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection, cut at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def note(self, answer: bytes, message: bytes, codes: list[str]) -> None:
        """Write down an answer to a message."""
        code, _ = read_answer(answer)
        codes.append(code)
        if code in ("AA", "CA"):
            assert message, "a positive answer to what was no message"
            self.accepted.append(message)
        else:
            assert b"\rERR|" in answer, "a refusal says why"


@contextlib.asynccontextmanager
async def ward(tmp_path: Path, *, more: str = "") -> AsyncIterator[Ward]:
    """A site under attack: what must hold beside and after it is checked at the end."""
    port, sink = free_port(), Sink(tmp_path)
    limits = f"max_message_bytes = {LONGEST_BYTES}\nframe_timeout_s = 1.0\n{more}"
    site = Site(tmp_path, mllp_in(port, more=limits) + mllp_out(sink.port, more="lanes = 8"))
    await sink.start()
    async with running(site, sink):
        attacked, over = Ward(port), asyncio.Event()
        await warm_up(attacked)
        before = site.resident_bytes()
        healthy = asyncio.create_task(keep_sending(attacked, over))
        try:
            yield attacked
        finally:
            over.set()
            answered = await healthy
        assert answered > 0
        wanted = {hashlib.sha256(message).hexdigest() for message in attacked.accepted}
        await eventually(
            lambda: wanted <= {digest for _, digest in sink.journal.received},
            within_s=30,
            what="everything that was accepted, byte for byte",
        )
        assert {digest for _, digest in sink.journal.received} == wanted, "and nothing else"
        grown = site.resident_bytes() - before
        assert grown < GROWTH_BYTES, f"grew by {grown >> 20} MiB"
        assert await site.stop() == 0


async def warm_up(attacked: Ward) -> None:
    """What a site needs once is not growth."""
    async with attacked.peer() as (reader, writer):
        for number in range(300):
            message, codes = synthetic(number), list[str]()
            attacked.note(await ask(reader, writer, message), message, codes)
            assert codes == ["CA"]


async def keep_sending(attacked: Ward, over: asyncio.Event) -> int:
    """The healthy peer: one connection, never refused, never cut, never kept waiting."""
    tally = Tally()
    sender = Sender(attacked.port, tally, answer_timeout_s=ANSWER_S)
    try:
        while not over.is_set() or not tally.accepted:
            message = synthetic(500_000 + len(tally.accepted))
            assert await sender.attempt(message) == "CA"
            tally.accepted.append(message)
            attacked.accepted.append(message)
            await pause(0.01)
    finally:
        await sender.close()
    assert (tally.reconnects, tally.mismatched) == (0, 0)
    return len(tally.accepted)


def framed(message: bytes) -> bytes:
    return START + message + END


def client_hello() -> bytes:
    """What a TLS client says first."""
    out = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="his.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def with_charset(number: int, charset: bytes, name: bytes) -> bytes:
    """A message that declares one character set in MSH-18, and a name in bytes of perhaps another."""
    return (
        synthetic(number)
        .replace(b"UNICODE UTF-8", charset)
        .replace(b"EXAMPLE^PATIENT", name + b"^PATIENT")
    )


BIG = synthetic(1, note="x" * (2 * LONGEST_BYTES))
ONE, TWO = synthetic(600_001), synthetic(600_002)
BATCH = b"FHS|^~\\&|LAB|||||||||F1\rBHS|^~\\&|LAB|||||||||B1\r" + ONE + TWO + b"BTS|2\rFTS|1\r"
NULS = synthetic(600_003, note="a\0b\0\0c")
MEAGRE = b"MSH||||||||||||\rPID|1\r"
CHANCE = random.Random(7)

WIRES: dict[str, tuple[bytes, tuple[bytes, ...], tuple[str, ...]]] = {
    # name: bytes, the messages that an answer each is due for, the answers; a closed connection is the last of them
    "oversized, then a good one": (framed(BIG) + framed(ONE), (BIG, ONE), ("CR", "CA")),
    "oversized garbage": (START + b"x" * (3 * LONGEST_BYTES), (), ("closed",)),
    "oversized header": (framed(b"MSH|^~\\&|" + b"x" * 100_000), (), ("closed",)),
    "no start block": (ONE + END + framed(TWO), (ONE, TWO), ("CR", "CA")),
    "no end block": (START + ONE + framed(TWO), (ONE, TWO), ("CR", "CA")),
    "never an end": (START + ONE, (), ("closed",)),
    "end blocks alone": (END * 5_000, (), ("closed",)),
    "start blocks alone": (START * 100_000, (), ("closed",)),
    "random bytes": (CHANCE.randbytes(200_000), (), ("closed",)),
    "random bytes in a frame": (framed(b"MSH" + b"\xff\xfe\x01" * 99), (), ("closed",)),
    "text": (b"Hello, is anybody there?\r\n", (), ("closed",)),
    "a browser": (b"GET / HTTP/1.1\r\nHost: his.example\r\n\r\n", (), ("closed",)),
    "a TLS client": (client_hello(), (), ("closed",)),
    "NULs outside": (bytes(100_000), (), ("closed",)),
    "NULs in a frame": (framed(bytes(1_000)), (), ("closed",)),
    "NULs in a message": (framed(NULS), (NULS,), ("CA",)),
    "a batch in a frame": (framed(BATCH) + framed(ONE), (BATCH, ONE), ("AR", "CA")),
    "an empty frame": (framed(b"") + framed(ONE), (ONE,), ("CA",)),
    "MSH alone": (framed(b"MSH"), (), ("closed",)),
    "no delimiters but one": (framed(MEAGRE), (MEAGRE,), ("AA",)),
}  # fmt: skip


async def test_each_bad_peer_gets_a_clear_answer_or_is_cut(tmp_path: Path) -> None:
    async with ward(tmp_path) as attacked:
        told = await asyncio.gather(
            *(
                attacked.provoke(wire, *messages, answers=_answers(wanted))
                for wire, messages, wanted in WIRES.values()
            )
        )
    wrong = {
        name: codes
        for (name, (_, _, wanted)), codes in zip(WIRES.items(), told, strict=True)
        if wanted and tuple(codes) != wanted
    }
    assert wrong == {}


def _answers(wanted: Sequence[str]) -> int:
    return 0 if wanted[-1:] == ("closed",) else max(1, len(wanted))


async def test_a_message_cut_at_any_byte_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    whole = synthetic(700_000, note="the end of it")
    async with ward(tmp_path) as attacked, contextlib.AsyncExitStack() as peers:
        connection, opened = None, 0
        for cut in range(1, len(whole)):
            good = synthetic(710_000 + cut)
            codes: list[str] = []
            if connection is None:
                connection = await peers.enter_async_context(attacked.peer())
                opened += 1
            connection[1].write(START + whole[:cut] + framed(good))
            try:
                for _ in range(2):
                    answer = await connection[0].readuntil(END)
                    is_good = read_answer(answer)[1] == control_id(good)
                    attacked.note(answer, good if is_good else b"", codes)
            except (EOFError, ConnectionError):
                assert codes in ([], ["CA"]), "at most the good one was answered"
                connection = None
            else:
                assert codes in (["AR", "CA"], ["CR", "CA"])
        assert 1 < opened < 10, "cut only where there is no header yet to answer"


async def test_slow_drips_are_cut_at_the_deadline_of_a_frame(tmp_path: Path) -> None:
    async with ward(tmp_path) as attacked:

        async def drip(number: int) -> None:
            async with asyncio.timeout(ANSWER_S), attacked.peer() as (reader, writer):
                end = asyncio.create_task(reader.read())
                for byte in framed(synthetic(number)):
                    if end.done():
                        break
                    writer.write(bytes([byte]))
                    await asyncio.wait((end,), timeout=0.05)
                with contextlib.suppress(ConnectionError):
                    assert await end == b"", "nothing was answered"

        await asyncio.gather(*(drip(800_000 + number) for number in range(50)))


async def test_twenty_thousand_repetitions_are_carried_or_refused_and_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    async with ward(tmp_path) as attacked:
        for number in range(20):
            message = synthetic(810_000 + number).replace(
                b"^^^TESTHOSP^MR", b"^^^TESTHOSP^MR" + b"~R^^^TESTHOSP^PI" * 20_000
            )
            assert await attacked.provoke(framed(message), message, answers=1) == ["CA"]
        too_many = synthetic(820_000).replace(b"\rZTS", b"\rZTS|x" * 70_000)
        assert (await attacked.provoke(framed(too_many), too_many, answers=1))[0] in ("CA", "CR")


async def test_a_flood_of_large_messages_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with ward(tmp_path) as attacked:

        async def flood(number: int) -> None:
            async with asyncio.timeout(60), attacked.peer() as (reader, writer):
                for turn in range(4):
                    note = random.Random(number * 10 + turn).randbytes(LONGEST_BYTES // 4).hex()
                    big = synthetic(830_000 + number * 10 + turn, note=note)
                    attacked.note(await ask(reader, writer, big), big, [])
                    writer.write(framed(BIG))
                    attacked.note(await reader.readuntil(END), b"", [])

        await asyncio.gather(*(flood(number) for number in range(6)))


async def test_a_thousand_idle_connections_cost_nobody_anything(tmp_path: Path) -> None:
    async with (
        ward(tmp_path, more="max_connections_per_peer = 2000") as attacked,
        contextlib.AsyncExitStack() as idle,
    ):
        for _ in range(1_000):
            await idle.enter_async_context(attacked.peer())
        assert await attacked.provoke(framed(ONE), ONE, answers=1) == ["CA"]


CHARSETS = {
    "UTF-8 said, Latin-1 meant": with_charset(840_001, b"UNICODE UTF-8", b"M\xdcLLER"),
    "ASCII said, UTF-8 meant": with_charset(840_002, b"ASCII", "MÜLLER".encode()),
    "nothing said": with_charset(840_003, b"", b"M\xdcLLER"),
    "Latin-1 said, UTF-8 meant": with_charset(840_004, b"8859/1", "MÜLLER".encode()),
    "no charset of this world": with_charset(840_005, b"KLINGON", b"M\xdcLLER"),
    "UTF-16 said, ASCII meant": with_charset(840_006, b"UNICODE UTF-16", b"MULLER"),
    "broken UTF-8": with_charset(840_007, b"UNICODE UTF-8", b"\xc3\x28\xf0\x90\x28"),
    "Shift-JIS whose bytes look like delimiters": with_charset(
        840_008, b"ISO IR87", "表ソ能".encode("shift_jis")
    ),
    "a hundred charsets": with_charset(840_009, b"~".join([b"8859/15"] * 100), b"M\xdcLLER"),
}


async def test_a_wrong_charset_changes_no_byte_on_the_way(tmp_path: Path) -> None:
    async with ward(tmp_path) as attacked:
        for name, message in CHARSETS.items():
            codes = await attacked.provoke(framed(message), message, answers=1)
            assert codes in (["CA"], ["CR"], ["CE"]), name
