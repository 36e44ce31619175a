"""No bit of an envelope can change, and no part of one can move to another."""

from __future__ import annotations

from itertools import product

import pytest

from bus.envelope import Opener, Reason, Refused, standalone
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope.world import SUBJECT, World, content, plain, reason_of

PARTS = ("batch", "head", "body", "path", "sig", "key_package")
both_suites = pytest.mark.parametrize("suite", [1, 2])
cold_and_warm = pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])


def flips(raw: bytes, step: int = 1) -> list[bytes]:
    found: list[bytes] = []
    for bit in range(0, len(raw) * 8, step):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        found.append(bytes(flipped))
    return found


def receiver(world: World, raws: list[bytes], *, is_warm: bool) -> Opener:
    """With the key package; warm: all other messages of the batch opened as well."""
    opener = world.opener()
    for package in world.packages.values():
        opener.learn(package)
    if is_warm:
        for raw in raws:
            opener.open(SUBJECT, raw)
    return opener


def refuse_all(opener: Opener, tampered: list[bytes]) -> set[Reason]:
    reasons: set[Reason] = set()
    for number, raw in enumerate(tampered):
        try:
            opener.open(SUBJECT, raw)
        except Refused as refused:
            reasons.add(refused.reason)
        else:
            pytest.fail(f"number {number} of {len(tampered)} was accepted")
    return reasons


@both_suites
@cold_and_warm
@pytest.mark.parametrize("index", [0, 2])
def test_every_single_bit_flip_is_refused(suite: int, is_warm: bool, index: int) -> None:
    world = World(suite=suite)
    raws = world.seal(world.sealer(), plain(b"a"), plain(b"b"), plain(b"c"))
    opener = receiver(world, raws, is_warm=is_warm)
    reasons = refuse_all(opener, flips(raws[index]))
    assert {Reason.MALFORMED, Reason.SUBJECT_MISMATCH, Reason.UNKNOWN_SIGNER} <= reasons
    assert opener.open(SUBJECT, raws[index]).content == content((b"a", b"b", b"c")[index])


@both_suites
@cold_and_warm
def test_every_single_bit_flip_of_the_standalone_form_is_refused(suite: int, is_warm: bool) -> None:
    world = World(suite=suite)
    (raw,) = world.seal(world.sealer(), plain(b"a"))
    ((_, package),) = world.packages.items()
    whole = standalone(raw, package)
    opener = receiver(world, [whole], is_warm=True) if is_warm else world.opener()
    refuse_all(opener, flips(whole, step=1 if suite == 1 else 7))
    assert opener.open(SUBJECT, whole).content == content(b"a")


@both_suites
@cold_and_warm
def test_every_truncation_and_every_added_byte_is_refused(suite: int, is_warm: bool) -> None:
    world = World(suite=suite)
    raws = world.seal(world.sealer(), plain(b"a"), plain(b"b"))
    opener = receiver(world, raws, is_warm=is_warm)
    refuse_all(opener, [raws[0][:size] for size in range(len(raws[0]))])
    refuse_all(opener, [raws[0] + bytes((byte,)) for byte in range(256)])


@both_suites
@cold_and_warm
def test_every_swap_of_parts_between_valid_envelopes_is_refused(suite: int, is_warm: bool) -> None:
    """Of the same batch, of another batch of the same sender and epoch, and of another sender."""
    world = World(suite=suite)
    sealer = world.sealer()
    first = world.seal(sealer, plain(b"a"), plain(b"b"), plain(b"c"))
    second = world.seal(sealer, plain(b"d"), plain(b"e"), plain(b"f"))
    other = world.party("other", publish=("evt.north.raw.>",))
    third = world.seal(world.sealer(other), plain(b"g"), plain(b"h"), plain(b"i"))
    by_epoch = dict(world.packages)
    whole = [
        pb.Envelope.FromString(standalone(raw, by_epoch[_epoch(raw)]))
        for raw in (first[0], first[1], second[0], third[0])
    ]
    everything = [shell.SerializeToString() for shell in whole]
    opener = receiver(world, everything if is_warm else [], is_warm=is_warm)
    tried = 0
    for one, two in product(whole, whole):
        for chosen in range(1, 2 ** len(PARTS) - 1):
            mixed = pb.Envelope.FromString(one.SerializeToString())
            for place, part in enumerate(PARTS):
                if chosen >> place & 1:
                    setattr(mixed, part, getattr(two, part))
            raw = mixed.SerializeToString()
            if raw in everything:
                continue
            assert isinstance(reason_of(opener.open, SUBJECT, raw), Reason)
            tried += 1
    assert tried > 500


def _epoch(raw: bytes) -> bytes:
    return pb.MessageHead.FromString(pb.Envelope.FromString(raw).head).epoch
