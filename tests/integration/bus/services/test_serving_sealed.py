"""Calls under real keys: what passes, and every lie that a broker or a neighbour may try."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.clock import SystemClock
from bus.envelope import Sealer
from bus.envelope.merkle import leaf_hash, leaf_prefix
from bus.envelope.types import Plain
from bus.envelope.wire import split
from bus.services.channel import SealedChannel
from bus.services.protocol import BadAnswer, CallFailed, Load, Overloaded
from bus.services.wire import Answer, answer_content, request_content
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import Incoming
from schemas import subjects
from schemas.errors import DeadlineExceeded, PermissionRefused
from tests.contract.carriers import Carrier, MemoryCarrier, NatsCarrier
from tests.integration.bus.services.sealed import Liar, Site, incoming
from tests.unit.bus.services.serving import SITE, Ward, request, serving

MRN = b"MRN 4711 Example"


@pytest.fixture
async def site(tmp_path: Path, memory_broker: MemoryBroker) -> AsyncIterator[Site]:
    site = await Site.open(tmp_path, memory_broker.connect)
    yield site
    await site.trust.stop()


@pytest.fixture
async def ward(site: Site) -> AsyncIterator[Ward]:
    async with serving(site, clock=SystemClock()) as ward:
        yield ward


class Caught:
    """A channel of `emr` whose carrier lies."""

    def __init__(self, channel: SealedChannel, liar: Liar) -> None:
        self.channel = channel
        self.liar = liar

    async def lied_to(self, lie: bytes | Incoming) -> BadAnswer:
        """Call, and get this instead of the honest answer."""
        answer = lie if isinstance(lie, Incoming) else incoming(lie)

        async def swap(honest: Incoming, payload: bytes) -> Incoming:
            return answer

        self.liar.lie = swap
        with pytest.raises(BadAnswer) as caught:
            await self.channel.call(request(), timeout_s=5)
        return caught.value


@pytest.fixture
async def caught(ward: Ward, site: Site) -> AsyncIterator[Caught]:
    carrier, seals = await site("emr")
    liar = Liar(carrier.messenger)
    channel = SealedChannel(
        site=SITE, transport=liar, seals=seals, clock=SystemClock(), counters=ward.counters
    )
    yield Caught(channel, liar)
    await channel.stop()


def leaf_of(envelope: bytes) -> bytes:
    batch, head, body, *_ = split(envelope)
    return leaf_hash(leaf_prefix(batch), head, body)


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.server)])
async def carrier(request: pytest.FixtureRequest) -> AsyncIterator[Carrier]:
    if request.param == "memory":
        made: Carrier = MemoryCarrier()
    else:
        start = request.getfixturevalue("start_nats_server")
        made = NatsCarrier(start(extra="authorization { user: all, password: x }"))
    yield made
    await made.close()


async def test_sealed_calls_pass_and_the_carrier_sees_no_content(
    carrier: Carrier, tmp_path: Path
) -> None:
    site = await Site.open(tmp_path, carrier.connect)
    tapped: list[Incoming] = []
    tap = await carrier.connect()
    await tap.messenger.subscribe("svc.>", tapped.append)
    await tap.messenger.subscribe("_INBOX.>", tapped.append)
    async with serving(site, clock=SystemClock()) as ward:
        one, two = await ward.channel("emr"), await ward.channel("his")
        answers = await asyncio.gather(
            *(channel.call(request(body=MRN + b"%d" % n), timeout_s=15, instance=instance)
              for n in range(20) for channel, instance in ((one, ""), (two, "a1")))
        )  # fmt: skip
        assert sorted(answer.body for answer in answers) == sorted(
            MRN + b"%d" % n for n in range(20) for _ in (1, 2)
        )
        assert sorted({call.caller for call in ward.calls.seen}) == ["emr", "his"]
    await site.trust.stop()
    assert len(tapped) >= 40
    assert not any(MRN in message.payload for message in tapped)


async def test_calls_of_one_turn_share_one_signature_behind_the_first(caught: Caught) -> None:
    """The first finds nothing under way and does not wait for the turn's end."""
    await caught.channel.call(request(), timeout_s=5)
    caught.liar.requests.clear()
    caught.liar.answers.clear()
    await asyncio.gather(*(caught.channel.call(request(), timeout_s=5) for _ in range(32)))
    assert len({split(payload)[4] for _, payload in caught.liar.requests}) == 2
    assert len({split(answer.payload)[4] for answer in caught.liar.answers}) < 8


async def test_replayed_response_is_refused(caught: Caught) -> None:
    await caught.channel.call(request(), timeout_s=5)
    old = caught.liar.answers[0]
    assert "another request" in str(await caught.lied_to(old))


async def test_responses_cannot_be_swapped_between_calls(caught: Caught) -> None:
    """Both requests are under way; each gets the other's answer."""
    both = asyncio.Barrier(2)
    answers: dict[bytes, Incoming] = {}

    async def swap(honest: Incoming, payload: bytes) -> Incoming:
        answers[payload] = honest
        await both.wait()
        return next(answer for sent, answer in answers.items() if sent != payload)

    caught.liar.lie = swap
    ended = await asyncio.gather(
        *(caught.channel.call(request(body=body), timeout_s=5) for body in (b"1", b"2")),
        return_exceptions=True,
    )
    assert [type(one) for one in ended] == [BadAnswer, BadAnswer]


async def test_response_of_another_service_is_refused(caught: Caught, site: Site) -> None:
    """Labs may answer calls, saw the request, and names its leaf: it is still not the service that was asked."""
    labs = await site.seals("labs")

    async def forge(honest: Incoming, payload: bytes) -> Incoming:
        content = answer_content(
            Answer(body=b"all beds are free"), request_id=bytes(16), instance="a1",
            load=Load(),
        )  # fmt: skip
        batch = labs.seal(
            [
                Plain(
                    subject=subjects.answers(SITE, "emr"),
                    content=content,
                    in_reply_to=leaf_of(payload),
                )
            ]
        )
        for epoch, package in batch.key_packages:
            await labs.publish_package(epoch, package)
        return incoming(batch.envelopes[0])

    caught.liar.lie = forge
    with pytest.raises(BadAnswer, match="in place of beds"):
        await caught.channel.call(request(), timeout_s=5)


async def test_request_sent_back_as_its_own_answer_is_refused(caught: Caught) -> None:
    async def mirror(honest: Incoming, payload: bytes) -> Incoming:
        return incoming(payload)

    caught.liar.lie = mirror
    with pytest.raises(BadAnswer, match="subject_mismatch"):
        await caught.channel.call(request(), timeout_s=5)


async def test_flipped_bits_are_refused(caught: Caught) -> None:
    chance = random.Random(7)

    async def flip(honest: Incoming, payload: bytes) -> Incoming:
        raw = bytearray(honest.payload)
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        return incoming(bytes(raw))

    caught.liar.lie = flip
    for _ in range(60):
        with pytest.raises((BadAnswer, DeadlineExceeded)):
            await caught.channel.call(request(), timeout_s=0.5)


@pytest.mark.parametrize("forged", [b"", b"{}", b"\0" * 200, b'{"status":"ok"}', b"\x0a\xff\xff"])
async def test_forged_inbox_message_is_refused(caught: Caught, forged: bytes) -> None:
    await caught.lied_to(forged)


async def test_words_without_an_envelope_are_not_believed(caught: Caught) -> None:
    words = {"Nats-Service-Error": "bed 7 is for MRN 4711", "Nats-Service-Error-Code": "404"}
    error = await caught.lied_to(incoming(b"", **words))
    assert "4711" not in str(error)


async def test_only_overload_is_heard_without_an_envelope(caught: Caught) -> None:
    async def shed(honest: Incoming, payload: bytes) -> Incoming:
        return incoming(
            b"", **{"Nats-Service-Error-Code": "429", "Medmesh-Retry-After-Ms": "9" * 30}
        )

    caught.liar.lie = shed
    with pytest.raises(Overloaded) as error:
        await caught.channel.call(request(), timeout_s=5)
    assert error.value.retry_after_s == 0


async def test_replayed_request_is_worked_once_and_not_answered(ward: Ward, caught: Caught) -> None:
    await caught.channel.call(request(), timeout_s=5)
    subject, sealed = caught.liar.requests[0]
    with pytest.raises(DeadlineExceeded):
        await caught.liar.honest.request(subject, sealed, timeout_s=0.2)
    assert len(ward.calls.seen) == 1
    assert ward.counters.get("request_refused", reason="replayed") == 1


async def test_request_to_one_instance_is_not_taken_by_another(
    ward: Ward, site: Site, caught: Caught
) -> None:
    """The broker hands the request for one instance to another one, under that one's subject or under its own."""
    async with serving(site, clock=SystemClock(), instance="a2") as other:
        await caught.channel.call(request(), timeout_s=5, instance="a1")
        _, sealed = caught.liar.requests[0]
        theirs = subjects.instance_call(SITE, "beds", 1, "a2", "echo")
        answer = await caught.liar.honest.request(theirs, sealed, timeout_s=5)
        assert (answer.headers or {})["Nats-Service-Error"] == "subject_mismatch"
        assert not other.calls.seen


async def test_request_is_not_worked_again_by_a_new_run(
    site: Site, caught: Caught, ward: Ward
) -> None:
    await caught.channel.call(request(), timeout_s=5, instance="a1")
    subject, sealed = caught.liar.requests[0]
    await ward.server.stop()
    async with serving(site, clock=SystemClock(), max_clock_skew_s=-0.001) as again:
        answer = await caught.liar.honest.request(subject, sealed, timeout_s=5)
        assert (answer.headers or {})["Nats-Service-Error"] == "made_before_start"
        assert not again.calls.seen


async def test_caller_without_the_right_is_refused_by_both_sides(ward: Ward, site: Site) -> None:
    stranger = await ward.channel("labs")
    with pytest.raises(PermissionRefused):
        await stranger.call(request(), timeout_s=5)
    # one whose program does not ask its own certificate
    identity = await site.identity("labs")
    rogue = Sealer(
        identity.signing_key,
        replace(identity.certificate, publish=(">",)),
        site.trust.directory,
        SystemClock(),
    )
    subject = subjects.call(SITE, "beds", 1, "echo")
    content = request_content(request(id=bytes(16)), timeout_s=5)
    batch = rogue.seal(
        [Plain(subject=subject, content=content, reply_to=subjects.answers(SITE, "labs"))]
    )
    for epoch, package in batch.key_packages:
        await (await site.seals("labs")).publish_package(epoch, package)
    transport, _ = await site("labs")
    answer = await transport.messenger.request(subject, batch.envelopes[0], timeout_s=5)
    assert (answer.headers or {})["Nats-Service-Error"] == "may_not_publish"
    assert not ward.calls.seen


@pytest.mark.parametrize("reply_to", ["ctl.north.answers.his", "evt.north.raw.hl7v2.1", ""])
async def test_answer_goes_to_nobody_but_the_caller(ward: Ward, site: Site, reply_to: str) -> None:
    seals = await site.seals("emr")
    subject = subjects.call(SITE, "beds", 1, "echo")
    content = request_content(request(id=bytes(16)), timeout_s=5)
    batch = seals.seal([Plain(subject=subject, content=content, reply_to=reply_to)])
    for epoch, package in batch.key_packages:
        await seals.publish_package(epoch, package)
    transport, _ = await site("emr")
    answer = await transport.messenger.request(subject, batch.envelopes[0], timeout_s=5)
    assert (answer.headers or {})["Nats-Service-Error"] == "answers_elsewhere"
    assert not ward.calls.seen


async def test_server_publishes_to_inboxes_only(ward: Ward, site: Site, caught: Caught) -> None:
    """A request whose reply is a subject of the mesh would make the service publish there in its own name."""
    heard: list[Incoming] = []
    await caught.liar.subscribe("evt.>", heard.append)
    subject = subjects.call(SITE, "beds", 1, "echo")
    for payload in (b"plain", b""):
        await caught.liar.honest.publish(subject, payload, reply="evt.north.raw.hl7v2.1")
        await caught.liar.honest.publish("$SRV.PING", payload, reply="evt.north.raw.hl7v2.1")
    await caught.channel.call(request(), timeout_s=5)
    assert not heard
    assert ward.counters.get("request_refused", reason="no_inbox") == 2


async def test_call_failed_is_sealed_too(ward: Ward, caught: Caught) -> None:
    ward.calls.error = CallFailed("robot_stuck", "in the lift")
    with pytest.raises(CallFailed, match="robot_stuck"):
        await caught.channel.call(request("fail"), timeout_s=5)
    assert b"robot_stuck" not in caught.liar.answers[-1].payload
