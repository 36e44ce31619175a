"""Any bytes give a message or a typed refusal, nothing else."""

from __future__ import annotations

from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.envelope import Envelope, Opener, Refused, standalone
from bus.envelope.wire import join, split
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope.reference import Batch, Message, Package
from tests.unit.bus.envelope.world import SUBJECT, World, content, plain

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def scene(suite: int) -> tuple[World, Opener, tuple[bytes, ...], bytes]:
    world = World(suite=suite)
    opener = world.opener()
    raws = world.seal(world.sealer(), *[plain(b"%d" % i) for i in range(3)])
    world.receive(opener, raws[0])
    ((_, package),) = world.packages.items()
    return world, opener, (*raws, standalone(raws[1], package)), package


def attempt(opener: Opener, subject: str, raw: bytes) -> Envelope | None:
    try:
        return opener.open(subject, raw)
    except Refused:
        return None


@quick
@given(raw=st.binary(max_size=2000), suite=st.sampled_from([1, 2]))
def test_any_bytes_are_refused(raw: bytes, suite: int) -> None:
    world, opener, _, _ = scene(suite)
    for receiver in (opener, world.opener()):
        assert attempt(receiver, SUBJECT, raw) is None


parts = st.fixed_dictionaries(
    {},
    optional={
        name: st.binary(max_size=400)
        for name in ("batch", "head", "body", "path", "sig", "key_package")
    },
)


@quick
@given(changes=parts, base=st.integers(0, 3), suite=st.sampled_from([1, 2]))
def test_any_part_in_place_of_the_true_one_is_refused(
    changes: dict[str, bytes], base: int, suite: int
) -> None:
    world, opener, raws, _ = scene(suite)
    shell = pb.Envelope.FromString(raws[base])
    for name, value in changes.items():
        setattr(shell, name, value)
    raw = shell.SerializeToString()
    for receiver in (opener, world.opener()):
        assert attempt(receiver, SUBJECT, raw) is None or raw in raws


@st.composite
def edited(draw: st.DrawFn, raw: bytes) -> bytes:
    """Cut, doubled, overwritten, or spliced with itself."""
    at = draw(st.integers(0, len(raw)))
    until = draw(st.integers(at, len(raw)))
    return raw[:at] + draw(st.binary(max_size=20)) * draw(st.integers(0, 3)) + raw[until:]


@quick
@given(drawn=st.data(), base=st.integers(0, 3), suite=st.sampled_from([1, 2]))
def test_any_edit_of_an_envelope_is_refused(drawn: st.DataObject, base: int, suite: int) -> None:
    world, opener, raws, _ = scene(suite)
    raw = drawn.draw(edited(raws[base]))
    for receiver in (opener, world.opener()):
        assert attempt(receiver, SUBJECT, raw) is None or raw in raws


@quick
@given(drawn=st.data(), suite=st.sampled_from([1, 2]))
def test_any_edit_of_a_key_package_is_refused(drawn: st.DataObject, suite: int) -> None:
    world, _, _, package = scene(suite)
    raw = drawn.draw(st.one_of(st.binary(max_size=500), edited(package)))
    try:
        world.opener().learn(raw)
    except Refused:
        return
    assert raw == package


header_fields = st.fixed_dictionaries(
    {},
    optional={
        "suite": st.integers(0, 2**32 - 1),
        "signer": st.binary(max_size=40),
        "seq": st.integers(0, 2**64 - 1),
        "prev": st.binary(max_size=40),
        "salt": st.binary(max_size=40),
        "size": st.integers(0, 2**32 - 1),
        "created_ms": st.integers(0, 2**64 - 1),
        "run": st.binary(max_size=40),
    },
)
head_fields = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2**32 - 1),
        "epoch": st.binary(max_size=40),
        "expires_ms": st.integers(0, 2**64 - 1),
        "subject_seq": st.integers(0, 2**64 - 1),
    },
)


@quick
@given(header=header_fields, head=head_fields, plaintext=st.binary(max_size=100))
def test_any_message_of_a_lying_sender_gives_a_message_or_a_refusal(
    header: dict[str, object], head: dict[str, object], plaintext: bytes
) -> None:
    """Signed with a true key: what is wrong in it must be found after the signature."""
    world, _, _, _ = scene(1)
    reader, sender = world.services[0], world.sender
    epoch, package = Package(
        sender.key, sender.certificate.id, [(reader.certificate.service, reader.kem)]
    ).signed()
    (shell,) = Batch(sender.key, sender.certificate.id, [Message(epoch, plaintext)]).seal()
    true_header = pb.BatchHeader.FromString(shell.batch)
    true_head = pb.MessageHead.FromString(shell.head)
    for name, value in header.items():
        setattr(true_header, name, value)
    for name, value in head.items():
        setattr(true_head, name, value)
    from tests.unit.bus.envelope.reference import NAMESPACE, leaf, sha256

    batch, head_raw = true_header.SerializeToString(), true_head.SerializeToString()
    sig = sender.key.sign(
        NAMESPACE + b"batch\0" + sha256(batch) + leaf(batch, head_raw, shell.body)
    )
    opener = world.opener()
    opener.learn(package)
    opened = attempt(opener, SUBJECT, join(batch, head_raw, shell.body, b"", sig))
    if opened is not None:
        opener.acknowledge(opened)
        assert attempt(opener, SUBJECT, join(batch, head_raw, shell.body, b"", sig)) is None


@quick
@given(
    body=st.binary(max_size=5000),
    size=st.integers(1, 9),
    drawn=st.data(),
    suite=st.sampled_from([1, 2]),
)
def test_whatever_was_sealed_opens_in_any_order(
    body: bytes, size: int, drawn: st.DataObject, suite: int
) -> None:
    world, _, _, _ = scene(suite)
    raws = world.seal(world.sealer(), *[plain(body + bytes((i,))) for i in range(size)])
    opener = world.opener()
    for index in drawn.draw(st.permutations(range(size))):
        assert world.receive(opener, raws[index]).content == content(body + bytes((index,)))


@quick
@given(pieces=st.tuples(*[st.binary(min_size=1, max_size=300)] * 3, *[st.binary(max_size=300)] * 2))
def test_shell_is_taken_apart_as_it_was_put_together(
    pieces: tuple[bytes, bytes, bytes, bytes, bytes],
) -> None:
    assert split(join(*pieces)) == (*pieces, b"")


@quick
@given(raw=st.binary(max_size=300))
def test_shell_has_one_encoding(raw: bytes) -> None:
    try:
        found = split(raw)
    except Refused:
        return
    assert (
        raw
        == pb.Envelope(
            **dict(zip(("batch", "head", "body", "path", "sig", "key_package"), found, strict=True))
        ).SerializeToString()
    )
