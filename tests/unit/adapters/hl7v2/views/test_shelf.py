"""Tables of a site in a bucket: written once by one, read by all, and by nobody else."""

from __future__ import annotations

import pytest

from adapters.hl7v2.views.shelf import BUCKET, LayerRefused, Shelf, Shelved
from bus.transport.memory import MemoryBroker
from bus.transport.protocol import KeyValue
from bus.transport.types import NotFound, WrongRevision

FILES = {"segments/pid.yaml": b"segment: PID[Patient]\n", "codes/Sex.csv": "source\nä\n".encode()}


@pytest.fixture
async def bucket() -> KeyValue:
    transport = await MemoryBroker().connect(name="maps")
    return await transport.key_value(BUCKET, history=4)


@pytest.fixture
def shelf(bucket: KeyValue) -> Shelf:
    return Shelf(bucket, b"s" * 32)


def layer(files: dict[str, bytes] = FILES, *, revision: int = 0) -> Shelved:
    return Shelved(
        files=files, author="engineer", reason="local sex codes", at_ms=1, revision=revision
    )


async def test_a_layer_is_read_as_it_was_written(shelf: Shelf) -> None:
    revision = await shelf.write("views", layer())
    assert await shelf.read("views") == layer(revision=revision)
    with pytest.raises(NotFound):
        await shelf.read("others")


async def test_a_stale_write_is_refused(shelf: Shelf) -> None:
    revision = await shelf.write("views", layer())
    with pytest.raises(WrongRevision):
        await shelf.write("views", layer({"a.yaml": b"x"}))
    await shelf.write("views", layer({"a.yaml": b"x"}, revision=revision))


async def test_changes_are_told_and_forgeries_refused(shelf: Shelf, bucket: KeyValue) -> None:
    seen: list[Shelved | LayerRefused | None] = []
    await shelf.write("views", layer())
    watch = await shelf.follow("views", seen.append)
    entry = await bucket.get("views")
    assert entry.value is not None
    await bucket.put("views", entry.value[:-1] + b"\0")
    await bucket.put("views", b"")
    await bucket.put("views", entry.value)
    await bucket.delete("views")
    await watch.close()
    assert [type(one).__name__ for one in seen] == [
        "Shelved",
        "LayerRefused",
        "NoneType",
        "Shelved",
        "NoneType",
    ]


async def test_a_layer_of_one_adapter_is_none_of_another(shelf: Shelf, bucket: KeyValue) -> None:
    await shelf.write("views", layer())
    entry = await bucket.get("views")
    assert entry.value is not None
    await bucket.put("others", entry.value)
    with pytest.raises(LayerRefused):
        await shelf.read("others")


async def test_bytes_that_are_no_text_are_refused_by_name(shelf: Shelf) -> None:
    with pytest.raises(LayerRefused, match=r"segments/pid\.yaml"):
        await shelf.write("views", layer({"segments/pid.yaml": b"\xff\xfe"}))
