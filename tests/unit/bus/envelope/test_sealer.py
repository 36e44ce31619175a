from __future__ import annotations

import os

import pytest

from bus.envelope import (
    ContentTooLarge,
    Limits,
    MayNotRead,
    NobodyMayRead,
    Plain,
    Sealer,
    SigningKey,
)
from bus.envelope.padding import padme
from schemas.errors import ConfigurationError, PermissionRefused, SubjectError
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope import reference
from tests.unit.bus.envelope.world import SUBJECT, TTL_MS, World, content, counted_entropy, plain

both_suites = pytest.mark.parametrize("suite", [1, 2])


def header_of(raw: bytes) -> pb.BatchHeader:
    return pb.BatchHeader.FromString(pb.Envelope.FromString(raw).batch)


def head_of(raw: bytes) -> pb.MessageHead:
    return pb.MessageHead.FromString(pb.Envelope.FromString(raw).head)


@both_suites
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1024])
def test_second_implementation_reads_every_message(suite: int, size: int) -> None:
    world = World(suite=suite)
    reader = world.services[0]
    sealed = world.sealer().seal([plain(b"message %d" % i) for i in range(size)])
    ((epoch, package),) = sealed.key_packages
    for index in range(0, size, max(1, size // 16)):
        raw = sealed.envelopes[index]
        text = reference.opened(
            suite,
            reader.certificate.service,
            reader.kem,
            world.sender.key.public_bytes,
            raw,
            package,
        )
        expected = content(b"message %d" % index).SerializeToString()
        assert text[: len(expected)] == expected
        assert len(text) == padme(len(text))
        assert head_of(raw).epoch == epoch


def test_message_on_the_wire_shows_no_content() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain(b"DOE^JANE 19700101"))
    for secret in (b"DOE", b"ADT", b"emr-in"):
        assert secret not in raw


def test_counters_chain_and_times_are_those_of_the_format() -> None:
    world = World()
    sealer = world.sealer()
    first = world.seal(sealer, plain(), plain(subject="evt.north.raw.hl7v2.3"), plain())
    world.clock.advance(2)
    (second,) = world.seal(sealer, plain())
    leaves = [reference.leaf(*_parts(raw)) for raw in first]
    one, two = header_of(first[0]), header_of(second)
    assert (one.suite, one.seq, one.prev, one.size) == (1, 0, b"", 3)
    assert (two.seq, two.prev, two.size) == (1, reference.mth(leaves), 1)
    assert one.run == two.run
    assert one.salt != two.salt
    assert two.created_ms == world.clock.now_ms() == one.created_ms + 2000
    assert [head_of(raw).subject_seq for raw in (*first, second)] == [1, 1, 2, 3]
    assert [head_of(raw).index for raw in (*first, second)] == [0, 1, 2, 0]
    assert head_of(second).expires_ms == two.created_ms + TTL_MS


def _parts(raw: bytes) -> tuple[bytes, bytes, bytes]:
    shell = pb.Envelope.FromString(raw)
    return shell.batch, shell.head, shell.body


def test_partitions_of_a_stream_share_an_epoch_and_other_streams_do_not() -> None:
    world = World()
    sealer = world.sealer()
    subjects = [f"evt.north.raw.hl7v2.{i}" for i in range(64)] + ["evt.north.raw.dicom.1"]
    sealed = sealer.seal([plain(subject=subject) for subject in subjects])
    assert len(sealed.key_packages) == 2
    assert sealer.seal([plain()]).key_packages == ()


def test_messages_of_one_batch_may_have_different_audiences() -> None:
    world = World()
    world.sender = world.party("lab", publish=("evt.>",))
    audit = world.party("audit", subscribe=("evt.north.raw.hl7v2.9",))
    sealed = world.sealer().seal([plain(), plain(subject="evt.north.raw.hl7v2.9")])
    assert len(sealed.key_packages) == 2
    assert header_of(sealed.envelopes[0]) == header_of(sealed.envelopes[1])
    audiences = [
        {recipient.service for recipient in _package(raw).to} for _, raw in sealed.key_packages
    ]
    assert [audit.certificate.service in audience for audience in audiences] == [False, True]


def _package(raw: bytes) -> pb.KeyPackage:
    return pb.KeyPackage.FromString(pb.SignedObject.FromString(raw).body)


def test_epoch_ends_with_its_time() -> None:
    world = World()
    sealer = world.sealer()
    assert len(sealer.seal([plain()]).key_packages) == 1
    world.clock.advance(599.9)
    assert sealer.seal([plain()]).key_packages == ()
    world.clock.advance(0.1)
    assert len(sealer.seal([plain()]).key_packages) == 1


def test_epoch_ends_when_the_clock_goes_back_before_its_begin() -> None:
    world = World()
    sealer = world.sealer()
    sealer.seal([plain()])
    world.clock.advance(-0.5)
    assert len(sealer.seal([plain()]).key_packages) == 1


def test_epoch_ends_after_its_messages() -> None:
    world = World()
    sealer = world.sealer(limits=Limits(epoch_messages=3))
    assert [len(sealer.seal([plain()]).key_packages) for _ in range(7)] == [1, 0, 0, 1, 0, 0, 1]


def test_epoch_ends_with_any_change_of_its_audience() -> None:
    world = World(readers=2)
    sealer = world.sealer()
    first = sealer.seal([plain()])
    world.book.revoked.add(world.services[1].certificate.id)
    second = sealer.seal([plain()])
    world.party("newcomer", subscribe=("evt.north.raw.>",))
    third = sealer.seal([plain()])
    names = [
        [recipient.service.rpartition("/")[2] for recipient in _package(raw).to]
        for sealed in (first, second, third)
        for _, raw in sealed.key_packages
    ]
    assert names == [["reader-0", "reader-1"], ["reader-0"], ["newcomer", "reader-0"]]


def test_epochs_are_bounded() -> None:
    world = World()
    world.sender = world.party("lab", publish=("evt.>",))
    sealer = world.sealer(limits=Limits(max_epochs=2))
    for name in ("a", "b", "c"):
        assert len(sealer.seal([plain(subject=f"evt.north.raw.{name}")]).key_packages) == 1
    assert len(sealer._epochs) == 2


def test_subject_counters_are_bounded_by_beginning_a_new_run() -> None:
    world = World()
    sealer = world.sealer(limits=Limits(max_subjects=1024))
    raws: list[bytes] = []
    for number in range(1100):
        raws += world.seal(sealer, plain(subject=f"evt.north.raw.s{number}"))
    runs = [header_of(raw).run for raw in raws]
    assert len(set(runs)) == 2
    turn = runs.index(runs[-1])
    assert (header_of(raws[turn]).seq, header_of(raws[turn]).prev) == (0, b"")
    assert len(sealer._streams) <= 1024


def test_max_subjects_below_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="1024"):
        Limits(max_subjects=1023)


def test_sealer_refuses_subjects_that_its_certificate_does_not_allow() -> None:
    world = World()
    with pytest.raises(PermissionRefused, match=r"emr-in may not publish on evt\.north\.order"):
        world.sealer().seal([plain(subject="evt.north.order.new.1")])
    with pytest.raises(SubjectError):
        world.sealer().seal([plain(subject="evt.north.raw.>")])


def test_sealer_refuses_to_seal_for_nobody() -> None:
    world = World(readers=0)
    with pytest.raises(NobodyMayRead, match="no service may read"):
        world.sealer().seal([plain()])


def test_sealer_refuses_a_reader_whom_the_directory_names_without_right() -> None:
    world = World()
    outsider = world.party("outsider", subscribe=("evt.north.billing.>",))
    everyone = [outsider.certificate]
    world.book.readers = lambda subject: everyone  # type: ignore[method-assign]  # a lying directory
    with pytest.raises(MayNotRead, match="outsider may not read"):
        world.sealer().seal([plain()])


def test_sealer_refuses_a_reader_of_another_suite() -> None:
    world = World()
    world.party("strict", suite=2, subscribe=("evt.north.raw.>",))
    with pytest.raises(MayNotRead, match="keys of suite 2"):
        world.sealer().seal([plain()])


def test_sealer_refuses_too_many_readers() -> None:
    world = World(readers=3)
    with pytest.raises(ContentTooLarge, match="max_recipients"):
        world.sealer(limits=Limits(max_recipients=2)).seal([plain()])


@pytest.mark.parametrize("seconds", [-200, 90_000])
def test_sealer_refuses_outside_its_certificates_time(seconds: float) -> None:
    world = World()
    world.clock.advance(seconds)
    with pytest.raises(PermissionRefused, match="is valid from"):
        world.sealer().seal([plain()])


def test_sealer_refuses_an_empty_and_a_too_large_batch() -> None:
    sealer = World().sealer()
    for size in (0, 1025):
        with pytest.raises(ValueError, match=f"{size} were given"):
            sealer.seal([plain()] * size)


def test_sealer_refuses_messages_that_no_opener_would_take() -> None:
    world = World()
    limits = Limits(max_envelope_bytes=4096)
    sealer = world.sealer(limits=limits)
    with pytest.raises(ContentTooLarge, match="max_envelope_bytes"):
        sealer.seal([plain(bytes(4096))])
    long_reply = Plain(subject=SUBJECT, content=content(), reply_to="r" * 1024)
    with pytest.raises(ContentTooLarge, match="reply_to"):
        sealer.seal([long_reply])
    with pytest.raises(ValueError, match="32 bytes; 3 were given"):
        sealer.seal([Plain(subject=SUBJECT, content=content(), in_reply_to=b"abc")])
    sizes = range(1500, 2600, 7)
    largest = max(size for size in sizes if _fits(sealer, size))
    opener = world.opener(limits=limits)
    (raw,) = world.seal(sealer, plain(bytes(largest)))
    assert len(raw) <= 4096
    assert world.receive(opener, raw).content.body == bytes(largest)


def _fits(sealer: Sealer, size: int) -> bool:
    try:
        sealer.check(plain(bytes(size)))
    except ContentTooLarge:
        return False
    return True


def test_failed_batch_moves_no_counter_and_loses_no_key_package() -> None:
    world = World()
    sealer = world.sealer()
    for _ in range(3):
        with pytest.raises(PermissionRefused):
            sealer.seal([plain(), plain(subject="evt.north.order.new.1")])
    sealed = sealer.seal([plain()])
    assert header_of(sealed.envelopes[0]).seq == 0
    assert head_of(sealed.envelopes[0]).subject_seq == 1
    assert len(sealed.key_packages) == 1
    world.store(sealed)
    world.receive(world.opener(), sealed.envelopes[0])


def test_check_finds_the_bad_message_of_a_batch() -> None:
    world = World()
    sealer = world.sealer()
    sealer.check(plain())
    with pytest.raises(PermissionRefused):
        sealer.check(plain(subject="evt.north.order.new.1"))
    assert len(sealer.seal([plain()]).key_packages) == 1


def test_key_and_certificate_must_belong_together() -> None:
    world = World()
    world.sender.key = SigningKey.generate()
    with pytest.raises(ConfigurationError, match="another signing key"):
        world.sealer()
    world.sender.key = SigningKey.generate(2)
    with pytest.raises(ConfigurationError, match="another signing key"):
        world.sealer()


def test_message_must_live_some_time() -> None:
    with pytest.raises(ConfigurationError, match="ttl_ms is 0"):
        World().sealer(ttl_ms=0)


def test_renewed_certificate_begins_a_new_run_with_new_keys() -> None:
    world = World()
    sealer = world.sealer()
    (before,) = world.seal(sealer, plain())
    renewed = world.party("emr-in", publish=("evt.north.raw.>",))
    sealer.renew(renewed.key, renewed.certificate)
    sealed = sealer.seal([plain()])
    world.store(sealed)
    after = header_of(sealed.envelopes[0])
    assert sealer.certificate == renewed.certificate
    assert after.signer == renewed.certificate.id
    assert (after.seq, after.run != header_of(before).run) == (0, True)
    assert len(sealed.key_packages) == 1
    assert world.receive(world.opener(), sealed.envelopes[0]).gap == 0


def test_forked_child_shares_no_run_and_no_key_with_its_parent() -> None:
    world = World()
    sealer = world.sealer()
    (before,) = world.seal(sealer, plain())
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        sealed = sealer.seal([plain()])
        answer = header_of(sealed.envelopes[0]).run + bytes((len(sealed.key_packages),))
        os.write(theirs, answer)
        os._exit(0)
    os.close(theirs)
    answer = os.read(ours, 64)
    os.close(ours)
    os.waitpid(child, 0)
    assert answer[:8] != header_of(before).run
    assert answer[8:] == b"\x01"
    assert sealer.seal([plain()]).key_packages == ()


def test_everything_random_comes_from_the_entropy_given() -> None:
    world = World()

    def run_of(seed: bytes) -> tuple[bytes, bytes]:
        sealer = Sealer(
            world.sender.key,
            world.sender.certificate,
            world.book,
            world.clock,
            counted_entropy(seed),
        )
        header = header_of(sealer.seal([plain()]).envelopes[0])
        return header.run, header.salt

    assert run_of(b"a") == run_of(b"a") != run_of(b"b")
