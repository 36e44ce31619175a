from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bus.envelope.padding import pad_field, padme
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb


@given(size=st.integers(1, 1 << 24))
def test_padding_ends_on_a_bucket_and_costs_little(size: int) -> None:
    pad = pad_field(size)
    assert padme(size + len(pad)) == size + len(pad)
    assert len(pad) <= max(8, size // 7)


@given(body=st.binary(max_size=4000), source=st.text(max_size=40))
def test_padded_content_reads_as_the_same_content(body: bytes, source: str) -> None:
    content = content_pb.Content(body=body, source=source)
    raw = content.SerializeToString()
    read = content_pb.Content.FromString(raw + pad_field(len(raw)))
    read.ClearField("pad")
    assert read == content
