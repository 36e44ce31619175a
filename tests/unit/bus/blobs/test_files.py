"""Blobs on a disk that others read, change, cut, fill or crash over."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bus.blobs.files import FileBlobs
from bus.blobs.format import HEADER_BYTES, TAG_BYTES, Header, StoreKey
from bus.blobs.protocol import BlobDamaged, BlobId, BlobRefused

KEY = StoreKey(b"k" * 32)
FRAME = 1_024
SEALED = FRAME + TAG_BYTES
WHOLE = bytes(range(256)) * 14  # three whole frames and a half


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FileBlobs]:
    store = FileBlobs(tmp_path, KEY, frame_bytes=FRAME)
    await store.start()
    yield store
    await store.stop()


async def put(blobs: FileBlobs, whole: bytes = WHOLE) -> BlobId:
    writer = blobs.begin()
    writer.write(whole)
    return (await writer.finish()).id


async def got(blobs: FileBlobs, blob: BlobId) -> bytes:
    return b"".join([piece async for piece in blobs.read(blob)])


def cut_by_a_frame(raw: bytes) -> bytes:
    """The last frame is gone, the seal is there."""
    return raw[: HEADER_BYTES + 3 * SEALED] + raw[-TAG_BYTES:]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_stolen_disk_shows_neither_content_nor_id(blobs: FileBlobs, tmp_path: Path) -> None:
    blob = await put(blobs)
    (path,) = files(tmp_path)
    assert blob not in str(path)
    assert WHOLE[:16] not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


async def test_the_same_content_looks_different_each_time(blobs: FileBlobs, tmp_path: Path) -> None:
    blob = await put(blobs)
    (path,) = files(tmp_path)
    first = path.read_bytes()
    await blobs.remove(blob)
    await put(blobs)
    assert path.read_bytes() != first


def flipped(at: int) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]

    return change


def swapped(raw: bytes) -> bytes:
    head, body = raw[:HEADER_BYTES], raw[HEADER_BYTES:]
    return head + body[SEALED : 2 * SEALED] + body[:SEALED] + body[2 * SEALED :]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(flipped(0), id="magic"),
        pytest.param(flipped(11), id="frame size"),
        pytest.param(flipped(15), id="key id"),
        pytest.param(flipped(30), id="salt"),
        pytest.param(flipped(HEADER_BYTES), id="first byte"),
        pytest.param(flipped(-1), id="last byte"),
        pytest.param(swapped, id="swapped frames"),
        pytest.param(lambda raw: raw[:-1], id="cut by a byte"),
        pytest.param(
            lambda raw: raw[: HEADER_BYTES + 3 * SEALED], id="cut by a frame and the seal"
        ),
        pytest.param(cut_by_a_frame, id="cut by a frame"),
        pytest.param(lambda raw: raw[:HEADER_BYTES], id="header alone"),
        pytest.param(lambda raw: raw[: HEADER_BYTES - 1], id="half a header"),
        pytest.param(lambda raw: b"", id="nothing"),
        pytest.param(lambda raw: raw + b"x", id="a byte more"),
    ],
)
async def test_a_changed_blob_is_never_given(
    blobs: FileBlobs, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    blob = await put(blobs)
    (path,) = files(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BlobDamaged):
        await got(blobs, blob)
    assert await blobs.remove(blob)


async def test_a_damaged_blob_heals_when_it_is_stored_again(
    blobs: FileBlobs, tmp_path: Path
) -> None:
    blob = await put(blobs)
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert await put(blobs) == blob
    assert await got(blobs, blob) == WHOLE


async def test_a_blob_in_the_place_of_another_is_not_given(
    blobs: FileBlobs, tmp_path: Path
) -> None:
    first = await put(blobs)
    (path,) = files(tmp_path)
    await put(blobs, b"other")
    (other,) = [one for one in files(tmp_path) if one != path]
    path.write_bytes(other.read_bytes())
    with pytest.raises(BlobDamaged, match="another blob"):
        await got(blobs, first)


async def test_another_key_opens_nothing(tmp_path: Path, blobs: FileBlobs) -> None:
    blob = await put(blobs)
    (path,) = files(tmp_path)
    stranger = StoreKey(b"s" * 32)
    there = tmp_path / stranger.name(blob)[:2] / stranger.name(blob)
    path.rename(there)
    other = FileBlobs(tmp_path, stranger)
    with pytest.raises(BlobDamaged, match=f"under key {KEY.id.hex()}"):
        await got(other, blob)
    await other.stop()


async def test_what_a_crash_left_is_swept_at_the_start(tmp_path: Path, blobs: FileBlobs) -> None:
    kept = await put(blobs)
    left = tmp_path / "part" / "dead.part"
    left.write_bytes(Header(FRAME, KEY.id, bytes(32)).write())
    again = FileBlobs(tmp_path, KEY)
    await again.start()
    assert not left.exists()
    assert await got(again, kept) == WHOLE
    await again.stop()


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
async def test_a_disk_that_fails_refuses_the_blob_and_leaves_nothing(
    blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = await put(blobs, b"before")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        writer = blobs.begin()
        for _ in range(20):
            writer.write(WHOLE)
            await writer.ready()
        with pytest.raises(BlobRefused, match="No space left on device"):
            await writer.finish()
    assert len(files(tmp_path)) == 1
    assert await got(blobs, before) == b"before"
    await put(blobs)


async def test_a_writer_holds_little_however_large_the_blob(blobs: FileBlobs) -> None:
    writer = blobs.begin()
    piece = bytes(1 << 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(800):
        writer.write(piece)
        if writer.is_full:
            await writer.ready()
    stored = await writer.finish()
    assert stored.size == 800 << 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


async def test_a_reader_goes_on_while_the_blob_is_removed(blobs: FileBlobs) -> None:
    blob = await put(blobs)
    pieces = [b""]
    async for piece in blobs.read(blob):
        pieces.append(piece)
        await blobs.remove(blob)
    assert b"".join(pieces) == WHOLE


async def test_a_blob_discarded_while_it_is_written_leaves_nothing(
    blobs: FileBlobs, tmp_path: Path
) -> None:
    writers = [blobs.begin() for _ in range(20)]
    for writer in writers:
        writer.write(WHOLE * 4)
        await asyncio.sleep(0)
        writer.discard()
    for writer in writers:
        await writer.ready()
    await blobs.stop()
    assert files(tmp_path) == []
