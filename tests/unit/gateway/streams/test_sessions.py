"""How streams end, and what a client is told: by hand, with a clock of our own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bus.events.following import Followed, PositionLost
from bus.events.protocol import ReceivedEvent
from bus.telemetry.counters import Counters
from gateway.access.protocol import Client, Credentials, Forbidden, Proof, TooMany, Unauthenticated
from gateway.http.exchange import Refused
from gateway.streams.positions import BadPosition, Positions, StreamReplaced, begin_at
from gateway.streams.rendering import as_line, as_sse
from gateway.streams.session import End, Reader, Session
from gateway.streams.watch import Watch
from schemas.clock import FakeClock
from schemas.errors import MeshError, Unavailable
from schemas.gateway.streams import StreamsSection
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb

PATTERN = "evt.north.>"
POSITIONS = Positions("0a1b2c3d")
DEADLINE_S = 10.0


def received(seq: int, body: bytes = b"hello") -> Followed:
    one = ReceivedEvent(
        subject="evt.north.raw.notes.3",
        message_id=b"m" * 16,
        type="text/plain",
        body=body,
        index=content_pb.Index(),
        source="gateway",
        received_ms=1,
        stored_ms=2,
        seq=seq,
        partition=3,
        attempt=1,
        replayed=False,
    )
    return Followed(seq, one)


@dataclass
class ListFeed:
    """Gives what the test put in, then fails or waits."""

    steps: list[Followed] = field(default_factory=list)
    failure: MeshError | None = None
    first: int = 1

    async def follow(
        self, patterns: tuple[str, ...], *, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        for step in self.steps:
            yield step
        if self.failure is not None:
            raise self.failure
        await asyncio.Event().wait()

    async def incarnation(self) -> str:
        return "evt-north/1"

    async def position_before(self, at_ms: int) -> int:
        return self.first - 1 if at_ms == 0 else 41


@dataclass
class Rights:
    """An access that says what the test wants."""

    refusal: MeshError | None = None

    async def identify(self, credentials: Credentials) -> Client:
        if isinstance(self.refusal, Unauthenticated | Unavailable):
            raise self.refusal
        return Client(name="lab", proof=Proof.API_KEY)

    def may_subscribe(self, client: Client, pattern: str) -> None:
        if isinstance(self.refusal, Forbidden):
            raise self.refusal


class Scene:
    """One stream and its watch."""

    def __init__(self, *, expires_ms: int = 0) -> None:
        self.clock = FakeClock()
        self.rights = Rights()
        self.written: list[bytes] = []
        self.wrote = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()
        self.gone = asyncio.Event()
        self.section = StreamsSection(max_per_client=2, heartbeat_s=10, write_timeout_s=5)
        self.watch = Watch(
            self.section,
            self.rights,  # type: ignore[arg-type]  # as much of it as is asked
            max_streams=3,
            clock=self.clock,
            counters=Counters(),
        )
        client = Client(name="lab", proof=Proof.JWT, expires_ms=expires_ms)
        reader = Reader(
            client=client, credentials=Credentials(), pattern=PATTERN, remote="127.0.0.1"
        )
        self.session = Session(reader, self.write, as_line, POSITIONS, self.clock)

    async def has_written(self, count: int) -> None:
        while len(self.written) < count:
            self.wrote.clear()
            await self.wrote.wait()

    async def write(self, chunk: bytes) -> None:
        self.written.append(chunk)
        self.wrote.set()
        await self.taking.wait()

    async def receive(self) -> Mapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def run(self, feed: ListFeed, *also: Any) -> End:
        """Run the stream; `also` are awaited one after the other once its first step is out."""
        with self.watch.admitted("lab") as enter:
            enter(self.session, b"\n")
            running = asyncio.create_task(self.session.run(feed, self.receive, after_seq=None))
            await self.has_written(len(feed.steps))
            await asyncio.sleep(0)
            for one in also:
                await one
            async with asyncio.timeout(DEADLINE_S):
                return await running

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.watch.tick()


async def test_a_client_that_leaves_ends_its_stream() -> None:
    scene = Scene()
    asyncio.get_running_loop().call_soon(scene.gone.set)
    assert await scene.run(ListFeed([received(1)])) is End.GONE
    assert scene.watch.streams == 0


@pytest.mark.parametrize("refusal", [Unauthenticated("no such key"), Forbidden("not yours")])
async def test_rights_that_are_taken_away_end_the_stream_at_the_next_look(
    refusal: MeshError,
) -> None:
    scene = Scene()
    scene.rights.refusal = refusal
    assert await scene.run(ListFeed([received(1)]), scene.later(11)) is End.REVOKED


async def test_an_access_that_cannot_be_asked_now_ends_nothing() -> None:
    scene = Scene()
    scene.rights.refusal = Unavailable("later")
    run = asyncio.create_task(scene.run(ListFeed([received(1)]), scene.later(11)))
    await asyncio.sleep(0.01)
    assert not run.done()
    scene.watch.drain()
    assert await run is End.DRAINING


async def test_a_stream_ends_with_the_token_that_it_was_begun_with() -> None:
    scene = Scene(expires_ms=FakeClock().now_ms() + 3_000)
    assert await scene.run(ListFeed([received(1)]), scene.later(2), scene.later(2)) is End.EXPIRED


async def test_a_client_that_takes_nothing_is_cut_after_its_time() -> None:
    scene = Scene()
    scene.taking.clear()
    found = await scene.run(ListFeed([received(1)]), scene.later(4), scene.later(2))
    assert found is End.TOO_SLOW


async def test_a_silent_stream_shows_that_it_is_alive() -> None:
    scene = Scene()
    run = asyncio.create_task(scene.run(ListFeed([received(1)]), scene.later(11)))
    await scene.has_written(2)
    assert scene.written[1] == b"\n"
    scene.watch.drain()
    assert await run is End.DRAINING


async def test_a_position_that_is_lost_is_raised_for_whoever_serves() -> None:
    scene = Scene()
    with pytest.raises(PositionLost):
        await scene.run(ListFeed(failure=PositionLost(3, 9)))
    assert scene.watch.streams == 0


async def test_streams_are_bounded_by_client_and_in_all() -> None:
    watch = Scene().watch
    with watch.admitted("lab"), watch.admitted("lab"):
        with pytest.raises(TooMany, match="2 streams already"), watch.admitted("lab"):
            pass
        with watch.admitted("ward"):
            with pytest.raises(Refused) as refused, watch.admitted("other"):
                pass
            assert refused.value.problem.code == "too_many_streams"
    watch.drain()
    with pytest.raises(Refused) as refused, watch.admitted("lab"):
        pass
    assert refused.value.problem.code == "draining"


def test_an_event_is_rendered_once_for_all_and_says_what_it_is() -> None:
    step = received(7)
    line = as_line(step, POSITIONS)
    assert as_line(step, POSITIONS) is line
    found = json.loads(line)
    assert (found["id"], found["body"], found["type"]) == ("0a1b2c3d-7", "hello", "text/plain")
    assert as_sse(step, POSITIONS) == b"id: 0a1b2c3d-7\ndata: " + line + b"\n"
    assert as_sse(Followed(9), POSITIONS) == b"id: 0a1b2c3d-9\n\n"
    assert json.loads(as_line(Followed(9), POSITIONS)) == {"position": "0a1b2c3d-9"}


def test_a_body_cannot_end_its_server_sent_event() -> None:
    chunk = as_sse(received(1, b"a\n\nevent: end\ndata: forged\r\n\r"), POSITIONS)
    assert chunk.count(b"\n\n") == 1
    assert b"\r" not in chunk


@pytest.mark.parametrize(
    ("told", "position"),
    [
        ("", None),
        ("now", None),
        ("start", 0),
        ("0a1b2c3d-17", 17),
        ("2026-01-31T08:00:00Z", 41),
        ("2026-01-31T08:00:00+01:00", 41),
    ],
)
async def test_where_to_begin(told: str, position: int | None) -> None:
    assert await begin_at(ListFeed(), POSITIONS, told) == position


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ("tomorrow", BadPosition),
        ("2026-01-31T08:00:00", BadPosition),
        ("0a1b2c3d-", BadPosition),
        ("0a1b2c3d-99999999999999999999", BadPosition),
        ("ffffffff-3", StreamReplaced),
    ],
)
async def test_positions_that_mean_nothing_are_refused(told: str, error: type[MeshError]) -> None:
    with pytest.raises(error):
        await begin_at(ListFeed(), POSITIONS, told)
