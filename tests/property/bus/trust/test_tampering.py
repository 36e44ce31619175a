"""A hostile carrier: what it changes in certificates, heads and key packages is refused; nothing else happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.envelope.sealer import Sealer
from bus.envelope.types import EpochId, Plain, Refused
from bus.transport.memory import MemoryBroker
from bus.trust.objects import merkle_root, open_certificate, open_head, open_request
from bus.trust.root import Root
from bus.trust.sharing import open_share
from schemas.clock import FakeClock
from schemas.generated.medmesh.content.v1 import content_pb2
from schemas.generated.medmesh.envelope.v1 import envelope_pb2
from tests.unit.bus.trust.world import Instance, World, open_trust

ROUNDS = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass
class Samples:
    root: Root
    certificate: bytes
    head: bytes
    request: bytes


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    world = World(tmp_path_factory.mktemp("world"))
    request = Instance(publish=("evt.>",), subscribe=("evt.>",)).request(world.clock.now_ms())
    certificate = world.authority.issue(request)
    return Samples(world.authority.root, certificate, world.authority.head(), request)


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def sampled_bits(raw: bytes, *, step: int) -> list[int]:
    """Every bit of the first 192 bytes, and every `step`-th of the long keys and signatures that follow."""
    edge = 192 * 8
    dense = range(min(edge, len(raw) * 8))
    return [*dense, *range(edge, len(raw) * 8, step)]


def test_changed_bits_of_a_head_are_refused(samples: Samples) -> None:
    signed = envelope_pb2.SignedObject.FromString(samples.head)
    tag_at = len(samples.head) - len(signed.pq_sig) - 3
    bits = {*sampled_bits(samples.head, step=41), *range(tag_at * 8, (tag_at + 4) * 8)}
    for bit in sorted(bits):
        with pytest.raises(Refused):
            open_head(flipped(samples.head, bit), samples.root)


def test_changed_bits_of_a_certificate_are_refused(samples: Samples) -> None:
    signed = envelope_pb2.SignedObject.FromString(samples.certificate)
    body_at = samples.certificate.index(signed.body)
    signature_at = body_at + len(signed.body)
    bits = {*sampled_bits(samples.certificate, step=61)}
    bits |= {*range(signature_at * 8, (signature_at + 80) * 8)}
    for bit in sorted(bits):
        with pytest.raises(Refused):
            open_certificate(flipped(samples.certificate, bit), samples.root)


@ROUNDS
@given(cut=st.integers(min_value=0), extra=st.binary(min_size=1, max_size=64))
def test_cut_and_lengthened_objects_are_refused(samples: Samples, cut: int, extra: bytes) -> None:
    for raw, check in (
        (samples.certificate, open_certificate),
        (samples.head, open_head),
    ):
        with pytest.raises(Refused):
            check(raw[: cut % len(raw)], samples.root)
        try:
            check(raw + extra, samples.root)
        except Refused:
            continue
        # what protobuf lets stand after the signed fields is an unknown field: it changes nothing that is signed
        assert check(raw + extra, samples.root) == check(raw, samples.root)


@ROUNDS
@given(raw=st.binary(max_size=512))
def test_any_bytes_are_refused_and_nothing_else(samples: Samples, raw: bytes) -> None:
    checks: list[Callable[[], object]] = [
        lambda: open_certificate(raw, samples.root),
        lambda: open_head(raw, samples.root),
        lambda: open_request(raw),
        lambda: Root.from_bytes(raw),
    ]
    for check in checks:
        with pytest.raises(Refused):
            check()


@ROUNDS
@given(raw=st.binary(max_size=512))
def test_any_bytes_as_a_share_are_refused(samples: Samples, raw: bytes, tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(Refused):
        open_share(raw, own=[], service="spiffe://a/b/c", seals=[], directory=world.directory)


def test_changed_bits_of_a_request_are_refused(samples: Samples) -> None:
    for bit in sampled_bits(samples.request, step=23):
        with pytest.raises(Refused):
            open_request(flipped(samples.request, bit))


@ROUNDS
@given(leaves=st.lists(st.binary(min_size=16, max_size=16), max_size=40))
def test_the_root_is_rfc_6962s(leaves: list[bytes]) -> None:
    import hashlib

    def reference(of: list[bytes]) -> bytes:
        if len(of) <= 1:
            return hashlib.sha256(b"\0" + of[0] if of else b"").digest()
        split = 1 << (len(of) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + reference(of[:split]) + reference(of[split:])).digest()

    assert merkle_root(leaves) == reference(leaves)


async def test_changed_bits_of_a_key_package_on_the_carrier_are_refused(tmp_path: Path) -> None:
    clock = FakeClock()
    transport = await MemoryBroker(clock=clock).connect()
    one = await open_trust(tmp_path / "one", transport, clock)
    two = await open_trust(
        tmp_path / "two", transport, clock, authority_folder=tmp_path / "one/authority"
    )
    sender = await one.identity("emr-in", publish=["evt.>"])
    await one.identity("his-out", subscribe=["evt.>"])
    sealer = Sealer(sender.signing_key, sender.certificate, one.directory, clock)
    batch = sealer.seal([Plain(subject="evt.x", content=content_pb2.Content(type="x"))])
    (epoch, raw), *_ = batch.key_packages
    bucket = await transport.key_value("keys")
    for bit in sampled_bits(raw, step=13):
        await bucket.put(epoch.hex(), flipped(raw, bit))
        with pytest.raises(Refused):
            await two.key_package(epoch)
    await bucket.put(epoch.hex(), raw)
    assert await two.key_package(EpochId(epoch)) == raw
    await one.stop()
    await two.stop()


async def test_a_carrier_full_of_garbage_changes_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    transport = await MemoryBroker(clock=clock).connect()
    trust = await open_trust(tmp_path / "trust", transport, clock)
    reader = await trust.identity("his-out", subscribe=["evt.>"])
    certificates = await transport.key_value("certs")
    for number in range(64):
        junk = bytes((number,)) * (number * 7)
        await certificates.put(f"his-out.{number:016x}.{number:032x}", junk)
        await certificates.put(f"odd.key{number}", junk)
        await (await transport.key_value("svckeys")).put(f"his-out.1.{number:016x}", junk)
    await (await transport.key_value("svckeys")).put(f"his-out.1.{reader.instance}", b"junk")
    await (await transport.key_value("directory")).put("head", b"junk")
    await trust.tick()
    assert await trust.fetch_certificate(reader.certificate.id)
    assert trust.directory.readers("evt.x") == (reader.certificate,)
    assert trust.directory.fresh
    await trust.stop()
    again = await open_trust(tmp_path / "trust", transport, clock)
    assert again.directory.readers("evt.x") == (reader.certificate,)
    await again.stop()
