"""What every store of blobs promises."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.blobs.files import FileBlobs
from bus.blobs.format import StoreKey
from bus.blobs.protocol import BlobId, BlobMissing, Blobs, BlobWriter, Stored

KEY = StoreKey(b"k" * 32)
FRAME = 4_096
SIZES = (0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 10 * FRAME + 17)


@pytest.fixture(params=["files"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    store = FileBlobs(tmp_path / "blobs", KEY, frame_bytes=FRAME)
    await store.start()
    yield store
    await store.stop()


def content(size: int) -> bytes:
    return bytes(number * 7 % 256 for number in range(size))


async def put(blobs: Blobs, whole: bytes, *, step: int = 1_000) -> Stored:
    writer = blobs.begin()
    await feed(writer, whole, step=step)
    return await writer.finish()


async def feed(writer: BlobWriter, whole: bytes, *, step: int = 1_000) -> None:
    for start in range(0, len(whole), step):
        writer.write(memoryview(whole)[start : start + step])
        if writer.is_full:
            await writer.ready()


async def got(blobs: Blobs, blob: BlobId, **wanted: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(blob, **wanted)])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [100, FRAME, 100_000])
async def test_what_is_read_is_what_was_written(blobs: Blobs, size: int, step: int) -> None:
    whole = content(size)
    stored = await put(blobs, whole, step=step)
    assert stored == Stored(BlobId(hashlib.sha256(whole).hexdigest()), size, is_new=True)
    assert await got(blobs, stored.id) == whole
    assert await blobs.size(stored.id) == size


@pytest.mark.parametrize("start", [0, 1, FRAME - 1, FRAME, 2 * FRAME + 5, 99_999])
@pytest.mark.parametrize("length", [0, 1, FRAME, 3 * FRAME, 99_999])
async def test_any_range_is_served(blobs: Blobs, start: int, length: int) -> None:
    whole = content(3 * FRAME + 100)
    stored = await put(blobs, whole)
    assert await got(blobs, stored.id, start=start, length=length) == whole[start : start + length]


async def test_the_same_content_is_kept_once(blobs: Blobs) -> None:
    first, again = await put(blobs, b"same"), await put(blobs, b"same")
    assert (first.is_new, again.is_new) == (True, False)
    assert first.id == again.id
    assert await got(blobs, first.id) == b"same"


async def test_many_are_written_at_once(blobs: Blobs) -> None:
    wholes = [content(size) + bytes([number]) for number, size in enumerate(SIZES * 4)]
    found = await asyncio.gather(*(put(blobs, whole) for whole in wholes))
    for whole, stored in zip(wholes, found, strict=True):
        assert await got(blobs, stored.id) == whole


async def test_the_same_content_may_be_written_twice_at_once(blobs: Blobs) -> None:
    whole = content(5 * FRAME)
    found = await asyncio.gather(*(put(blobs, whole) for _ in range(8)))
    assert {one.id for one in found} == {found[0].id}
    assert await got(blobs, found[0].id) == whole


async def test_a_view_may_change_after_it_was_taken(blobs: Blobs) -> None:
    buffer = bytearray(b"a" * 10)
    writer = blobs.begin()
    writer.write(memoryview(buffer))
    buffer[:] = b"b" * 10
    assert (await writer.finish()).id == hashlib.sha256(b"a" * 10).hexdigest()


@pytest.mark.parametrize("size", [0, 10, 5 * FRAME])
async def test_what_is_discarded_is_not_there(blobs: Blobs, size: int) -> None:
    writer = blobs.begin()
    await feed(writer, content(size))
    writer.discard()
    await writer.ready()
    with pytest.raises(BlobMissing):
        await blobs.size(BlobId(hashlib.sha256(content(size)).hexdigest()))


async def test_what_is_removed_is_gone(blobs: Blobs) -> None:
    stored = await put(blobs, b"x")
    assert await blobs.remove(stored.id)
    assert not await blobs.remove(stored.id)
    with pytest.raises(BlobMissing):
        await got(blobs, stored.id)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65])
async def test_a_name_that_is_no_id_leads_nowhere(blobs: Blobs, name: str) -> None:
    with pytest.raises(BlobMissing):
        await blobs.size(BlobId(name))
