"""What a carrier promises (bus/transport/protocol.py), shown for each carrier."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from bus.transport.protocol import (
    ConsumerSpec,
    ConsumerState,
    Entry,
    Incoming,
    KeyValue,
    LinkState,
    NoResponders,
    NotFound,
    PayloadTooLarge,
    Retention,
    Stored,
    StreamFull,
    StreamSpec,
    Transport,
    WrongRevision,
)
from schemas.errors import Closed, DeadlineExceeded, MeshError, PermissionRefused, Unavailable
from tests.contract.carriers import (
    DEADLINE_S,
    Changes,
    OrderedReader,
    Reader,
    eventually,
    outgoing,
)

if TYPE_CHECKING:
    from tests.contract.carriers import Carrier

EVT = StreamSpec(name="EVT", subjects=("evt.>",))
READ_ALL = ConsumerSpec(stream="EVT", name="reader", patterns=("evt.>",))


class Inbox(Changes):
    """Core messages that arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Incoming] = []

    def __call__(self, message: Incoming) -> None:
        self.messages.append(message)
        self.changed()

    async def get(self, count: int) -> list[Incoming]:
        await self.until(lambda: len(self.messages) >= count, f"message {count}")
        return self.messages


class Answering:
    """Answers each request in the background."""

    def __init__(self, transport: Transport, name: bytes = b"") -> None:
        self._transport = transport
        self._name = name
        self._tasks: set[asyncio.Task[None]] = set()
        self.count = 0

    def __call__(self, message: Incoming) -> None:
        self.count += 1
        work = self._transport.messenger.publish(message.reply, self._name + message.payload)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def fill(transport: Transport, count: int, subject: str = "evt.a") -> list[Stored]:
    batch = [outgoing(subject, b"%d" % i) for i in range(count)]
    return stored(await transport.store.store(batch, timeout_s=DEADLINE_S))


def stored(results: list[Stored | MeshError]) -> list[Stored]:
    for result in results:
        assert isinstance(result, Stored), result
    return [result for result in results if isinstance(result, Stored)]


# -- core messages ---------------------------------------------------------------------------------


async def test_message_reaches_every_subscriber_whose_pattern_covers_it(carrier: Carrier) -> None:
    one, two = await carrier.connect(), await carrier.connect()
    star, rest, other = Inbox(), Inbox(), Inbox()
    await one.messenger.subscribe("a.*", star)
    await two.messenger.subscribe("a.>", rest)
    await two.messenger.subscribe("b.>", other)
    await one.messenger.publish("a.x", b"hello", reply="back.to", headers={"K": "v"})
    for inbox in (star, rest):
        [message] = await inbox.get(1)
        assert message == Incoming(
            subject="a.x", payload=b"hello", reply="back.to", headers={"K": "v"}
        )
    assert other.messages == []


async def test_messages_of_one_sender_arrive_in_order(transport: Transport) -> None:
    inbox = Inbox()
    await transport.messenger.subscribe("a", inbox)
    for i in range(500):
        await transport.messenger.publish("a", b"%d" % i)
    assert [int(m.payload) for m in await inbox.get(500)] == list(range(500))


async def test_one_member_of_a_queue_group_gets_each_message(carrier: Carrier) -> None:
    sender, inboxes = await carrier.connect(), [Inbox(), Inbox()]
    for inbox in inboxes:
        member = await carrier.connect()
        await member.messenger.subscribe("work", inbox, queue="q")
    everyone = Inbox()
    await sender.messenger.subscribe("work", everyone)
    for i in range(60):
        await sender.messenger.publish("work", b"%d" % i)
    await everyone.get(60)
    for inbox in inboxes:
        await inbox.get(1)
    await eventually(lambda: sum(len(i.messages) for i in inboxes) >= 60, "the last message")
    got = sorted(int(m.payload) for inbox in inboxes for m in inbox.messages)
    assert got == list(range(60))


async def test_request_gets_its_own_answer(transport: Transport) -> None:
    await transport.messenger.subscribe("rpc.echo", Answering(transport))
    answers = await asyncio.gather(
        *(transport.messenger.request("rpc.echo", b"%d" % i, timeout_s=5) for i in range(50))
    )
    assert [int(answer.payload) for answer in answers] == list(range(50))


async def test_request_nobody_listens_to_fails_at_once(transport: Transport) -> None:
    with pytest.raises(NoResponders):
        await transport.messenger.request("rpc.nobody", b"", timeout_s=DEADLINE_S)


async def test_request_without_answer_ends_at_its_deadline(transport: Transport) -> None:
    await transport.messenger.subscribe("rpc.silent", Inbox())
    with pytest.raises(DeadlineExceeded):
        await transport.messenger.request("rpc.silent", b"", timeout_s=0.05)


async def test_closed_subscription_hands_over_what_had_arrived_and_nothing_more(
    transport: Transport,
) -> None:
    inbox, other = Inbox(), Inbox()
    subscription = await transport.messenger.subscribe("a", inbox)
    await transport.messenger.subscribe("a", other)
    await transport.messenger.publish("a", b"1")
    await other.get(1)
    await subscription.close()
    assert len(inbox.messages) == 1
    await transport.messenger.publish("a", b"2")
    await other.get(2)
    assert len(inbox.messages) == 1


async def test_member_that_leaves_its_group_hands_over_what_it_was_given(carrier: Carrier) -> None:
    sender, leaving, staying = [await carrier.connect() for _ in range(3)]
    gone, kept = Inbox(), Inbox()
    subscription = await leaving.messenger.subscribe("work", gone, queue="q")
    await staying.messenger.subscribe("work", kept, queue="q")

    async def send() -> None:
        for i in range(2000):
            await sender.messenger.publish("work", b"%d" % i)
            if i % 10 == 0:
                await asyncio.sleep(0)

    sending = asyncio.ensure_future(send())
    await gone.get(1)
    await subscription.close()
    await sending
    await kept.until(lambda: len(gone.messages) + len(kept.messages) >= 2000, "every message")
    assert sorted(int(m.payload) for m in gone.messages + kept.messages) == list(range(2000))


async def test_message_is_sent_without_waiting_in_its_order(transport: Transport) -> None:
    inbox = Inbox()
    await transport.messenger.subscribe("a", inbox)
    await transport.messenger.publish("a", b"0")
    for i in range(1, 100):
        transport.messenger.send("a", b"%d" % i, reply=f"r.{i}", headers={"N": str(i)})
    await transport.messenger.publish("a", b"100")
    assert [int(m.payload) for m in await inbox.get(101)] == list(range(101))
    assert inbox.messages[7] == Incoming(subject="a", payload=b"7", reply="r.7", headers={"N": "7"})


async def test_sending_without_waiting_says_at_once_what_cannot_be_sent(carrier: Carrier) -> None:
    transport, limited = await carrier.connect(), await carrier.connect_limited()
    with pytest.raises(PayloadTooLarge, match="max_payload"):
        transport.messenger.send("a", bytes(9 * 1024 * 1024))
    limited.messenger.send("secret.x", b"the server refuses it, and tells nobody at the call")
    await limited.messenger.publish("open", b"")
    await carrier.cut()
    await _until_lost(transport)
    with pytest.raises(Unavailable):
        transport.messenger.send("a", b"")
    await transport.close()
    with pytest.raises(Closed):
        transport.messenger.send("a", b"")


async def test_request_given_up_by_its_caller_disturbs_no_other(transport: Transport) -> None:
    held = Inbox()
    await transport.messenger.subscribe("rpc.held", held)
    await transport.messenger.subscribe("rpc.echo", Answering(transport))
    given_up, waiting = [
        asyncio.ensure_future(transport.messenger.request("rpc.held", name, timeout_s=DEADLINE_S))
        for name in (b"given up", b"waiting")
    ]
    for message in await held.get(2):
        if message.payload == b"given up":
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
        await transport.messenger.publish(message.reply, message.payload)
    assert (await waiting).payload == b"waiting"
    echo = await transport.messenger.request("rpc.echo", b"fine", timeout_s=DEADLINE_S)
    assert echo.payload == b"fine"


async def test_refused_subject_raises_at_the_call_that_used_it(carrier: Carrier) -> None:
    limited = await carrier.connect_limited()
    await limited.messenger.publish("open", b"")
    with pytest.raises(PermissionRefused, match=r"secret\.x"):
        await limited.messenger.publish("secret.x", b"")
    with pytest.raises(PermissionRefused, match=r"secret\.y"):
        await limited.messenger.request("secret.y", b"", timeout_s=DEADLINE_S)
    with pytest.raises(PermissionRefused, match="secret"):
        await limited.messenger.subscribe("secret.>", Inbox())
    await limited.messenger.publish("open", b"")


async def test_refused_subject_does_not_disturb_another_call(carrier: Carrier) -> None:
    limited = await carrier.connect_limited()
    await limited.messenger.subscribe("rpc.echo", Answering(limited))
    refused, fine = await asyncio.gather(
        limited.messenger.request("secret.y", b"", timeout_s=DEADLINE_S),
        limited.messenger.request("rpc.echo", b"fine", timeout_s=DEADLINE_S),
        return_exceptions=True,
    )
    assert isinstance(refused, PermissionRefused)
    assert isinstance(fine, Incoming)
    assert fine.payload == b"fine"


async def test_message_over_max_payload_is_refused_by_name(transport: Transport) -> None:
    with pytest.raises(PayloadTooLarge, match="max_payload"):
        await transport.messenger.publish("a", bytes(9 * 1024 * 1024))


async def test_closed_transport_takes_no_more_calls(transport: Transport) -> None:
    await transport.close()
    assert transport.link is LinkState.CLOSED
    with pytest.raises(Closed):
        await transport.messenger.publish("a", b"")
    with pytest.raises(Closed):
        await transport.messenger.request("a", b"", timeout_s=1)
    assert isinstance((await transport.store.store([outgoing("evt.a")], timeout_s=1))[0], Closed)
    await transport.close()


async def test_messages_sent_while_reconnecting_are_kept(carrier: Carrier) -> None:
    transport, inbox = await carrier.connect(), Inbox()
    await transport.messenger.subscribe("a", inbox)
    await carrier.cut()
    await _until_lost(transport)
    sending = asyncio.ensure_future(_send_some(transport, 10))
    await asyncio.sleep(0)
    await carrier.restore()
    await sending
    assert [int(m.payload) for m in await inbox.get(10)] == list(range(10))


async def _send_some(transport: Transport, count: int) -> None:
    for i in range(count):
        await transport.messenger.publish("a", b"%d" % i)


async def _until_lost(transport: Transport) -> None:
    await eventually(lambda: transport.link is not LinkState.CONNECTED, "the loss")


async def _until_back(transport: Transport) -> None:
    await eventually(lambda: transport.link is LinkState.CONNECTED, "the reconnect")


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 100, 1500])
async def test_batch_is_stored_in_its_order(transport: Transport, count: int) -> None:
    await transport.store.ensure_stream(EVT)
    results = await fill(transport, count)
    assert [r.seq for r in results] == list(range(1, count + 1))
    assert {(r.stream, r.duplicate) for r in results} == {("EVT", False)}
    state = await transport.store.stream_state("EVT")
    assert (state.messages, state.first_seq, state.last_seq) == (count, 1, count)
    middle = await transport.store.read("EVT", count // 2 + 1)
    assert middle.payload == b"%d" % (count // 2)


async def test_empty_batch_has_no_results(transport: Transport) -> None:
    assert await transport.store.store([], timeout_s=1) == []


@pytest.mark.parametrize("count", [1, 5, 100])
async def test_resent_batch_is_answered_with_the_places_it_has(
    transport: Transport, count: int
) -> None:
    await transport.store.ensure_stream(EVT)
    batch = [outgoing("evt.a", b"%d" % i) for i in range(count)]
    first = stored(await transport.store.store(batch, timeout_s=DEADLINE_S))
    again = stored(await transport.store.store(batch, timeout_s=DEADLINE_S))
    assert [r.seq for r in again] == [r.seq for r in first]
    assert all(r.duplicate for r in again)
    assert (await transport.store.stream_state("EVT")).messages == count


@pytest.mark.parametrize("count", [6, 60])
async def test_batch_with_some_known_messages_stores_the_rest(
    transport: Transport, count: int
) -> None:
    await transport.store.ensure_stream(EVT)
    batch = [outgoing("evt.a", b"%d" % i) for i in range(count)]
    await transport.store.store(batch[: count // 2], timeout_s=DEADLINE_S)
    results = stored(await transport.store.store(batch, timeout_s=DEADLINE_S))
    assert [r.duplicate for r in results] == [True] * (count // 2) + [False] * (count // 2)
    assert [r.seq for r in results] == list(range(1, count + 1))


async def test_id_twice_in_one_batch_is_stored_once(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    batch = [outgoing("evt.a", b"%d" % i, f"only-{i % 30}") for i in range(60)]
    results = stored(await transport.store.store(batch, timeout_s=DEADLINE_S))
    assert sum(r.duplicate for r in results) == 30
    assert (await transport.store.stream_state("EVT")).messages == 30


async def test_stream_that_takes_no_atomic_batches_stores_them_all_the_same(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(
        StreamSpec(name="EVT", subjects=("evt.>",), allow_atomic=False)
    )
    for _ in range(2):
        await fill(transport, 50)
    assert (await transport.store.stream_state("EVT")).messages == 100


@pytest.mark.parametrize(("limit", "count"), [(3, 5), (30, 50)])
async def test_stream_at_its_limit_refuses_new_and_keeps_old(
    transport: Transport, limit: int, count: int
) -> None:
    await transport.store.ensure_stream(
        StreamSpec(name="EVT", subjects=("evt.>",), max_messages=limit)
    )
    batch = [outgoing("evt.a", b"%d" % i) for i in range(count)]
    results = await transport.store.store(batch, timeout_s=DEADLINE_S)
    assert all(isinstance(r, Stored) for r in results[:limit])
    assert all(isinstance(r, StreamFull) for r in results[limit:])
    assert (await transport.store.read("EVT", 1)).payload == b"0"
    await transport.store.ensure_stream(
        StreamSpec(name="EVT", subjects=("evt.>",), max_messages=count)
    )
    again = stored(await transport.store.store(batch, timeout_s=DEADLINE_S))
    assert [r.duplicate for r in again] == [True] * limit + [False] * (count - limit)


async def test_stream_at_its_byte_limit_refuses(transport: Transport) -> None:
    await transport.store.ensure_stream(
        StreamSpec(name="EVT", subjects=("evt.>",), max_bytes=10_000)
    )
    batch = [outgoing("evt.a", bytes(3000)) for _ in range(5)]
    results = await transport.store.store(batch, timeout_s=DEADLINE_S)
    assert isinstance(results[0], Stored)
    assert isinstance(results[-1], StreamFull)
    assert results[-1].retryable


async def test_subject_at_its_limit_refuses_or_drops_its_oldest_as_the_spec_says(
    transport: Transport,
) -> None:
    for name, discard in (("keep", False), ("newest", True)):
        await transport.store.ensure_stream(
            StreamSpec(
                name=name,
                subjects=(f"{name}.>",),
                max_messages_per_subject=1,
                discard_old_per_subject=discard,
            )
        )
        first, second = [
            (await transport.store.store([outgoing(f"{name}.a", p)], timeout_s=5))[0]
            for p in (b"1", b"2")
        ]
        assert isinstance(first, Stored)
        assert isinstance(second, Stored if discard else StreamFull)
        last = await transport.administration.last_for_subject(name, f"{name}.a")
        assert last.payload == (b"2" if discard else b"1")


async def test_message_no_stream_takes_is_not_found(transport: Transport) -> None:
    [result] = await transport.store.store([outgoing("stray.a")], timeout_s=DEADLINE_S)
    assert isinstance(result, NotFound)


async def test_message_too_large_does_not_hinder_its_neighbours(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    batch = [outgoing("evt.a"), outgoing("evt.a", bytes(9 * 1024 * 1024)), outgoing("evt.a")]
    first, large, last = await transport.store.store(batch, timeout_s=DEADLINE_S)
    assert isinstance(large, PayloadTooLarge)
    assert isinstance(first, Stored)
    assert isinstance(last, Stored)


async def test_large_message_is_stored_and_read_back(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    payload = bytes(range(256)) * 28_000
    [result] = stored(await transport.store.store([outgoing("evt.a", payload)], timeout_s=20))
    assert (await transport.store.read("EVT", result.seq)).payload == payload


async def test_store_on_a_refused_subject_says_so(carrier: Carrier, transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    limited = await carrier.connect_limited()
    batch = [outgoing("evt.secret.x"), outgoing("evt.open")]
    refused, fine = await limited.store.store(batch, timeout_s=DEADLINE_S)
    assert isinstance(refused, PermissionRefused)
    assert isinstance(fine, Stored)


async def test_headers_and_time_are_kept(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    message = outgoing("evt.a", b"x")
    message = type(message)(
        subject=message.subject, payload=b"x", message_id=message.message_id, headers={"Kind": "t"}
    )
    await transport.store.store([message], timeout_s=DEADLINE_S)
    back = await transport.store.read("EVT", 1)
    assert back.headers is not None
    assert back.headers["Kind"] == "t"
    assert back.stored_ms > 1_700_000_000_000


async def test_missing_things_are_not_found(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    with pytest.raises(NotFound):
        await transport.store.read("EVT", 7)
    with pytest.raises(NotFound):
        await transport.store.delete("EVT", 7)
    with pytest.raises(NotFound):
        await transport.store.stream_state("NONE")
    with pytest.raises(NotFound):
        await transport.administration.last_for_subject("EVT", "evt.none")
    with pytest.raises(NotFound):
        await transport.store.consume(ConsumerSpec(stream="NO", name="c", patterns=()), Reader())
    with pytest.raises(NotFound):
        await transport.administration.consumers("NONE")


async def test_deleted_message_is_gone(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    await transport.store.delete("EVT", 2)
    with pytest.raises(NotFound):
        await transport.store.read("EVT", 2)
    assert (await transport.store.stream_state("EVT")).messages == 2


async def test_purge_drops_what_is_below_and_nothing_else(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 10)
    assert await transport.administration.purge("EVT", up_to_seq=0) == 0
    assert await transport.administration.purge("EVT", up_to_seq=1) == 0
    assert await transport.administration.purge("EVT", up_to_seq=4) == 3
    state = await transport.store.stream_state("EVT")
    assert (state.first_seq, state.messages) == (4, 7)
    assert await transport.administration.purge("EVT", up_to_seq=4) == 0


async def test_streams_and_consumers_are_listed(transport: Transport) -> None:
    for name in ("EVT", "DLQ"):
        await transport.store.ensure_stream(StreamSpec(name=name, subjects=(f"{name.lower()}.>",)))
    await fill(transport, 4)
    reader = Reader()
    await transport.store.consume(READ_ALL, reader)
    assert {s.name for s in await transport.administration.streams()} == {"EVT", "DLQ"}
    assert await transport.administration.consumers("EVT") == {
        "reader": ConsumerState(ack_floor=0, delivered=0, pending=4, unacknowledged=0)
    }
    assert await transport.administration.consumers("DLQ") == {}
    listed = await transport.administration.consumers("EVT")
    assert listed["reader"].patterns == READ_ALL.patterns


async def test_stored_messages_are_counted_by_subject(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    batch = [outgoing("evt.a"), outgoing("evt.b.c"), outgoing("evt.a"), outgoing("evt.b.d")]
    await transport.store.store(batch, timeout_s=DEADLINE_S)
    counts = transport.administration.subject_counts
    assert await counts("EVT", "evt.>") == {"evt.a": 2, "evt.b.c": 1, "evt.b.d": 1}
    assert await counts("EVT", "evt.b.*") == {"evt.b.c": 1, "evt.b.d": 1}
    assert await counts("EVT", "evt.none") == {}
    with pytest.raises(NotFound):
        await counts("NONE", ">")


async def test_the_next_message_of_a_pattern_is_found_from_a_sequence_on(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    batch = [outgoing("evt.a"), outgoing("evt.b.c"), outgoing("evt.a"), outgoing("evt.b.d")]
    await transport.store.store(batch, timeout_s=DEADLINE_S)
    following = transport.administration.next_for_subject
    assert (await following("EVT", "evt.b.>", from_seq=0)).seq == 2
    assert (await following("EVT", "evt.b.*", from_seq=3)).seq == 4
    assert (await following("EVT", "evt.a", from_seq=3)).seq == 3
    with pytest.raises(NotFound):
        await following("EVT", "evt.a", from_seq=4)


async def test_ensure_stream_twice_changes_nothing_and_keeps_messages(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    state = await transport.store.ensure_stream(EVT)
    assert (state.messages, state.replicas) == (3, 1)


async def test_deleted_consumer_is_gone_and_begins_anew(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    reader = Reader()
    first = await transport.store.consume(READ_ALL, reader)
    first.credit(3)
    for delivery in await reader.get(3):
        first.acknowledge(delivery)
    await first.close()
    await transport.administration.delete_consumer("EVT", "reader")
    assert await transport.administration.consumers("EVT") == {}
    with pytest.raises(NotFound):
        await transport.administration.delete_consumer("EVT", "reader")
    again = Reader()
    second = await transport.store.consume(READ_ALL, again)
    second.credit(3)
    assert [delivery.seq for delivery in await again.get(3)] == [1, 2, 3]
    await second.close()


async def test_stream_tells_since_when_it_exists(carrier: Carrier) -> None:
    transport = await carrier.connect()
    before_ms = round(time.time() * 1000)
    made = await transport.store.ensure_stream(EVT)
    after_ms = round(time.time() * 1000)
    assert before_ms - 1 <= made.created_ms <= after_ms + 1
    await fill(transport, 3)
    await carrier.cut()
    await carrier.restore()
    assert (await transport.store.stream_state("EVT")).created_ms == made.created_ms
    assert (await transport.store.ensure_stream(EVT)).created_ms == made.created_ms
    assert [state.created_ms for state in await transport.administration.streams()] == [
        made.created_ms
    ]


async def test_work_queue_drops_what_is_acknowledged(transport: Transport) -> None:
    await transport.store.ensure_stream(
        StreamSpec(name="EVT", subjects=("evt.>",), retention=Retention.WORKQUEUE)
    )
    await fill(transport, 3)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(10)
    for delivery in (await reader.get(3))[:2]:
        consumer.acknowledge(delivery)

    async def one_is_left() -> bool:
        return (await transport.store.stream_state("EVT")).messages == 1

    await eventually(one_is_left, "the drop of the acknowledged")


async def test_store_waits_for_a_lost_carrier_and_keeps_the_order(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(EVT)
    await carrier.cut()
    batches = [[outgoing("evt.a", b"%d" % (n * 30 + i)) for i in range(30)] for n in range(2)]
    storing = asyncio.ensure_future(transport.store.store(batches[0], timeout_s=DEADLINE_S))
    await asyncio.sleep(0)
    await carrier.restore()
    first = stored(await storing)
    second = stored(await transport.store.store(batches[1], timeout_s=DEADLINE_S))
    assert [r.seq for r in first + second] == list(range(1, 61))


async def test_store_gives_up_at_its_deadline_while_the_carrier_is_lost(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(EVT)
    await carrier.cut()
    results = await transport.store.store([outgoing("evt.a"), outgoing("evt.b")], timeout_s=0.3)
    assert all(isinstance(r, Unavailable | DeadlineExceeded) for r in results)
    assert all(r.retryable for r in results if isinstance(r, MeshError))


# -- consumers -------------------------------------------------------------------------------------


async def test_nothing_is_delivered_without_credit_nor_beyond_it(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 20)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    assert await consumer.state() == ConsumerState(
        ack_floor=0, delivered=0, pending=20, unacknowledged=0
    )
    consumer.credit(3)
    await reader.get(3)
    consumer.credit(4)
    await reader.get(7)
    state = await consumer.state()
    assert (state.delivered, state.unacknowledged) == (7, 7)
    assert reader.seqs == list(range(1, 8))
    assert [d.pending for d in reader.deliveries] == list(range(19, 12, -1))
    assert {d.deliveries for d in reader.deliveries} == {1}


async def test_credit_waits_for_messages_that_come_later(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(100)
    await fill(transport, 5)
    assert [d.payload for d in await reader.get(5)] == [b"%d" % i for i in range(5)]


async def test_only_matching_subjects_are_delivered(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    for subject in ("evt.a.1", "evt.b.1", "evt.c.1", "evt.a.2"):
        await fill(transport, 1, subject)
    reader = Reader()
    spec = ConsumerSpec(stream="EVT", name="some", patterns=("evt.a.*", "evt.c.>"))
    consumer = await transport.store.consume(spec, reader)
    consumer.credit(10)
    await reader.get(3)
    assert [d.subject for d in reader.deliveries] == ["evt.a.1", "evt.c.1", "evt.a.2"]
    assert (await consumer.state()).pending == 0


async def test_new_consumer_that_wants_only_new_messages_skips_the_old(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    spec = ConsumerSpec(stream="EVT", name="late", patterns=("evt.>",), deliver_new=True)
    reader = Reader()
    consumer = await transport.store.consume(spec, reader)
    consumer.credit(10)
    await fill(transport, 2)
    await reader.get(2)
    assert reader.seqs == [4, 5]
    await consumer.rewind(4)
    await reader.get(4)
    assert reader.seqs == [4, 5, 4, 5]


async def test_acknowledged_messages_are_not_delivered_to_the_next_reader(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 4)
    first = Reader()
    consumer = await transport.store.consume(READ_ALL, first)
    consumer.credit(10)
    for delivery in await first.get(4):
        consumer.acknowledge(delivery)
    await consumer.close()
    await fill(transport, 1)
    second = Reader()
    again = await transport.store.consume(READ_ALL, second)
    again.credit(10)
    await second.get(1)
    assert second.seqs == [5]
    assert (await again.state()).ack_floor == 4


async def test_next_reader_gets_everything_from_the_first_unacknowledged_on_in_order(
    carrier: Carrier,
) -> None:
    dying, living = await carrier.connect(), await carrier.connect()
    await dying.store.ensure_stream(EVT)
    await fill(dying, 6)
    first = Reader()
    consumer = await dying.store.consume(READ_ALL, first)
    consumer.credit(10)
    deliveries = await first.get(6)
    for index in (0, 1, 4):
        consumer.acknowledge(deliveries[index])
    await dying.close()
    second = Reader()
    again = await living.store.consume(READ_ALL, second)
    assert second.deliveries == []
    again.credit(10)
    await second.get(4)
    assert second.seqs[:4] == [3, 4, 5, 6]


async def test_rewind_delivers_again_in_order_including_what_was_acknowledged(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 6)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(6)
    for delivery in await reader.get(6):
        consumer.acknowledge(delivery)
    await consumer.rewind(3)
    consumer.credit(10)
    await reader.get(10)
    assert reader.seqs[6:] == [3, 4, 5, 6]
    await fill(transport, 1)
    await reader.get(11)
    assert reader.seqs[10:] == [7]
    assert (await consumer.state()).ack_floor == 2


PASSING = ConsumerSpec(
    stream="EVT", name="follower", patterns=("evt.>",), start_seq=3, passing_s=30.0
)


async def test_a_reader_without_a_place_begins_where_it_says_and_leaves_nothing(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 5)
    reader = Reader()
    consumer = await transport.store.consume(PASSING, reader)
    consumer.credit(10)
    await reader.get(3)
    assert reader.seqs == [3, 4, 5]
    await fill(transport, 1)
    await reader.get(4)
    assert reader.seqs == [3, 4, 5, 6]
    state = await consumer.state()
    assert (state.pending, state.unacknowledged, state.delivered) == (0, 0, 6)
    assert await transport.administration.consumers("EVT") == {}
    await consumer.rewind(5)
    await reader.get(6)
    assert reader.seqs[4:] == [5, 6]
    await consumer.close()


async def test_a_reader_without_a_place_does_not_hold_back_the_purge_below_it(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 5)
    reader = Reader()
    consumer = await transport.store.consume(PASSING, reader)
    await transport.administration.purge("EVT", up_to_seq=5)
    consumer.credit(10)
    await reader.get(1)
    assert reader.seqs == [5]
    await consumer.close()


async def test_acknowledgement_from_before_a_rewind_does_not_count(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(3)
    old = list(await reader.get(3))
    await consumer.rewind(1)
    for delivery in old:
        consumer.acknowledge(delivery)
    consumer.credit(3)
    await reader.get(6)
    state = await consumer.state()
    assert (state.ack_floor, state.unacknowledged) == (0, 3)


async def test_rewind_with_credit_outstanding_delivers_each_once_per_round(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 50)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(500)
    for round_number in range(1, 6):
        await reader.get(50 * round_number)
        await consumer.rewind(1)
    await reader.get(300)
    assert reader.seqs == list(range(1, 51)) * 6
    assert reader.interruptions == []


async def test_unacknowledged_message_comes_again_after_ack_wait(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 2)
    reader = Reader()
    spec = ConsumerSpec(stream="EVT", name="r", patterns=("evt.>",), ack_wait_s=0.3)
    consumer = await transport.store.consume(spec, reader)
    consumer.credit(10)
    consumer.acknowledge((await reader.get(2))[0])
    await reader.get(3)
    assert (reader.deliveries[2].seq, reader.deliveries[2].deliveries) == (2, 2)


async def test_extended_message_does_not_come_again(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 2)
    reader = Reader()
    spec = ConsumerSpec(stream="EVT", name="r", patterns=("evt.>",), ack_wait_s=1.0)
    consumer = await transport.store.consume(spec, reader)
    consumer.credit(10)
    extended, left = await reader.get(2)
    while len(reader.deliveries) < 3:  # message 2 comes again; message 1 is extended all the while
        consumer.extend(extended)
        await asyncio.sleep(0.05)
    assert reader.deliveries[2].seq == left.seq


async def test_unacknowledged_messages_are_bounded(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 10)
    reader = Reader()
    spec = ConsumerSpec(stream="EVT", name="r", patterns=("evt.>",), max_ack_pending=4)
    consumer = await transport.store.consume(spec, reader)
    consumer.credit(10)
    deliveries = await reader.get(4)
    assert (await consumer.state()).unacknowledged == 4
    consumer.acknowledge(deliveries[0])
    await reader.get(5)
    assert reader.seqs == [1, 2, 3, 4, 5]


async def test_reader_is_told_of_a_reconnect_and_gets_everything_in_order_after_its_rewind(
    carrier: Carrier,
) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(EVT)
    await fill(transport, 10)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(4)
    for delivery in (await reader.get(4))[:2]:
        consumer.acknowledge(delivery)
    await consumer.state()
    consumer.credit(6)
    await reader.get(10)
    await carrier.cut()
    await _until_lost(transport)
    await carrier.restore()
    await reader.wait_interrupted()
    before = len(reader.deliveries)
    await fill(transport, 2)
    assert len(reader.deliveries) == before
    await consumer.rewind(3)
    consumer.credit(20)
    await reader.get(before + 10)
    assert reader.seqs[before:] == list(range(3, 13))
    assert len(reader.interruptions) == 1


async def test_outstanding_credit_survives_a_reconnect(carrier: Carrier) -> None:
    transport = await carrier.connect()
    await transport.store.ensure_stream(EVT)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(5)
    await carrier.cut()
    await _until_lost(transport)
    await carrier.restore()
    await reader.wait_interrupted()
    await consumer.rewind(1)
    await fill(transport, 8)
    await reader.get(5)
    assert (await consumer.state()).delivered == 5
    assert reader.seqs == [1, 2, 3, 4, 5]


async def test_closed_consumer_delivers_nothing_and_its_acknowledgements_have_arrived(
    transport: Transport,
) -> None:
    await transport.store.ensure_stream(EVT)
    await fill(transport, 3)
    reader = Reader()
    consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(10)
    for delivery in await reader.get(3):
        consumer.acknowledge(delivery)
    await consumer.close()
    await consumer.close()
    await fill(transport, 2)
    state = (await transport.administration.consumers("EVT"))["reader"]
    assert state.ack_floor == 3
    assert len(reader.deliveries) == 3
    with pytest.raises(Closed):
        await consumer.rewind(1)


async def test_backlog_passes_in_order_with_few_credits(transport: Transport) -> None:
    await transport.store.ensure_stream(EVT)
    for _ in range(3):
        await fill(transport, 1000)
    reader = OrderedReader()
    reader.consumer = consumer = await transport.store.consume(READ_ALL, reader)
    consumer.credit(64)
    await reader.until(lambda: reader.done == 3000, "message 3000")
    assert reader.payloads == [b"%d" % i for i in range(1000)] * 3
    assert reader.interruptions == []


# -- keys and values -------------------------------------------------------------------------------


class Seen(Changes):
    """Entries that a watch reported."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def __call__(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.changed()

    async def get(self, count: int) -> list[tuple[str, bytes | None]]:
        await self.until(lambda: len(self.entries) >= count, f"entry {count}")
        return [(entry.key, entry.value) for entry in self.entries]


@pytest.fixture
async def bucket(transport: Transport) -> KeyValue:
    return await transport.key_value("things")


async def test_key_is_read_back_with_a_growing_revision(bucket: KeyValue) -> None:
    one = await bucket.put("a.b", b"1")
    two = await bucket.put("a.b", b"2")
    assert two > one
    assert await bucket.get("a.b") == Entry(key="a.b", value=b"2", revision=two)


async def test_missing_and_deleted_keys_are_not_found(bucket: KeyValue) -> None:
    with pytest.raises(NotFound):
        await bucket.get("a")
    await bucket.put("a", b"1")
    await bucket.delete("a")
    with pytest.raises(NotFound):
        await bucket.get("a")


async def test_swap_writes_only_at_the_named_revision(bucket: KeyValue) -> None:
    first = await bucket.swap("a", b"1", revision=0)
    with pytest.raises(WrongRevision):
        await bucket.swap("a", b"2", revision=0)
    second = await bucket.swap("a", b"2", revision=first)
    with pytest.raises(WrongRevision):
        await bucket.swap("a", b"3", revision=first)
    assert (await bucket.get("a")).revision == second
    await bucket.delete("a")
    third = await bucket.swap("a", b"4", revision=0)
    assert (await bucket.get("a")).revision == third


async def test_of_two_swaps_at_once_one_wins(carrier: Carrier) -> None:
    buckets = [await (await carrier.connect()).key_value("things") for _ in range(2)]
    revision = await buckets[0].put("a", b"0")
    results = await asyncio.gather(
        *(b.swap("a", b"%d" % i, revision=revision) for i, b in enumerate(buckets)),
        return_exceptions=True,
    )
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, WrongRevision) for r in results) == 1


async def test_keys_lists_the_live_ones(bucket: KeyValue) -> None:
    assert await bucket.keys() == []
    for key in ("b", "a.x", "c"):
        await bucket.put(key, b"")
    await bucket.delete("c")
    assert sorted(await bucket.keys()) == ["a.x", "b"]


async def test_bucket_opened_twice_is_the_same(carrier: Carrier) -> None:
    one, two = [await (await carrier.connect()).key_value("things") for _ in range(2)]
    await one.put("a", b"1")
    assert (await two.get("a")).value == b"1"


async def test_watch_reports_what_is_there_and_then_each_change(bucket: KeyValue) -> None:
    await bucket.put("k.old", b"0")
    await bucket.put("k.old", b"1")
    await bucket.put("other", b"x")
    await bucket.put("k.gone", b"x")
    await bucket.delete("k.gone")
    seen = Seen()
    watch = await bucket.watch("k.>", seen)
    await seen.get(1)
    await bucket.put("k.new", b"2")
    await bucket.delete("k.old")
    assert await seen.get(3) == [("k.old", b"1"), ("k.new", b"2"), ("k.old", None)]
    await watch.close()
    await bucket.put("k.new", b"3")
    await bucket.get("k.new")
    assert len(seen.entries) == 3


async def test_watch_survives_a_reconnect_and_reports_nothing_twice(carrier: Carrier) -> None:
    transport = await carrier.connect()
    bucket, seen = await transport.key_value("things"), Seen()
    await bucket.put("a", b"1")
    await bucket.put("b", b"1")
    await bucket.watch(">", seen)
    await seen.get(2)
    await carrier.cut()
    await _until_lost(transport)
    await carrier.restore()
    await _until_back(transport)
    await bucket.put("a", b"2")
    await bucket.delete("b")
    await bucket.put("c", b"1")
    assert await seen.get(5) == [
        ("a", b"1"),
        ("b", b"1"),
        ("a", b"2"),
        ("b", None),
        ("c", b"1"),
    ]


async def test_key_that_is_too_old_goes_and_watchers_see_it(transport: Transport) -> None:
    bucket, seen = await transport.key_value("leases", max_age_s=1.0), Seen()
    await bucket.watch(">", seen)
    await bucket.put("a", b"1")
    assert await seen.get(2) == [("a", b"1"), ("a", None)]
    with pytest.raises(NotFound):
        await bucket.get("a")
