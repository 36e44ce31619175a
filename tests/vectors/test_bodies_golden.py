"""What was stored decodes for ever, or is refused for its reason; every dictionary that was shipped is still there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bus.bodies import BadBody, BodyCodec
from schemas.generated.medmesh.content.v1 import content_pb2 as pb
from tests.vectors.bodies.generate import FILE, digest

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(FILE.read_text("utf-8"))
unhex = bytes.fromhex


def held(one: dict[str, Any]) -> pb.Content:
    return pb.Content(
        encoding=pb.BodyEncoding.ValueType(one["encoding"]),
        dictionary_id=unhex(one["dictionary_id"]),
        raw_size=one["raw_size"],
        body=unhex(one["body"]),
    )


@pytest.mark.parametrize("number", range(len(VECTORS["bodies"])))
def test_a_stored_body_decodes_to_what_was_sent(number: int) -> None:
    one = VECTORS["bodies"][number]
    assert digest(BodyCodec().decode(held(one))) == one["sha256"]


def test_the_vectors_hold_every_encoding() -> None:
    assert {one["encoding"] for one in VECTORS["bodies"]} == {1, 2, 3}
    assert len({one["dictionary_id"] for one in VECTORS["bodies"]}) == 3


@pytest.mark.parametrize("name", [one["name"] for one in VECTORS["refusals"]])
def test_a_hostile_body_is_refused_for_its_reason(name: str) -> None:
    (one,) = (other for other in VECTORS["refusals"] if other["name"] == name)
    with pytest.raises(BadBody) as refused:
        BodyCodec().decode(held(one))
    assert refused.value.reason.value == one["reason"]
