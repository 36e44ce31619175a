"""What a consumption does with its messages: retries, waits, filters, dead letters, receipts, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bus.envelope.types import Reason, Refused
from bus.events.protocol import (
    ConsumeSpec,
    Consumption,
    Outcome,
    Receipt,
    ReceivedEvent,
    Rejected,
    RetryPolicy,
)
from bus.events.replays import DeadLetters, DeadLetterSummary
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import NoResponders, Outgoing, StreamFull
from schemas.errors import (
    ConfigurationError,
    DeadlineExceeded,
    MeshError,
    PermissionRefused,
    Unavailable,
)
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.events.kit import Bench, LoopClock, Service, event, run_jumping

PATTERNS = ("evt.north.raw.>",)
QUICK = RetryPolicy(max_attempts=3, first_delay_s=0.1, longest_delay_s=1.0)


class RefusedByPeer(Rejected):
    code = "refused_by_peer"

    def __init__(self, answer: bytes) -> None:
        super().__init__("the peer said no")
        self.answer = answer


class Scene:
    """A publisher, a consumer with a script, an operator."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(MemoryBroker(clock=LoopClock()), folder)
        self.seen: list[ReceivedEvent] = []
        self.script: Callable[[ReceivedEvent], Awaitable[Receipt | None]] | None = None

    async def begin(self, **spec: object) -> None:
        self.publisher = await self.bench.service("emr-in")
        self.operator = await self.bench.service("operator")
        self.letters: DeadLetters = self.operator.events.dead_letters()
        await self.consume(**spec)

    async def consume(self, **spec: object) -> None:
        self.consumer: Service = await self.bench.service("his-out")
        wanted = {"name": "his", "patterns": PATTERNS, "retry": QUICK, **spec}
        self.consumption: Consumption = await self.consumer.events.consume(
            ConsumeSpec(**wanted),  # type: ignore[arg-type]  # a test's own keywords
            self.handle,
        )

    async def handle(self, received: ReceivedEvent) -> Receipt | None:
        self.seen.append(received)
        return await self.script(received) if self.script is not None else None

    @property
    def bodies(self) -> list[bytes]:
        return [received.body for received in self.seen]

    async def dead(self) -> list[DeadLetterSummary]:
        return [one async for one in self.letters.list() if isinstance(one, DeadLetterSummary)]

    async def floor(self) -> int:
        consumers = await self.consumer.transport.administration.consumers("evt-north")
        return consumers["his"].ack_floor


def play(folder: Path, script: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        await script(Scene(folder))

    run_jumping(main())


def failing(body: bytes, error: Exception) -> Callable[[ReceivedEvent], Awaitable[None]]:
    async def handler(received: ReceivedEvent) -> None:
        if received.body == body:
            raise error

    return handler


def test_a_poison_message_steps_aside_after_its_attempts_and_the_lane_goes_on(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        scene.script = failing(b"0:1", KeyError("MUSTERMANN^ERIKA"))
        await scene.begin()
        for number in range(3):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(10)
        assert scene.bodies == [b"0:0", b"0:1", b"0:1", b"0:1", b"0:2"]
        assert [received.attempt for received in scene.seen[1:4]] == [1, 2, 3]
        (letter,) = await scene.dead()
        assert (letter.consumer, letter.reason, letter.attempts) == ("his", "KeyError", 3)
        assert (letter.stream_seq, letter.reported_by) == (2, "his-out")
        assert letter.last_attempt_ms > letter.first_attempt_ms
        assert letter.stack.startswith("tests.unit.bus.events.test_consumption:")
        assert "MUSTERMANN" not in repr(letter)
        stats = scene.consumption.stats()
        assert (stats.delivered, stats.dead_lettered, stats.retried) == (2, 1, 2)
        assert await scene.floor() == 3

    play(tmp_path, script)


def test_a_rejected_message_becomes_a_dead_letter_at_once(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        scene.script = failing(b"0:0", RefusedByPeer(b"MSA|AR"))
        await scene.begin()
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(1)
        assert scene.bodies == [b"0:0"]
        assert [letter.reason for letter in await scene.dead()] == ["refused_by_peer"]

    play(tmp_path, script)


@pytest.mark.parametrize("lanes", [1, 8])
def test_a_dead_destination_is_waited_for_in_order_and_without_dead_letters(
    tmp_path: Path, lanes: int
) -> None:
    async def script(scene: Scene) -> None:
        away = True
        calls = 0

        async def handler(received: ReceivedEvent) -> None:
            nonlocal calls
            calls += 1
            if away:
                raise Unavailable("his is away")
            done.append(received.body)

        done: list[bytes] = []
        scene.script = handler
        await scene.begin(lanes=lanes, max_in_flight=16, retry=RetryPolicy())
        for number in range(100):
            await scene.publisher.events.publish(event(number, partition=number % 4))
        await asyncio.sleep(3600)
        assert calls <= min(lanes, 4) * (3600 / 24 + 10), "waiting costs next to nothing"
        assert scene.consumption.stats().in_flight == 16
        assert scene.consumption.stats().oldest_wait_s > 3500
        assert scene.consumption.stats().seconds_to_drain is None
        assert await scene.dead() == []
        away = False
        await asyncio.sleep(60)
        for partition in range(4):
            mine = [body for body in done if body.startswith(b"%d:" % partition)]
            assert mine == [f"{partition}:{n}".encode() for n in range(partition, 100, 4)]

    play(tmp_path, script)


def test_what_the_filter_turns_down_is_acknowledged_and_counted(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin(accept=lambda received: received.body != b"0:1")
        for number in range(3):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(1)
        assert scene.bodies == [b"0:0", b"0:2"]
        assert scene.consumption.stats().filtered == 1
        assert await scene.floor() == 3

    play(tmp_path, script)


def test_never_giving_up_lets_the_lane_wait(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        scene.script = failing(b"0:0", ValueError("no"))
        await scene.begin(retry=RetryPolicy(max_attempts=0, longest_delay_s=1.0))
        for number in range(2):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(600)
        assert set(scene.bodies) == {b"0:0"}
        assert await scene.dead() == []

    play(tmp_path, script)


def test_a_dead_letter_is_stored_before_its_original_is_acknowledged(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        scene.script = failing(b"0:0", Rejected("no"))
        await scene.begin()
        await scene.publisher.events.publish(event(0))
        scene.bench.broker.faults.refuse_stores(Unavailable("the disk is away"))
        await asyncio.sleep(100)
        assert (await scene.floor(), await scene.dead()) == (0, [])
        assert scene.bodies == [b"0:0"], "the handler is not asked again"
        await scene.consumer.die()
        scene.bench.broker.faults.heal()
        await scene.consume()
        await asyncio.sleep(10)
        assert len(await scene.dead()) == 1
        assert await scene.floor() == 1

    play(tmp_path, script)


def test_a_message_too_large_since_the_limit_was_lowered_stays_in_its_stream_and_can_be_replayed(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        body = os.urandom(100_000)  # nothing compresses it
        scene.script = failing(body, Rejected("no"))
        await scene.begin()
        scene.bench.broker.disconnect_all()
        publishing = asyncio.create_task(
            scene.publisher.events.publish(replace(event(0), body=body))
        )
        await asyncio.sleep(1)
        scene.bench.broker.reconnect_all()
        await publishing
        scene.bench.broker.max_payload = 50_000
        await asyncio.sleep(5)
        (letter,) = await scene.dead()
        assert letter.envelope_bytes == 0
        # the order is as large as the letter would have been: it is refused, and the dead letter stays
        replayed = await scene.letters.replay([letter.seq], reason="again")
        assert replayed.failed == {letter.seq: "payload_too_large"}
        scene.bench.broker.max_payload = 8 << 20
        scene.script = None
        replayed = await scene.letters.replay([letter.seq], reason="again")
        assert replayed.ordered == (letter.seq,)
        await asyncio.sleep(5)
        assert scene.bodies == [body, body]

    play(tmp_path, script)


def test_a_receipt_too_large_for_the_carrier_goes_without_the_answer(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        async def verbose(received: ReceivedEvent) -> Receipt:
            return Receipt(
                message_id=received.message_id,
                consumer="his",
                outcome=Outcome.APPLIED,
                answer=bytes(300_000),
            )

        scene.bench.broker.max_payload = 256 << 10
        scene.script = verbose
        await scene.begin()
        stored = await scene.publisher.events.publish(event(0, receipts_from=("his",)))
        receipt = await scene.publisher.events.await_receipt(stored.message_id, "his", timeout_s=10)
        assert (receipt.outcome, receipt.answer) == (Outcome.APPLIED, b"")

    play(tmp_path, script)


@pytest.mark.parametrize("lanes", [1, 8])
def test_a_replay_is_worked_once_however_often_it_is_ordered(tmp_path: Path, lanes: int) -> None:
    async def script(scene: Scene) -> None:
        scene.script = failing(b"3:0", Rejected("no"))
        await scene.begin(lanes=lanes)
        await scene.publisher.events.publish(event(0, partition=3))
        await asyncio.sleep(1)
        (letter,) = await scene.dead()
        scene.script = None
        scene.seen.clear()
        first, second = await asyncio.gather(
            scene.letters.replay([letter.seq], reason="fixed"),
            scene.letters.replay([letter.seq], reason="fixed"),
        )
        third = await scene.letters.replay([letter.seq], reason="fixed")
        assert {*first.ordered, *second.ordered} == {letter.seq}
        assert third.gone == (letter.seq,)
        await asyncio.sleep(1)
        (received,) = scene.seen
        assert (received.body, received.replayed, received.partition) == (b"3:0", True, 3)
        assert received.subject == "evt.north.raw.hl7v2.3"
        assert await scene.dead() == []

    play(tmp_path, script)


def test_all_dead_letters_of_a_consumer_are_replayed_in_their_order(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        async def handler(received: ReceivedEvent) -> None:
            raise Rejected("not today")

        scene.script = handler
        await scene.begin()
        for number in range(40):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(5)
        assert [one.stream_seq async for one in scene.letters.list("his")] == list(range(1, 41))  # type: ignore[union-attr]
        assert [one async for one in scene.letters.list("other")] == []
        shown = await scene.letters.show(1)
        assert isinstance(shown, DeadLetterSummary)
        scene.script, scene.seen = None, []
        replayed = await scene.letters.replay_all("his", reason="fixed")
        assert len(replayed.ordered) == 40
        await asyncio.sleep(5)
        assert scene.bodies == [f"0:{n}".encode() for n in range(40)]

    play(tmp_path, script)


def test_a_stored_event_is_replayed_to_one_destination_only(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        other = await scene.bench.service("archive")
        seen_by_other: list[bytes] = []

        async def archive(received: ReceivedEvent) -> None:
            seen_by_other.append(received.body)

        await other.events.consume(ConsumeSpec(name="archive", patterns=PATTERNS), archive)
        stored = await scene.publisher.events.publish(event(0))
        await asyncio.sleep(1)
        await scene.letters.replay_event(stored.seq, reason="lost there", to="his")
        await asyncio.sleep(1)
        assert (scene.bodies, seen_by_other) == ([b"0:0", b"0:0"], [b"0:0"])
        assert scene.seen[1].replayed

    play(tmp_path, script)


def test_an_order_for_what_a_consumer_does_not_read_is_refused(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin(patterns=("evt.north.raw.dicom.>",))
        stored = await scene.publisher.events.publish(event(0))
        await scene.letters.replay_event(stored.seq, reason="wrong one", to="his")
        await asyncio.sleep(1)
        assert scene.seen == []
        assert [letter.reason for letter in await scene.dead()] == ["not_for_this_consumer"]

    play(tmp_path, script)


def test_receipts_tell_what_became_of_a_message_now_or_before(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        async def handler(received: ReceivedEvent) -> Receipt | None:
            match received.body:
                case b"0:0":
                    return Receipt(
                        message_id=received.message_id,
                        consumer="his",
                        outcome=Outcome.APPLIED,
                        answer=b"MSA|AA",
                    )
                case b"0:1":
                    raise RefusedByPeer(b"MSA|AR")
                case _:
                    return None

        scene.script = handler
        await scene.begin(accept=lambda received: received.body != b"0:3")
        outcomes = []
        for number in range(4):
            message_id = bytes([number]) * 16
            wanted = event(number, message_id=message_id, receipts_from=("his",))
            waiting = asyncio.create_task(
                scene.publisher.events.await_receipt(message_id, "his", timeout_s=20)
            )
            await scene.publisher.events.publish(wanted)
            now = await waiting
            # resent because its sender did not hear the answer: the same truth again
            again = await scene.publisher.events.publish(wanted)
            assert again.duplicate
            before = await scene.publisher.events.await_receipt(message_id, "his", timeout_s=20)
            assert now == before
            outcomes.append((now.outcome, now.answer, now.reason))
        assert outcomes == [
            (Outcome.APPLIED, b"MSA|AA", ""),
            (Outcome.REFUSED, b"MSA|AR", "refused_by_peer"),
            (Outcome.DELIVERED, b"", ""),
            (Outcome.REFUSED, b"", "filtered"),
        ]

    play(tmp_path, script)


def test_no_receipt_in_time_is_said_so_and_none_is_sent_unasked(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        stored = await scene.publisher.events.publish(event(0))
        with pytest.raises(DeadlineExceeded, match="no receipt of his"):
            await scene.publisher.events.await_receipt(stored.message_id, "his", timeout_s=30)
        state = await scene.publisher.transport.store.stream_state("rcp-north")
        assert state.messages == 0

    play(tmp_path, script)


def test_a_receipt_that_cannot_be_stored_does_not_make_the_handler_run_twice(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        message_id = b"r" * 16
        await scene.publisher.events.publish(
            event(0, message_id=message_id, receipts_from=("his",))
        )
        scene.bench.broker.faults.refuse_stores(Unavailable("away"))
        await asyncio.sleep(60)
        assert await scene.floor() == 0
        scene.bench.broker.faults.heal()
        receipt = await scene.publisher.events.await_receipt(message_id, "his", timeout_s=30)
        assert receipt.outcome is Outcome.DELIVERED
        assert scene.bodies == [b"0:0"]

    play(tmp_path, script)


async def inject(scene: Scene, subject: str, payload: bytes) -> None:
    """What a hostile broker does: put bytes into the stream."""
    scene.injected = getattr(scene, "injected", 0) + 1  # type: ignore[attr-defined]
    message = Outgoing(subject=subject, payload=payload, message_id=f"evil-{scene.injected}")  # type: ignore[attr-defined]
    (answer,) = await scene.operator.transport.store.store([message], timeout_s=5)
    assert not isinstance(answer, MeshError)


@pytest.mark.parametrize("lanes", [1, 8])
def test_replayed_rerouted_and_tampered_envelopes_are_refused_and_block_nobody(
    tmp_path: Path, lanes: int
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin(lanes=lanes)
        await scene.publisher.events.publish(event(0))
        original = (await scene.operator.transport.store.read("evt-north", 1)).payload
        await inject(scene, "evt.north.raw.hl7v2.0", original)
        await inject(scene, "evt.north.raw.hl7v2.9", original)
        tampered = pb.Envelope.FromString(original)
        tampered.body += b"\x12\x01x"
        await inject(scene, "evt.north.raw.hl7v2.0", tampered.SerializeToString())
        await inject(scene, "ctl.north.replay.his", original)
        await scene.publisher.events.publish(event(1))
        await asyncio.sleep(30)
        assert scene.bodies == [b"0:0", b"0:1"]
        refused = sorted(letter.reason for letter in await scene.dead())
        assert refused == [
            "envelope_refused:bad_signature",
            "envelope_refused:replayed",
            "envelope_refused:subject_mismatch",
            "envelope_refused:subject_mismatch",
        ]
        assert scene.consumption.stats().refused_envelopes == 4
        assert scene.bench.counters.get("envelope_refused", who="his") == 4

    play(tmp_path, script)


def test_a_replay_is_refused_after_a_restart_and_a_kill_too(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(1)
        await scene.consumer.die()
        original = (await scene.operator.transport.store.read("evt-north", 1)).payload
        await inject(scene, "evt.north.raw.hl7v2.0", original)
        await scene.consume()
        await asyncio.sleep(10)
        assert scene.bodies == [b"0:0"]
        assert [letter.reason for letter in await scene.dead()] == ["envelope_refused:replayed"]

    play(tmp_path, script)


def test_a_key_package_that_never_existed_is_given_up_after_a_few_looks(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(1)
        scene.bench.vault.packages.clear()
        stranger = await scene.bench.service("stranger")
        await stranger.events.publish(event(1))
        scene.bench.vault.packages.clear()
        await scene.publisher.events.publish(event(2))
        await asyncio.sleep(60)
        assert scene.bodies == [b"0:0", b"0:2"]
        (letter,) = await scene.dead()
        assert letter.reason == "envelope_refused:key_package_missing"

    play(tmp_path, script)


def test_what_passes_is_waited_for(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        openings = scene.consumer.seals.openings
        for opening in openings:
            opening.stale = True
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(600)
        assert scene.seen == []
        scene.bench.vault.failure = Unavailable("no buckets")
        for opening in openings:
            opening.stale = False
        await asyncio.sleep(600)
        assert scene.seen == []
        scene.bench.vault.failure = None
        await asyncio.sleep(60)
        assert scene.bodies == [b"0:0"]
        assert await scene.dead() == []

    play(tmp_path, script)


@pytest.mark.parametrize(
    "failure", [Unavailable("away"), PermissionRefused("no"), NoResponders("no quorum")]
)
def test_nothing_is_dead_lettered_while_the_buckets_cannot_be_asked(
    tmp_path: Path, failure: MeshError
) -> None:
    async def script(scene: Scene) -> None:
        vault = scene.bench.vault
        await scene.begin(lanes=8, max_in_flight=32)
        for number in range(100, 103):
            vault.failure = None
            await scene.publisher.events.publish(event(number, partition=number % 8))
            vault.failure = failure
            await asyncio.sleep(300)
        vault.failure = None
        await asyncio.sleep(120)
        assert {f"{n % 8}:{n}".encode() for n in range(100, 103)} <= set(scene.bodies)
        assert await scene.dead() == []
        assert scene.consumption.stats().refused_envelopes == 0
        assert await scene.floor() == 3

    play(tmp_path, script)


@pytest.mark.parametrize("reason", [Reason.DIRECTORY_STALE, Reason.UNKNOWN_SIGNER])
def test_a_package_whose_signer_is_not_known_yet_is_waited_for(
    tmp_path: Path, reason: Reason
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        scene.bench.vault.signer = Refused(reason, "its certificate has not arrived")
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(600 if reason is Reason.DIRECTORY_STALE else 0.5)
        scene.bench.vault.signer = None
        await asyncio.sleep(60)
        assert scene.bodies == [b"0:0"]
        assert await scene.dead() == []

    play(tmp_path, script)


def test_a_signer_that_never_existed_is_given_up_after_a_few_looks(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        scene.bench.vault.signer = Refused(Reason.UNKNOWN_SIGNER, "no certificate")
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(60)
        scene.bench.vault.signer = None
        (letter,) = await scene.dead()
        assert letter.reason == "envelope_refused:key_package_missing"

    play(tmp_path, script)


def test_a_copied_sender_is_counted_and_failed_publishes_are_not(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        scene.bench.broker.faults.refuse_stores(StreamFull("full"), count=2)
        for number in range(5):
            with contextlib.suppress(StreamFull):
                await scene.publisher.events.publish(event(number))
        await asyncio.sleep(1)
        assert len(scene.seen) == 3
        assert scene.consumption.stats().sender_contradictions == 0
        for opening in scene.consumer.seals.openings:
            opening.chain_breaks += 2
        await scene.publisher.events.publish(event(5))
        await asyncio.sleep(1)
        assert scene.consumption.stats().sender_contradictions == 2
        assert scene.bench.counters.get("sender_contradiction") == 2

    play(tmp_path, script)


def slowly(finished: list[bytes]) -> Callable[[ReceivedEvent], Awaitable[None]]:
    """A handler that takes two seconds for each message."""

    async def slow(received: ReceivedEvent) -> None:
        await asyncio.sleep(2)
        finished.append(received.body)

    return slow


def test_drain_works_all_that_was_taken(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        finished: list[bytes] = []
        scene.script = slowly(finished)
        await scene.begin()
        for number in range(4):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(1)
        assert await scene.consumption.drain(timeout_s=30)
        assert finished == [b"0:0", b"0:1", b"0:2", b"0:3"]

    play(tmp_path, script)


def test_drain_breaks_nothing_off_and_says_that_something_is_left(tmp_path: Path) -> None:
    """With six seconds it takes up messages for four of them; the one begun then is finished, and no other begun."""

    async def script(scene: Scene) -> None:
        finished: list[bytes] = []
        scene.script = slowly(finished)
        await scene.begin()
        for number in range(6):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(1)
        assert not await scene.consumption.drain(timeout_s=6)
        assert finished == scene.bodies == [b"0:0", b"0:1", b"0:2"]
        await scene.consumer.events.stop()
        await scene.consume()
        await asyncio.sleep(9)
        assert finished == [b"0:%d" % number for number in range(6)]
        assert await scene.consumption.drain(timeout_s=10)

    play(tmp_path, script)


def test_drain_waits_for_a_retry_and_not_for_a_peer_that_is_away(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        failures: list[Exception] = [
            ConnectionResetError(),
            Unavailable("away"),
            Unavailable("away"),
        ]

        async def failing_at_first(_: ReceivedEvent) -> None:
            if failures:
                raise failures.pop(0)

        scene.script = failing_at_first
        await scene.begin(retry=RetryPolicy(max_attempts=5, first_delay_s=3, longest_delay_s=3))
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(1)
        began = loop.time()
        assert not await scene.consumption.drain(timeout_s=60)
        assert (
            len(scene.seen) == 2
        )  # the counted attempt was waited for; the peer that was away then was not
        assert loop.time() - began < 20

    play(tmp_path, script)


def test_long_work_is_not_delivered_again(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        async def slow(_: ReceivedEvent) -> None:
            await asyncio.sleep(1000)

        async def tick() -> None:
            while True:
                await asyncio.sleep(1)
                scene.bench.broker.tick()

        scene.script = slow
        ticking = asyncio.create_task(tick())
        await scene.begin()
        await scene.publisher.events.publish(event(0))
        await asyncio.sleep(1100)
        ticking.cancel()
        assert scene.bodies == [b"0:0"]
        assert scene.bench.counters.get("delivery_dropped") == 0
        assert await scene.floor() == 1

    play(tmp_path, script)


def test_a_second_reader_of_the_same_place_is_refused(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        with pytest.raises(ConfigurationError, match="one at a time"):
            await scene.consume()

    play(tmp_path, script)


def test_the_ledger_of_a_stream_that_is_gone_is_not_believed(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        for number in range(5):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(30)
        await scene.consumer.die()
        scene.bench.broker = MemoryBroker(clock=LoopClock())
        scene.seen.clear()
        await scene.begin()
        await scene.publisher.events.publish(event(9))
        await asyncio.sleep(1)
        assert scene.bodies == [b"0:9"]
        assert scene.bench.counters.get("ledger_reset") == 1

    play(tmp_path, script)


def test_a_stream_made_again_is_read_from_its_beginning_after_a_restart(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        for number in range(5):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(30)
        await scene.consumer.die()
        scene.bench.broker.delete_stream("evt-north")
        await scene.publisher.events.start()
        for number in range(
            10, 20
        ):  # longer than the old one: its sequences alone do not give it away
            await scene.publisher.events.publish(event(number))
        scene.seen.clear()
        await scene.consume()
        await asyncio.sleep(30)
        assert scene.bodies == [b"0:%d" % number for number in range(10, 20)]
        assert scene.bench.counters.get("ledger_reset") == 1

    play(tmp_path, script)


@pytest.mark.parametrize("count", [3, 20])
def test_a_stream_made_again_under_a_running_reader_is_read_from_its_beginning(
    tmp_path: Path, count: int
) -> None:
    async def script(scene: Scene) -> None:
        scene.script = failing(b"0:9", Rejected("no"))
        await scene.begin()
        for number in range(10):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(30)
        scene.seen.clear()
        scene.bench.broker.delete_stream("evt-north")
        await asyncio.sleep(30)
        await scene.publisher.events.start()
        for _ in range(count - 1):
            await scene.publisher.events.publish(event(10))
        await scene.publisher.events.publish(event(9))
        await asyncio.sleep(30)
        assert scene.bodies == [*[b"0:10"] * (count - 1), b"0:9"]
        letters = [letter.stream_seq for letter in await scene.dead()]
        assert letters == [10, count], "a dead letter of the new stream is a new one"
        assert scene.bench.counters.get("ledger_reset") == 1
        assert await scene.floor() == count

    play(tmp_path, script)


def test_what_is_in_hand_is_finished_before_a_stream_made_again_is_read(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        async def slow(received: ReceivedEvent) -> None:
            await asyncio.sleep(100)
            finished.append(received.body)

        finished: list[bytes] = []
        scene.script = slow
        await scene.begin()
        for number in range(3):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(1)
        scene.bench.broker.delete_stream("evt-north")
        await scene.publisher.events.start()
        for number in range(10, 15):
            await scene.publisher.events.publish(event(number))
        await asyncio.sleep(1000)
        assert finished == [b"0:%d" % number for number in (0, 1, 2, 10, 11, 12, 13, 14)]

    play(tmp_path, script)


def test_a_consumer_of_new_events_never_goes_back_before_its_beginning(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        publisher = await scene.bench.service("emr-in")
        for number in range(5):
            await publisher.events.publish(event(number))
        await scene.begin(deliver_new=True)
        await publisher.events.publish(event(5))
        await asyncio.sleep(1)
        await scene.consumer.die()
        await publisher.events.publish(event(6))
        await scene.consume(deliver_new=True)
        await asyncio.sleep(1)
        assert scene.bodies == [b"0:5", b"0:6"]

    play(tmp_path, script)
