"""What buckets in memory promise, on every carrier; those on disk are in test_transport."""

from __future__ import annotations

import pytest

from bus.transport.protocol import Entry, KeyValue, LinkState, NotFound, Transport
from tests.contract.carriers import Carrier, Changes, eventually


class Seen(Changes):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, bytes] = {}
        self.gone: list[str] = []
        self.count = 0

    def __call__(self, entry: Entry) -> None:
        self.count += 1
        if entry.value is None:
            self.values.pop(entry.key, None)
            self.gone.append(entry.key)
        else:
            self.values[entry.key] = entry.value
        self.changed()

    async def get(self, **values: bytes) -> None:
        await self.until(lambda: self.values == values, f"{values}")


async def leases(transport: Transport, *, max_age_s: float = 0.0) -> KeyValue:
    return await transport.key_value("leases", max_age_s=max_age_s, in_memory=True)


async def restart(carrier: Carrier, *transports: Transport) -> None:
    await carrier.cut()
    for one in transports:
        await eventually(lambda one=one: one.link is not LinkState.CONNECTED, "the loss")  # type: ignore[misc]  # bound at once
    await carrier.restore()
    for one in transports:
        await eventually(lambda one=one: one.link is LinkState.CONNECTED, "the return")  # type: ignore[misc]  # bound at once


async def test_bucket_in_memory_is_a_bucket_like_any_other(transport: Transport) -> None:
    bucket, seen = await leases(transport), Seen()
    await bucket.watch(">", seen)
    one = await bucket.put("a", b"1")
    assert await bucket.swap("a", b"2", revision=one) > one
    await bucket.put("b", b"3")
    await seen.get(a=b"2", b=b"3")
    assert (await bucket.get("a")).value == b"2"
    assert sorted(await bucket.keys()) == ["a", "b"]
    await bucket.delete("a")
    await seen.get(b=b"3")
    with pytest.raises(NotFound):
        await bucket.get("a")


async def test_lease_that_is_renewed_stays_and_one_that_is_not_goes(transport: Transport) -> None:
    bucket, seen = await leases(transport, max_age_s=1.0), Seen()
    await bucket.watch(">", seen)
    await bucket.put("idle", b"1")
    while "idle" not in seen.gone:
        before = seen.count
        await bucket.put("busy", b"1")
        await seen.until(lambda: seen.count > before, "the renewal")  # noqa: B023 -- called in this round
    assert "busy" not in seen.gone


async def test_bucket_in_memory_is_written_again_after_the_server_forgot_it(
    carrier: Carrier,
) -> None:
    transport = await carrier.connect()
    bucket = await leases(transport)
    await bucket.put("a", b"1")
    await restart(carrier, transport)
    await bucket.put("b", b"2")
    assert await bucket.keys() == ["b"]


async def test_watch_reports_what_the_server_forgot_and_what_comes_then(carrier: Carrier) -> None:
    writer, reader, seen = await carrier.connect(), await carrier.connect(), Seen()
    bucket = await leases(writer)
    await (await leases(reader)).watch(">", seen)
    for _ in range(5):  # revisions far above those of the bucket to come
        await bucket.put("again", b"1")
        await bucket.put("lost", b"1")
    await seen.get(again=b"1", lost=b"1")
    await restart(carrier, writer, reader)
    await bucket.put("again", b"1")
    await bucket.put("new", b"2")
    await seen.get(again=b"1", new=b"2")
    assert "lost" in seen.gone
    await bucket.put("again", b"3")
    await seen.get(again=b"3", new=b"2")
