from __future__ import annotations

import pytest

from bus.envelope.padding import pad_field, padme, varint
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        (0, 0),
        (1, 1),
        (2, 2),
        (8, 8),
        (9, 10),
        (100, 104),
        (1000, 1024),
        (2050, 2176),
        (1 << 20, 1 << 20),
    ],
)
def test_buckets_are_those_of_padme(size: int, bucket: int) -> None:
    """Computed by hand from the definition in the PURBs paper."""
    assert padme(size) == bucket


def test_buckets_cost_at_most_12_percent_and_are_buckets_themselves() -> None:
    for size in range(1, 40_000):
        assert size <= padme(size) <= size * 1.12 + 1
        assert padme(padme(size)) == padme(size)


def test_every_padded_size_is_a_bucket_and_parses() -> None:
    sizes = [
        *range(1, 5000),
        *range(16_000, 16_800),
        *range(262_000, 262_300),
        3_000_001,
        40_000_001,
    ]
    for size in sizes:
        pad = pad_field(size)
        assert padme(size + len(pad)) == size + len(pad)
        if pad:
            padded = content_pb.Content.FromString(pad)
            assert not any(padded.pad)
            if padded.pad:
                assert padded.SerializeToString() == pad
    assert len({size + len(pad_field(size)) for size in range(1000, 2000)}) < 40


def test_padding_stays_small() -> None:
    for size in range(64, 40_000):
        assert len(pad_field(size)) <= 0.25 * size


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16383, 16384, 2097151, 2097152, 1 << 28])
def test_varint_is_protobufs(number: int) -> None:
    raw = content_pb.Content(encoding=number).SerializeToString()  # type: ignore[arg-type]  # any int32
    assert (raw[1:] or b"\0") == varint(number)
