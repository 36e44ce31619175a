from __future__ import annotations

from dataclasses import replace

import pytest

from bus.envelope.types import Reason, Refused
from bus.services.discovery.records import RecordRefused, instance_of, record_of
from bus.services.protocol import Method
from schemas.generated.medmesh.control.v1 import control_pb2 as pb
from tests.unit.bus.services.discovery.kit import NORTH, World, offer

ID = "a" * 16


async def handler(body: bytes, _: object) -> bytes:
    return body


def record(**fields: object) -> pb.InstanceRecord:
    made = record_of(offer(), site=NORTH, instance=ID, connection="lab/1", started_ms=5)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def believed(world: World, made: pb.InstanceRecord, key: tuple[str, str] = ("lab", ID)) -> str:
    raw = world.seals(world.identity()).seal(made)
    return instance_of(world.seals().open(raw, max_bytes=9999), key=key, site="north").id


def test_record_is_read_back_as_it_was_offered() -> None:
    world, made = World(), offer(zone="b2", weight=7, metadata={"k": "v"})
    raw = world.seals(world.identity()).seal(
        record_of(made, site=NORTH, instance=ID, connection="lab/1", started_ms=5)
    )
    found = instance_of(world.seals().open(raw, max_bytes=9999), key=("lab", ID), site="north")
    assert (found.service, found.id, found.version, found.site) == ("lab", ID, "1.2.0", "north")
    assert (found.zone, found.weight, found.metadata) == ("b2", 7, {"k": "v"})
    assert (found.methods, found.connection, found.started_ms) == (("echo",), "lab/1", 5)


def test_same_record_gives_the_same_bytes() -> None:
    world = World()
    seals = world.seals(world.identity())
    made = record_of(
        offer(metadata={str(i): "v" for i in range(50)}),
        site=NORTH,
        instance=ID,
        connection="",
        started_ms=5,
    )
    assert seals.seal(made) == seals.seal(pb.InstanceRecord.FromString(made.SerializeToString()))


def test_process_with_several_instances_tells_them_apart_behind_a_dash() -> None:
    assert believed(World(), record(instance=f"{ID}-2"), ("lab", f"{ID}-2")) == f"{ID}-2"


@pytest.mark.parametrize(
    ("fields", "key", "reason"),
    [
        ({}, ("lab", "b" * 16), "wrong_key"),
        ({}, ("his", ID), "wrong_key"),
        ({"service": "his"}, ("his", ID), "wrong_signer"),
        ({"instance": "b" * 16}, ("lab", "b" * 16), "wrong_signer"),
        ({"instance": ID + "b"}, ("lab", ID + "b"), "wrong_signer"),
        ({"site": "south"}, ("lab", ID), "wrong_site"),
        ({"version": "one"}, ("lab", ID), "malformed"),
        ({"version": "1" * 9}, ("lab", ID), "malformed"),
        ({"version": ""}, ("lab", ID), "malformed"),
        ({"zone": "x" * 513}, ("lab", ID), "malformed"),
        ({"weight": 10_001}, ("lab", ID), "malformed"),
    ],
)
def test_record_that_its_signer_may_not_write_is_refused(
    fields: dict[str, object], key: tuple[str, str], reason: str
) -> None:
    with pytest.raises(RecordRefused) as refused:
        believed(World(), record(**fields), key)
    assert refused.value.reason == reason


def test_record_of_another_site_is_refused_though_its_signer_is_of_that_site() -> None:
    world = World()
    raw = world.seals(world.identity(site="south")).seal(record())
    with pytest.raises(RecordRefused) as refused:
        instance_of(world.seals().open(raw, max_bytes=9999), key=("lab", ID), site="north")
    assert refused.value.reason == "wrong_signer"


def test_record_with_too_much_in_it_is_refused() -> None:
    methods = tuple(Method(name=f"m{i}", handler=handler) for i in range(257))
    with pytest.raises(RecordRefused, match="more than 256"):
        record_of(
            replace(offer(), methods=methods), site=NORTH, instance=ID, connection="", started_ms=1
        )


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\xff" * 50, b"\x0a\x08instance\x12\x02\xff\xff"])
def test_bytes_that_are_no_record_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        World().seals().open(raw, max_bytes=9999)


def test_changed_record_and_oversized_one_are_refused() -> None:
    world = World()
    raw = world.seals(world.identity()).seal(record())
    with pytest.raises(Refused) as refused:
        world.seals().open(raw.replace(b"lab", b"law", 1), max_bytes=9999)
    assert refused.value.reason is Reason.BAD_SIGNATURE
    with pytest.raises(Refused) as refused:
        world.seals().open(raw, max_bytes=len(raw) - 1)
    assert refused.value.reason is Reason.TOO_LARGE
