"""`medmesh.gateway.v1.Mesh` with grpcio's client: publish, call, follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from bus.events.following import Followed
from bus.events.protocol import ConsumeSpec, Events, NewEvent, Receipt, ReceivedEvent, StoredEvent
from bus.flow.priority import Priority
from gateway.access.protocol import Client, Deed, Proof
from gateway.grpc.api.line import STORED_KEY
from gateway.grpc.status import CODE_KEY
from schemas.errors import Unavailable
from schemas.fhir import BodyCodec, Encoded, Release, decode, encode
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.gateway.v1 import mesh_pb2 as pb
from schemas.subjects import matches, partition_for
from tests.hospital import eventually
from tests.integration.gateway.grpc_mesh import METADATA, World, gateway
from tests.unit.gateway.grpc.world import TOKEN

PATIENT = b'{"resourceType":"Patient","id":"p1","birthDate":"1970-01-01","multipleBirthInteger":2}'
OBSERVATION = b'{"resourceType":"Observation","status":"final","valueQuantity":{"value":1.10}}'
ADMITTED = "evt.test.patient.admitted"
CODES = grpc.StatusCode


class Api:
    """The four methods, as generated code would have them."""

    def __init__(self, channel: Any) -> None:
        base = "/medmesh.gateway.v1.Mesh/"
        self.publish = channel.unary_unary(
            base + "Publish", pb.PublishRequest.SerializeToString, pb.PublishResponse.FromString
        )
        self.publish_all = channel.stream_unary(
            base + "PublishAll",
            pb.PublishAllRequest.SerializeToString,
            pb.PublishAllResponse.FromString,
        )
        self.request = channel.unary_unary(
            base + "Request", pb.RequestRequest.SerializeToString, pb.RequestResponse.FromString
        )
        self.subscribe = channel.unary_stream(
            base + "Subscribe",
            pb.SubscribeRequest.SerializeToString,
            pb.SubscribeResponse.FromString,
        )


def event(body: bytes = b"MSH|", *, type: str = "hl7v2/ADT^A01", **fields: Any) -> pb.Event:
    fields.setdefault("subject", ADMITTED)
    return pb.Event(content=pb.Content(type=type, body=body), **fields)


async def publish(channel: Any, one: pb.Event, **options: Any) -> pb.Stored:
    options.setdefault("metadata", METADATA)
    answer = await Api(channel).publish(pb.PublishRequest(event=one), timeout=20, **options)
    stored: pb.Stored = answer.stored
    return stored


async def events_of(world: World, count: int) -> list[ReceivedEvent]:
    """What lies in the stream, from its beginning."""
    found: list[ReceivedEvent] = []
    enough = asyncio.Event()

    async def take(one: ReceivedEvent) -> Receipt | None:
        found.append(one)
        if len(found) >= count:
            enough.set()
        return None

    spec = ConsumeSpec(name=f"reader-{count}", patterns=("evt.test.>",))
    consumption = await world.mesh.events.consume(spec, take)
    async with asyncio.timeout(10):
        await enough.wait()
    await consumption.stop()
    return found


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# -- publishing ---------------------------------------------------------------------------------


async def test_an_event_that_is_answered_is_stored_byte_for_byte(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        stored = await publish(
            channel, event(b"\x00\xff raw", key=b"patient-7", received_ms=1_700_000_000_000)
        )
        (found,) = await events_of(world, 1)
        partition = partition_for(world.runtime.site_key, b"patient-7")
        assert found.subject == f"{ADMITTED}.{partition}"
        assert (found.type, found.body) == ("hl7v2/ADT^A01", b"\x00\xff raw")
        assert (found.message_id, found.seq) == (stored.message_id, stored.seq)
        assert found.received_ms == 1_700_000_000_000
        assert world.access.deeds() == [(Deed.WRITE, found.subject, True)]


async def test_the_same_message_id_or_idempotency_key_is_stored_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        one = event(message_id=b"0123456789abcdef", key=b"p")
        first, second = await publish(channel, one), await publish(channel, one)
        assert (first.is_duplicate, second.is_duplicate) == (False, True)
        key = (*METADATA, ("idempotency-key", "form-17"))
        third = await publish(channel, event(key=b"p"), metadata=key)
        fourth = await publish(channel, event(key=b"p"), metadata=key)
        assert (third.is_duplicate, fourth.is_duplicate) == (False, True)
        assert third.message_id == fourth.message_id


async def test_fhir_protobuf_is_stored_as_the_json_that_it_means(tmp_path: Path) -> None:
    encoded = encode(OBSERVATION, Release.R4)
    assert encoded.codec is BodyCodec.PROTOBUF
    async with gateway(tmp_path) as world, world.channel() as channel:
        await publish(
            channel,
            event(encoded.body, type=encoded.content_type, subject="evt.test.result.final"),
        )
        (found,) = await events_of(world, 1)
        assert (found.type, found.body) == ("application/fhir+json", OBSERVATION)


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (event(subject="evt.other.patient.admitted"), CODES.INVALID_ARGUMENT),
        (event(subject="evt.test.patient"), CODES.INVALID_ARGUMENT),
        (event(subject="evt.test.nonsense.admitted"), CODES.INVALID_ARGUMENT),
        (event(subject="evt.test.patient.admitted.64"), CODES.INVALID_ARGUMENT),
        (event(subject="evt.test.patient.*"), CODES.INVALID_ARGUMENT),
        (event(subject="ctl.test.replay.x"), CODES.INVALID_ARGUMENT),
        (event(message_id=b"short"), CODES.INVALID_ARGUMENT),
        (event(type=""), CODES.INVALID_ARGUMENT),
        (
            event(
                b"\xff\xff", type="application/fhir+protobuf; message=medmesh.fhir.r4.v1.Patient"
            ),
            CODES.INVALID_ARGUMENT,
        ),
        (event(type="application/fhir+protobuf; message=evil.Message"), CODES.INVALID_ARGUMENT),
        (pb.Event(), CODES.INVALID_ARGUMENT),
    ],
)
async def test_what_is_no_event_is_refused_and_nothing_is_stored(
    tmp_path: Path, one: pb.Event, code: grpc.StatusCode
) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        assert (await refused(publish(channel, one))).code() is code
        assert (await publish(channel, event())).seq == 1


async def test_publishing_beyond_ones_rights_is_denied_and_recorded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        world.access.publish = ("evt.test.result.>",)
        error = await refused(publish(channel, event(key=b"p")))
        assert error.code() is CODES.PERMISSION_DENIED
        ((deed, what, is_allowed),) = world.access.deeds()
        assert (deed, is_allowed) == (Deed.WRITE, False)
        assert what.startswith(ADMITTED)


async def test_a_stream_is_answered_when_all_of_it_is_stored_in_order(tmp_path: Path) -> None:
    async def every() -> AsyncIterator[pb.PublishAllRequest]:
        for number in range(150):
            patient = b"p%d" % (number % 3)
            yield pb.PublishAllRequest(event=event(b"%d" % number, key=patient))

    async with gateway(tmp_path) as world, world.channel() as channel:
        answer = await Api(channel).publish_all(every(), metadata=METADATA, timeout=30)
        assert len(answer.stored) == 150
        found = await events_of(world, 150)
        by_id = {one.message_id: one for one in found}
        bodies = [int(by_id[one.message_id].body) for one in answer.stored]
        assert bodies == list(range(150))
        for patient in range(3):
            own = [int(one.body) for one in found if int(one.body) % 3 == patient]
            assert own == sorted(own)


@dataclass
class FailingEvents:
    """Refuses one body, once; stores the others in a list."""

    refuses: bytes
    stored: list[bytes] = field(default_factory=list)
    ids: set[bytes] = field(default_factory=set)

    async def publish(self, new: NewEvent, *, timeout_s: float = 30.0) -> StoredEvent:
        await asyncio.sleep(0)
        if new.body == self.refuses:
            self.refuses = b""
            raise Unavailable("the carrier is away")
        is_duplicate = new.message_id in self.ids
        self.ids.add(new.message_id)
        if not is_duplicate:
            self.stored.append(new.body)
        return StoredEvent(
            message_id=new.message_id, stream="s", seq=len(self.stored), duplicate=is_duplicate
        )


async def test_a_stream_that_fails_says_how_far_it_came_and_can_be_sent_again_in_order(
    tmp_path: Path,
) -> None:
    async def every() -> AsyncIterator[pb.PublishAllRequest]:
        for number in range(10):
            yield pb.PublishAllRequest(
                event=event(b"%d" % number, key=b"one patient", message_id=b"%016d" % number)
            )

    failing = FailingEvents(b"6")
    events = cast("Events", failing)
    async with gateway(tmp_path, events=events) as world, world.channel() as channel:
        api = Api(channel)
        error = await refused(api.publish_all(every(), metadata=METADATA, timeout=30))
        assert error.code() is CODES.UNAVAILABLE
        assert dict(error.trailing_metadata())[STORED_KEY] == "6"
        assert failing.stored == [b"%d" % n for n in range(6)]
        await api.publish_all(every(), metadata=METADATA, timeout=30)
        assert failing.stored == [b"%d" % n for n in range(10)]


# -- requests -----------------------------------------------------------------------------------


def ask(value: str = "9", **fields: Any) -> pb.RequestRequest:
    body = StringValue(value=value).SerializeToString()
    content = pb.Content(type="application/x-protobuf", body=body)
    wanted = {"service": "lab", "method": "get_result", "content": content, **fields}
    return pb.RequestRequest(**wanted)


async def test_a_service_is_called_by_its_own_name(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        answer = await Api(channel).request(
            ask(priority=pb.PRIORITY_STAT), metadata=METADATA, timeout=20
        )
        assert answer.content.type == "application/x-protobuf"
        assert StringValue.FromString(answer.content.body).value == "result of 9"
        assert world.seen.calls[0].priority is Priority.STAT


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(service="nobody"), CODES.UNAVAILABLE),
        (ask(service="No.Name"), CODES.INVALID_ARGUMENT),
        (ask(method=""), CODES.INVALID_ARGUMENT),
        (ask(method="other"), CODES.UNIMPLEMENTED),
        (ask(version=100_000), CODES.INVALID_ARGUMENT),
        (ask("none"), CODES.NOT_FOUND),
    ],
)
async def test_a_request_that_cannot_be_answered_says_why(
    tmp_path: Path, request_: pb.RequestRequest, code: grpc.StatusCode
) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        call = Api(channel).request(request_, metadata=METADATA, timeout=20)
        assert (await refused(call)).code() is code


@pytest.mark.parametrize("method", ["Publish", "PublishAll", "Request", "Subscribe"])
async def test_frames_that_are_no_message_of_ours_are_refused(tmp_path: Path, method: str) -> None:
    async with gateway(tmp_path, feed=ListFeed([])) as world, world.channel() as channel:
        path = f"/medmesh.gateway.v1.Mesh/{method}"
        call = channel.stream_stream(path)(iter([b"\xff\xff"]), metadata=METADATA, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [one async for one in call]
        assert caught.value.code() is CODES.INVALID_ARGUMENT


# -- following ----------------------------------------------------------------------------------


def received(seq: int, body: bytes = PATIENT, *, type: str = "application/fhir+json") -> Followed:
    one = ReceivedEvent(
        subject=f"{ADMITTED}.3",
        message_id=b"%016d" % seq,
        type=type,
        body=body,
        index=content_pb.Index(),
        source="emr-in",
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
    """Gives what the test put in, then waits."""

    steps: list[Followed]
    asked: list[tuple[tuple[str, ...], int | None]] = field(default_factory=list)
    closed: int = 0

    async def follow(
        self, patterns: tuple[str, ...], *, after_seq: int | None
    ) -> AsyncGenerator[Followed, None]:
        self.asked.append((patterns, after_seq))
        try:
            for step in self.steps:
                fits = step.event is None or any(matches(p, step.event.subject) for p in patterns)
                if step.seq > (after_seq or 0) and fits:
                    yield step
            await asyncio.Event().wait()
        finally:
            self.closed += 1

    async def incarnation(self) -> str:
        return "evt-test/1"

    async def position_before(self, at_ms: int) -> int:
        return 0


def follow(channel: Any, **fields: Any) -> Any:
    fields.setdefault("patterns", ["evt.test.patient.>"])
    return Api(channel).subscribe(pb.SubscribeRequest(**fields), metadata=METADATA, timeout=30)


async def test_events_are_followed_and_taken_up_again_behind_a_sequence_number(
    tmp_path: Path,
) -> None:
    feed = ListFeed([received(5), Followed(8), received(9)])
    async with gateway(tmp_path, feed=feed) as world, world.channel() as channel:
        call = follow(channel)
        first, life, last = [await call.read() for _ in range(3)]
        assert (first.seq, first.event.content.body) == (5, PATIENT)
        assert (life.seq, life.HasField("event")) == (8, False)
        assert last.event.source == "emr-in"
        call.cancel()
        await eventually(lambda: feed.closed == 1, within_s=5, what="the feed is let go")
        again = follow(channel, after_seq=first.seq)
        assert [(await again.read()).seq for _ in range(2)] == [8, 9]
        assert feed.asked == [(("evt.test.patient.>",), None), (("evt.test.patient.>",), 5)]
        assert world.access.deeds()[0] == (Deed.SUBSCRIBE, "evt.test.patient.>", True)


async def test_fhir_comes_as_protobuf_where_it_is_asked_for_and_without_loss(
    tmp_path: Path,
) -> None:
    odd = b'{"resourceType":"Patient","multipleBirthInteger":-0}'
    feed = ListFeed(
        [
            received(1, OBSERVATION),
            received(2, odd),
            received(3, b"MSH|", type="hl7v2/ADT^A01"),
            received(4, b"{", type="application/fhir+json"),
        ]
    )
    async with gateway(tmp_path, feed=feed) as world, world.channel() as channel:
        call = follow(channel, accept_fhir=pb.FHIR_FORM_PROTOBUF)
        one, exact, other, broken = [(await call.read()).event.content for _ in range(4)]
        assert one.type == "application/fhir+protobuf; message=medmesh.fhir.r4.v1.Observation"
        message = one.type.partition("message=")[2]
        assert decode(Encoded(BodyCodec.PROTOBUF, one.body, message)) == OBSERVATION
        assert (exact.type, exact.body) == ("application/fhir+json", odd)
        assert (other.type, other.body) == ("hl7v2/ADT^A01", b"MSH|")
        assert (broken.type, broken.body) == ("application/fhir+json", b"{")


@pytest.mark.parametrize(
    "patterns",
    [[], ["evt.test.>"] * 17, ["evt.other.>"], [">"], ["ctl.test.>"], ["evt.test.Patient.>"]],
)
async def test_patterns_beyond_the_sites_events_are_refused(
    tmp_path: Path, patterns: list[str]
) -> None:
    async with gateway(tmp_path, feed=ListFeed([])) as world, world.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await follow(channel, patterns=patterns).read()
        assert caught.value.code() is CODES.INVALID_ARGUMENT


async def test_a_pattern_beyond_ones_rights_is_denied(tmp_path: Path) -> None:
    feed = ListFeed([received(1)])
    async with gateway(tmp_path, feed=feed) as world, world.channel() as channel:
        world.access.subscribe = ("evt.test.result.>",)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await follow(channel).read()
        assert caught.value.code() is CODES.PERMISSION_DENIED
        assert not feed.asked


async def test_a_stream_ends_with_the_token_that_it_was_begun_with(tmp_path: Path) -> None:
    async with gateway(tmp_path, feed=ListFeed([received(1)])) as world, world.channel() as channel:
        ends_ms = world.runtime.clock.now_ms() + 400
        world.access.clients[TOKEN] = Client(name="v", proof=Proof.JWT, expires_ms=ends_ms)
        call = follow(channel)
        assert (await call.read()).seq == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is CODES.UNAUTHENTICATED


async def test_followers_are_sent_elsewhere_when_the_gateway_drains(tmp_path: Path) -> None:
    feed = ListFeed([received(1)])
    async with gateway(tmp_path, feed=feed) as world, world.channel() as channel:
        call = follow(channel)
        assert (await call.read()).seq == 1
        await world.server.drain(timeout_s=5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is CODES.UNAVAILABLE
        assert dict(caught.value.trailing_metadata())[CODE_KEY] == "draining"
        assert feed.closed == 1


async def test_a_publisher_that_is_sent_elsewhere_hears_how_much_is_stored(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world, world.channel() as channel:
        call = Api(channel).publish_all(metadata=METADATA, timeout=30)
        for number in range(3):
            await call.write(pb.PublishAllRequest(event=event(b"%d" % number, key=b"p")))
        await events_of(world, 3)
        await world.server.drain(timeout_s=5)
        error = await refused(call)
        assert error.code() is CODES.UNAVAILABLE
        told = dict(error.trailing_metadata())
        assert (told[CODE_KEY], told[STORED_KEY]) == ("draining", "3")


async def test_streams_are_bounded_apart_from_requests(tmp_path: Path) -> None:
    feed = ListFeed([received(1)])
    keys: dict[str, Any] = {"max_streams": 1, "max_requests": 1}
    async with gateway(tmp_path, feed=feed, **keys) as world, world.channel() as channel:
        first = follow(channel)
        assert (await first.read()).seq == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await follow(channel).read()
        assert caught.value.code() is CODES.UNAVAILABLE
        assert (await publish(channel, event())).seq == 1


async def test_a_client_that_reads_nothing_holds_the_feed_back_and_nobody_else(
    tmp_path: Path,
) -> None:
    class Counting(ListFeed):
        given = 0

        async def follow(
            self, patterns: tuple[str, ...], *, after_seq: int | None
        ) -> AsyncGenerator[Followed, None]:
            for seq in range(1, 100_000):
                self.given = seq
                yield received(seq, b"x" * 10_000, type="text/plain")

    feed = Counting([])
    async with gateway(tmp_path, feed=feed) as world, world.channel() as channel:
        call = follow(channel)
        assert (await call.read()).seq == 1
        before = -1
        while feed.given != before:  # until flow control stops it
            before = feed.given
            await publish(channel, event())
            await publish(channel, event())
        assert feed.given < 2000
        call.cancel()
