"""Body encodings on the mesh: dictionaries are there before they are needed, and nothing is lost where one is not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bus.bodies import BodyCodec, BodyPolicy, Dictionaries
from bus.envelope.types import ContentTooLarge, Plain, SealedBatch
from bus.events.bodies import DICTIONARY_BUCKET, Bodies
from bus.events.protocol import NewEvent, ReceivedEvent, Rejected
from bus.events.sizes import max_content_bytes
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Transport
from schemas.errors import Unavailable
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.bodies.kit import FHIR, MESSAGE, RESOURCE, other_dictionary, shipped_for
from tests.unit.bus.events.kit import Bench, LoopClock, Service, event, run_jumping
from tests.unit.bus.events.test_consumption import Scene, play

OTHER = other_dictionary()


def message(number: int = 0, **more: object) -> NewEvent:
    return replace(event(number), body=MESSAGE, **more)  # type: ignore[arg-type]  # a test's own keywords


def foreign() -> BodyCodec:
    """The codec of another version of the program, with a dictionary of its own."""
    return BodyCodec(Dictionaries((OTHER,)))


async def stored(service: Service, seq: int = 1) -> content_pb.Content:
    """The content of a stored message; paper seals do not encrypt."""
    held = await service.transport.store.read("evt-north", seq)
    return content_pb.Content.FromString(pb.Envelope.FromString(held.payload).body)


async def bucket_of(transport: Transport) -> dict[str, bytes]:
    bucket = await transport.key_value(DICTIONARY_BUCKET)
    return {key: (await bucket.get(key)).value or b"" for key in await bucket.keys()}


async def publish_foreign(scene: Scene, *, hide: bool = False, body: bytes = MESSAGE) -> None:
    """A publisher of another version stores one event; its dictionary may get lost afterwards."""
    publisher = await scene.bench.service("emr-new", codec=foreign())
    await publisher.events.publish(replace(event(0), body=body))
    if hide:
        await (await publisher.transport.key_value(DICTIONARY_BUCKET)).delete(OTHER.id.hex())


def test_dictionaries_lie_in_the_mesh_before_the_first_body_uses_one(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        held = await bucket_of(scene.publisher.transport)
        assert held == {
            one.id.hex(): one.raw for one in (shipped_for("hl7v2"), shipped_for("fhir-json"))
        }
        await scene.publisher.events.publish(message())
        content = await stored(scene.publisher)
        assert content.dictionary_id.hex() in held
        assert (content.raw_size, len(content.body) < len(MESSAGE) / 2) == (len(MESSAGE), True)
        await asyncio.sleep(1)
        assert scene.bodies == [MESSAGE]

    play(tmp_path, script)


def test_events_of_each_kind_arrive_as_they_were_sent(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        sent = [
            event(0),
            message(),
            replace(event(1), type=FHIR, body=RESOURCE),
            replace(event(2), type="text/xml", body=b"<a>example</a>" * 100),
            replace(event(3), type="application/pdf", body=MESSAGE),
            replace(event(4), body=b""),
            replace(event(5), body=MESSAGE * 200),
        ]
        await asyncio.gather(*(scene.publisher.events.publish(one) for one in sent))
        await asyncio.sleep(2)
        assert scene.bodies == [one.body for one in sent]
        assert [one.type for one in scene.seen] == [one.type for one in sent]
        encodings = [(await stored(scene.publisher, seq)).encoding for seq in range(1, 8)]
        assert encodings == [1, 3, 3, 2, 1, 1, 2]

    play(tmp_path, script)


def test_a_dictionary_of_another_version_is_fetched_once_and_kept(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        await publish_foreign(scene)
        await publish_foreign(scene, hide=True)
        await asyncio.sleep(5)
        assert scene.bodies == [MESSAGE, MESSAGE]
        assert scene.bench.counters.get("dictionary_learned") == 1

    play(tmp_path, script)


def test_a_missing_dictionary_is_waited_for_and_the_event_worked_when_it_comes(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        await publish_foreign(scene, hide=True)
        await asyncio.sleep(0.15)
        assert scene.bodies == []
        bucket = await scene.publisher.transport.key_value(DICTIONARY_BUCKET)
        await bucket.put(OTHER.id.hex(), OTHER.raw)
        await asyncio.sleep(5)
        assert scene.bodies == [MESSAGE]
        assert await scene.dead() == []

    play(tmp_path, script)


def test_an_event_whose_dictionary_never_comes_steps_aside_and_is_replayed_when_it_is_there(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        await publish_foreign(scene, hide=True)
        await scene.publisher.events.publish(message())
        await asyncio.sleep(60)
        assert scene.bodies == [MESSAGE], "the lane goes on"
        (letter,) = await scene.dead()
        assert letter.reason == "bad_body:dictionary_missing"
        assert letter.envelope_bytes > 0
        assert scene.consumption.stats().refused_envelopes == 1
        bucket = await scene.publisher.transport.key_value(DICTIONARY_BUCKET)
        await bucket.put(OTHER.id.hex(), OTHER.raw)
        done = await scene.letters.replay([letter.seq], reason="the dictionary is back")
        assert done.ordered == (letter.seq,)
        await asyncio.sleep(5)
        assert scene.bodies == [MESSAGE, MESSAGE]
        assert scene.seen[-1].replayed

    play(tmp_path, script)


def test_another_dictionary_in_its_place_is_as_good_as_none_and_counted(tmp_path: Path) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        await publish_foreign(scene, hide=True)
        bucket = await scene.publisher.transport.key_value(DICTIONARY_BUCKET)
        await bucket.put(OTHER.id.hex(), shipped_for("hl7v2").raw)
        await asyncio.sleep(60)
        assert scene.bodies == []
        assert [letter.reason for letter in await scene.dead()] == ["bad_body:dictionary_missing"]
        assert scene.bench.counters.get("dictionary_refused") > 0

    play(tmp_path, script)


def test_an_event_waits_as_long_as_the_bucket_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        away = True
        fetch = Bodies.fetch

        async def maybe(self: Bodies, dictionary_id: bytes) -> bool:
            if away:
                raise Unavailable("the bucket is away")
            return await fetch(self, dictionary_id)

        monkeypatch.setattr(Bodies, "fetch", maybe)
        await publish_foreign(scene)
        await asyncio.sleep(3600)
        assert (scene.bodies, await scene.dead()) == ([], [])
        away = False
        await asyncio.sleep(60)
        assert scene.bodies == [MESSAGE]

    play(tmp_path, script)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [("raw_size", "size_mismatch"), ("encoding", "unknown_encoding"), ("body", "malformed")],
)
def test_a_lying_body_is_refused_counted_and_becomes_a_dead_letter_and_its_sender_is_told(
    tmp_path: Path, spoil: str, reason: str
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        seal = scene.publisher.seals.seal

        def lying(plains: Sequence[Plain]) -> SealedBatch:
            content = plains[0].content
            if spoil == "raw_size":
                content.raw_size += 1
            elif spoil == "encoding":
                content.encoding = content_pb.BodyEncoding.ValueType(7)
            else:
                content.body = content.body[:-3]
            return seal(plains)

        scene.publisher.seals.seal = lying  # type: ignore[method-assign]
        stored_event = await scene.publisher.events.publish(message(receipts_from=("his",)))
        receipt = await scene.publisher.events.await_receipt(
            stored_event.message_id, "his", timeout_s=20
        )
        assert (receipt.outcome.name, receipt.reason) == ("REFUSED", "bad_body")
        scene.publisher.seals.seal = seal  # type: ignore[method-assign]
        await scene.publisher.events.publish(message(1))
        await asyncio.sleep(5)
        assert scene.bodies == [MESSAGE], "the lane goes on"
        (letter,) = await scene.dead()
        assert letter.reason == f"bad_body:{reason}"
        assert letter.message_id == stored_event.message_id
        assert "EXAMPLE" not in repr(letter)
        assert scene.consumption.stats().refused_envelopes == 1

    play(tmp_path, script)


def test_a_compressed_event_is_retried_becomes_a_dead_letter_and_is_replayed(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        async def reject(received: ReceivedEvent) -> None:
            if not received.replayed:
                raise ValueError if received.attempt < 3 else Rejected("no")

        scene.script = reject
        await scene.begin()
        await scene.publisher.events.publish(message())
        await asyncio.sleep(10)
        (letter,) = await scene.dead()
        assert letter.attempts == 3
        assert letter.envelope_bytes < len(MESSAGE), "it is kept as it was sealed"
        await scene.letters.replay([letter.seq], reason="again")
        await asyncio.sleep(5)
        assert scene.bodies == [MESSAGE] * 4

    play(tmp_path, script)


def test_nothing_is_compressed_where_that_is_off_and_what_others_compressed_is_read(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        off = await scene.bench.service(
            "emr-off", codec=BodyCodec(policy=BodyPolicy(compress=False))
        )
        await off.events.publish(message())
        assert (await stored(off)).encoding == content_pb.BODY_ENCODING_IDENTITY
        await asyncio.sleep(1)
        assert scene.bodies == [MESSAGE]

    play(tmp_path, script)


def test_without_the_bucket_bodies_are_compressed_without_dictionary_until_it_is_back() -> None:
    class Broken:
        """A transport whose buckets are away."""

        def __init__(self, transport: Transport) -> None:
            self.transport = transport
            self.away = True

        async def key_value(self, bucket: str, **more: object) -> object:
            if self.away:
                raise Unavailable("no bucket")
            return await self.transport.key_value(bucket)

    async def main() -> None:
        bench = Bench(MemoryBroker(clock=LoopClock()), Path())
        broken = Broken(await bench.broker.connect(name="x"))
        bodies = Bodies(broken, bench.counters)  # type: ignore[arg-type]  # all that it needs
        await bodies.start()
        assert (
            bodies.codec.encode("hl7v2/ADT^A01", MESSAGE).encoding == content_pb.BODY_ENCODING_ZSTD
        )
        assert bench.counters.get("dictionary_not_offered") == 1
        broken.away = False
        await asyncio.sleep(61)
        encoded = bodies.codec.encode("hl7v2/ADT^A01", MESSAGE)
        assert encoded.encoding == content_pb.BODY_ENCODING_ZSTD_DICTIONARY
        await bodies.stop()

    run_jumping(main())


def test_whether_an_event_is_accepted_does_not_depend_on_how_well_it_compresses(
    tmp_path: Path,
) -> None:
    async def script(scene: Scene) -> None:
        await scene.begin()
        largest = max_content_bytes(scene.publisher.transport.max_payload)
        with pytest.raises(ContentTooLarge, match=r"max_payload|max_envelope_bytes"):
            await scene.publisher.events.publish(replace(event(0), body=bytes(largest)))
        large = bytes(largest - 4096)
        await scene.publisher.events.publish(replace(event(0), body=large))
        await asyncio.sleep(1)
        assert scene.bodies == [large]

    play(tmp_path, script)
