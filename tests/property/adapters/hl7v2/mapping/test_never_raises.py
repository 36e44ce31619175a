"""Whatever stands in a message: resources and issues, and nothing else."""

from __future__ import annotations

from functools import lru_cache

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.codec import Message
from adapters.hl7v2.mapping import MapContext, Mapped, Mapper, Output, to_json
from schemas.errors import MeshError
from tests.unit.adapters.hl7v2.mapping.standin import MSH, ORU, PID, mapper

_FIELD = st.text(alphabet='AMNF09.:^~&\\"+- \u00e9\x01\t', max_size=24)
_SEGMENT = st.builds(
    lambda name, fields: "|".join([name, *fields]),
    st.sampled_from(["PID", "PV1", "PV2", "OBR", "OBX", "ORC", "DG1", "AL1", "NTE", "MRG", "ZZZ"]),
    st.lists(_FIELD, max_size=30),
)


@lru_cache(maxsize=1)
def _mapper() -> Mapper:
    return mapper()


def _check_filled(value: object) -> None:
    """No empty text, list or object, and no null, at any depth."""
    assert value not in ("", None, [], {})
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        _check_filled(one)


def _check(raw: bytes, output: Output = Output.MESSAGE) -> Mapped | None:
    try:
        message = Message.parse(raw)
    except MeshError:
        return None
    result = _mapper().map(message, MapContext(tenant="north", output=output))
    if result.bundle is not None:
        _check_filled(orjson.loads(to_json(result.bundle)))
    assert result.resources or result.issues
    return result


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([MSH, ORU]), st.lists(_SEGMENT, max_size=8), st.sampled_from(list(Output)))
def test_any_fields_give_resources_and_issues(
    head: str, segments: list[str], output: Output
) -> None:
    _check("\r".join([head, *segments]).encode(), output)


@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0, max_value=400))
def test_cut_message_is_mapped_as_far_as_it_goes(length: int) -> None:
    message = "\r".join(
        [
            ORU,
            PID,
            "OBR|1|P1|F1|1^A^LN|||20260101||||||||||||||||||F",
            "OBX|1|NM|1^A^LN||1.10||||||F",
        ]
    )
    _check(message.encode()[:length])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_in_a_segment_are_survived(noise: bytes) -> None:
    _check(MSH.encode() + b"\rPID|" + noise + b"\rPV1|" + noise)
