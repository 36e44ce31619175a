from __future__ import annotations

import pytest

from bus.envelope import (
    Certificate,
    EpochId,
    KemKey,
    KeyPackageMissing,
    Limits,
    Opener,
    Plain,
    Reason,
    SealedEnvelope,
    standalone,
)
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope.reference import Batch, Message, Package
from tests.unit.bus.envelope.world import (
    SUBJECT,
    TTL_MS,
    World,
    content,
    counted_entropy,
    plain,
    reason_of,
)

both_suites = pytest.mark.parametrize("suite", [1, 2])


@both_suites
def test_content_comes_back_as_it_was_given(suite: int) -> None:
    world = World(suite=suite, readers=2)
    bodies = [b"", b"x", b"\xff" * 3000, b"y" * 100_000]
    raws = world.seal(world.sealer(), *[plain(body) for body in bodies])
    for service in world.services:
        opener = world.opener(service)
        for index in (2, 0, 3, 1):
            envelope = world.receive(opener, raws[index])
            assert envelope.content == content(bodies[index])
            assert envelope.sender == world.sender.certificate
            assert (envelope.subject, envelope.index) == (SUBJECT, index)
            assert envelope.expires_ms == envelope.created_ms + TTL_MS
            assert len(envelope.leaf) == 32


def test_reply_is_bound_to_its_request() -> None:
    world = World()
    asked = Plain(subject=SUBJECT, content=content(), reply_to="inbox.emr.1", in_reply_to=b"l" * 32)
    (raw,) = world.seal(world.sealer(), asked)
    envelope = world.receive(world.opener(), raw)
    assert (envelope.reply_to, envelope.in_reply_to) == ("inbox.emr.1", b"l" * 32)


def test_opened_message_shows_no_content_in_its_repr() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain(b"DOE^JANE"))
    assert "DOE" not in repr(world.receive(world.opener(), raw))
    assert "DOE" not in repr(plain(b"DOE^JANE"))


def test_message_counts_as_seen_only_after_its_acknowledgement() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    opener = world.opener()
    world.receive(opener, raw)
    envelope = opener.open(SUBJECT, raw)
    opener.acknowledge(envelope)
    assert reason_of(opener.open, SUBJECT, raw) is Reason.REPLAYED
    assert opener.open_authorised(SUBJECT, raw).content == content()


def test_opener_without_a_window_reads_again_and_again() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    reader = world.services[0]
    opener = Opener(
        reader.certificate.service,
        {reader.kem.id: reader.kem},
        world.book,
        world.clock,
        keeps_window=False,
    )
    for _ in range(2):
        assert len(opener.acknowledge(world.receive(opener, raw))) == 52


@pytest.mark.parametrize("by_snapshot", [True, False])
def test_replay_is_refused_after_a_restart(by_snapshot: bool) -> None:
    world = World()
    raws = world.seal(world.sealer(), *[plain(b"%d" % i) for i in range(5)])
    opener = world.opener()
    marks = [opener.acknowledge(world.receive(opener, raw)) for raw in raws[:3]]
    again = world.opener()
    if by_snapshot:
        again.restore_window(opener.window_to_bytes(), marks[2:])
    else:
        again.restore_window(b"", [*marks, *marks])
    assert reason_of(world.receive, again, raws[2]) is Reason.REPLAYED
    assert world.receive(again, raws[3]).gap == 0
    assert reason_of(again.restore_window, b"damaged") is Reason.MALFORMED
    assert reason_of(again.restore_window, b"", [b"damaged"]) is Reason.MALFORMED


def test_gap_tells_of_a_dropped_and_of_a_late_message() -> None:
    world = World()
    sealer, opener = world.sealer(), world.opener()
    raws = world.seal(sealer, *[plain(b"%d" % i) for i in range(4)]) + world.seal(sealer, plain())
    gaps = [world.receive(opener, raws[i]).gap for i in (0, 3, 1, 4)]
    assert gaps == [0, 2, -3, 0]
    assert opener.open_authorised(SUBJECT, raws[2]).gap == 0


def test_copied_sender_state_breaks_the_chain_visibly() -> None:
    world = World()
    certificate, key = world.sender.certificate, world.sender.key
    epoch, package = _package(world).signed()
    opener = world.opener()
    opener.learn(package)
    text = content().SerializeToString()
    for number, salt in enumerate((b"\1" * 32, b"\2" * 32)):
        (shell,) = Batch(key, certificate.id, [Message(epoch, text)], salt=salt).seal()
        opener.open(SUBJECT, shell.SerializeToString())
        assert opener.chain_breaks == number


def _package(world: World, **changes: object) -> Package:
    reader = world.services[0]
    fields: dict[str, object] = {
        "key": world.sender.key,
        "signer": world.sender.certificate.id,
        "to": [(reader.certificate.service, reader.kem)],
        "suite": world.suite,
    }
    return Package(**{**fields, **changes})  # type: ignore[arg-type]  # tests name real fields


# -- what is refused, reason by reason ---------------------------------------------------------


def test_too_large_is_refused_before_anything_is_parsed() -> None:
    world = World()
    opener = world.opener(limits=Limits(max_envelope_bytes=1000, max_key_package_bytes=2000))
    assert reason_of(opener.open, SUBJECT, b"\xff" * 3001) is Reason.TOO_LARGE
    assert reason_of(opener.open, SUBJECT, b"\xff" * 3000) is Reason.MALFORMED
    (raw,) = world.seal(world.sealer(), plain(bytes(1000)))
    assert reason_of(opener.open, SUBJECT, raw) is Reason.TOO_LARGE
    (raw,) = world.seal(world.sealer(), plain())
    whole = standalone(raw, next(iter(world.packages.values())))
    assert len(whole) > 1000
    assert reason_of(opener.open, SUBJECT, whole) is Reason.KEY_PACKAGE_INVALID  # not this epoch's


@pytest.mark.parametrize("part", ["batch", "head"])
def test_oversized_part_is_refused_before_it_is_parsed(part: str) -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    shell = pb.Envelope.FromString(raw)
    setattr(shell, part, getattr(shell, part) + b"\x7a\xff\x07" + bytes(1023))
    assert reason_of(world.opener().open, SUBJECT, shell.SerializeToString()) is Reason.TOO_LARGE


@pytest.mark.parametrize("part", ["batch", "head", "body", "sig"])
def test_missing_or_damaged_part_is_refused(part: str) -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    shell = pb.Envelope.FromString(raw)
    shell.ClearField(part)  # type: ignore[arg-type]  # parametrised with field names
    assert reason_of(world.opener().open, SUBJECT, shell.SerializeToString()) is Reason.MALFORMED
    setattr(shell, part, b"\xff\xff")
    reason = reason_of(world.opener().open, SUBJECT, shell.SerializeToString())
    assert (
        reason
        is {
            "batch": Reason.MALFORMED,
            "head": Reason.MALFORMED,
            "body": Reason.BAD_SIGNATURE,
            "sig": Reason.BAD_SIGNATURE,
        }[part]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": 1025},
        {"signer": b"short"},
        {"run": b"short"},
        {"salt": b"short"},
        {"prev": b"short"},
    ],
)
def test_header_with_a_field_of_the_wrong_size_is_refused(change: dict[str, object]) -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    shell = pb.Envelope.FromString(raw)
    header = pb.BatchHeader.FromString(shell.batch)
    for name, value in change.items():
        setattr(header, name, value)
    shell.batch = header.SerializeToString()
    assert reason_of(world.opener().open, SUBJECT, shell.SerializeToString()) is Reason.MALFORMED


def test_other_encodings_of_the_same_envelope_are_refused() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    opener = world.opener()
    world.receive(opener, raw)
    shell = pb.Envelope.FromString(raw)
    sig = pb.Envelope(sig=shell.sig).SerializeToString()
    head = pb.Envelope(head=shell.head).SerializeToString()
    for other in (
        raw + b"\x7a\x00",  # an unknown field
        raw + sig,  # a field twice
        sig + raw[: -len(sig)],  # another order
        raw + b"\x22\x00",  # an empty field
        raw.replace(head, head[:1] + bytes((head[1] | 128, 0)) + head[2:]),  # a longer length
    ):
        assert other != raw
        assert reason_of(opener.open, SUBJECT, other) is Reason.MALFORMED


def test_message_for_another_subject_is_refused() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    for subject in ("evt.north.raw.hl7v2.18", "", SUBJECT.upper(), SUBJECT + "."):
        assert reason_of(world.opener().open, subject, raw) is Reason.SUBJECT_MISMATCH


def test_suite_is_one_that_is_allowed_and_the_signers_own() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    strict = world.opener(limits=Limits(suites=frozenset({2})))
    assert reason_of(strict.open, SUBJECT, raw) is Reason.SUITE_NOT_ALLOWED
    for number in (0, 2, 3):
        shell = pb.Envelope.FromString(raw)
        header = pb.BatchHeader.FromString(shell.batch)
        header.suite = number
        shell.batch = header.SerializeToString()
        refused = reason_of(world.opener().open, SUBJECT, shell.SerializeToString())
        assert refused is Reason.SUITE_NOT_ALLOWED


def test_directory_has_the_word_on_signers_cold_and_warm() -> None:
    world = World()
    raws = world.seal(world.sealer(), plain(), plain())
    warm = world.opener()
    world.receive(warm, raws[0])
    certificate = world.sender.certificate
    for opener in (warm, world.opener()):
        world.book.revoked.add(certificate.id)
        assert reason_of(opener.open, SUBJECT, raws[1]) is Reason.SIGNER_REVOKED
        world.book.revoked.clear()
        world.book.is_fresh = False
        assert reason_of(opener.open, SUBJECT, raws[1]) is Reason.DIRECTORY_STALE
        world.book.is_fresh = True
        del world.book.certificates[certificate.id]
        assert reason_of(opener.open, SUBJECT, raws[1]) is Reason.UNKNOWN_SIGNER
        world.book.certificates[certificate.id] = certificate


def test_signer_is_judged_at_the_time_of_the_batch() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(ttl_ms=10 * 86_400_000), plain())
    made_ms = world.clock.now_ms()
    world.clock.advance(2 * 86_400)
    assert world.receive(world.opener(), raw).content == content()
    assert set(world.book.asked_at) == {made_ms}


def test_message_is_refused_after_its_expiry_but_for_an_ordered_replay() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    opener = world.opener()
    world.clock.advance(TTL_MS / 1000)
    assert world.receive(opener, raw).content == content()
    world.clock.advance(0.001)
    assert reason_of(opener.open, SUBJECT, raw) is Reason.EXPIRED
    assert opener.open_authorised(SUBJECT, raw).content == content()


def test_sender_whose_clock_runs_too_far_ahead_is_refused() -> None:
    world = World()
    world.clock.advance(120)
    (raw,) = world.seal(world.sealer(), plain())
    world.clock.advance(-120)
    assert world.receive(world.opener(), raw).content == content()
    world.clock.advance(-0.001)
    assert reason_of(world.receive, world.opener(), raw) is Reason.CLOCK_SKEW
    assert reason_of(world.opener().open_authorised, SUBJECT, raw) is Reason.CLOCK_SKEW


def test_publish_right_is_checked_by_the_receiver() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    world.amend(world.sender, publish=("evt.north.order.>",))
    assert reason_of(world.opener().open, SUBJECT, raw) is Reason.MAY_NOT_PUBLISH


def test_missing_key_package_names_its_epoch() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    with pytest.raises(KeyPackageMissing) as caught:
        world.opener().open(SUBJECT, raw)
    assert caught.value.retryable
    assert caught.value.epoch in world.packages


def test_service_that_is_not_named_cannot_open() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    outsider = world.party("outsider")
    assert reason_of(world.receive, world.opener(outsider), raw) is Reason.NOT_A_RECIPIENT


def test_kem_generation_that_arrives_later_opens_what_was_learned_before() -> None:
    world = World()
    reader = world.services[0]
    (raw,) = world.seal(world.sealer(), plain())
    kem_keys: dict[bytes, KemKey] = {}
    opener = Opener(reader.certificate.service, kem_keys, world.book, world.clock)
    assert reason_of(world.receive, opener, raw) is Reason.NOT_A_RECIPIENT
    kem_keys[reader.kem.id] = reader.kem
    assert opener.open(SUBJECT, raw).content == content()


def test_kem_key_of_another_suite_is_not_tried() -> None:
    world = World()
    reader = world.services[0]
    (raw,) = world.seal(world.sealer(), plain())
    kem_keys = {reader.kem.id: KemKey.generate(2)}
    opener = Opener(reader.certificate.service, kem_keys, world.book, world.clock)
    assert reason_of(world.receive, opener, raw) is Reason.NOT_A_RECIPIENT


# -- key packages ------------------------------------------------------------------------------


def test_learned_package_gives_its_epoch() -> None:
    world = World()
    epoch, package = _package(world).signed()
    assert world.opener().learn(package) == EpochId(epoch)


@both_suites
@pytest.mark.parametrize(
    "change",
    [
        {"suite": 3},
        {"commit": b"short"},
        {"kind": "ServiceCert"},
        {"scopes": ["evt.north.raw.>"] * 65},
    ],
)
def test_package_that_is_not_well_formed_is_refused(suite: int, change: dict[str, object]) -> None:
    world = World(suite=suite)
    fields = {"commit": b"c" * 32} if "suite" in change else {}
    _, package = _package(world, **{**fields, **change}).signed()
    assert reason_of(world.opener().learn, package) is Reason.KEY_PACKAGE_INVALID


def test_package_with_too_many_recipients_is_refused() -> None:
    world = World()
    reader = world.services[0]
    to = [(reader.certificate.service, reader.kem)] * 3
    _, package = _package(world, to=to, wrapped=b"w").signed()
    opener = world.opener(limits=Limits(max_recipients=2))
    assert reason_of(opener.learn, package) is Reason.KEY_PACKAGE_INVALID


def test_package_above_the_limit_or_not_parsing_is_refused() -> None:
    opener = World().opener(limits=Limits(max_key_package_bytes=100))
    for raw in (bytes(101), b"\xff", pb.SignedObject(body=b"\xff").SerializeToString()):
        assert reason_of(opener.learn, raw) is Reason.KEY_PACKAGE_INVALID


def test_package_of_an_unknown_signer_is_refused_as_the_directory_says() -> None:
    world = World()
    _, package = _package(world, signer=b"nobody".ljust(16)).signed()
    assert reason_of(world.opener().learn, package) is Reason.UNKNOWN_SIGNER


def test_package_with_anything_that_was_not_signed_is_refused() -> None:
    world = World()
    _, package = _package(world).signed()
    assert reason_of(world.opener().learn, package + b"\x7a\x00") is Reason.KEY_PACKAGE_INVALID


def test_packages_are_bounded() -> None:
    world = World()
    opener = world.opener(limits=Limits(max_epochs=2))
    for number in range(4):
        opener.learn(_package(world, secret=bytes((number,)) * 32).signed()[1])
    assert len(opener._epochs) == 2


def _lying(world: World, package: Package, **message: object) -> tuple[Opener, bytes]:
    """A message under a package that the sender signed although it lies."""
    epoch, raw = package.signed()
    opener = world.opener()
    opener.learn(raw)
    text = message.pop("plaintext", content().SerializeToString())
    secret = message.pop("secret", package.secret)
    (shell,) = Batch(
        world.sender.key,
        world.sender.certificate.id,
        [Message(epoch, text, secret=secret)],  # type: ignore[arg-type]  # bytes by construction
        suite=world.suite,
        **message,  # type: ignore[arg-type]  # tests name real fields
    ).seal()
    return opener, shell.SerializeToString()


@both_suites
def test_secret_that_is_not_the_one_committed_to_is_refused(suite: int) -> None:
    world = World(suite=suite)
    opener, raw = _lying(world, _package(world, commit=b"c" * 32))
    assert reason_of(opener.open, SUBJECT, raw) is Reason.COMMITMENT_MISMATCH


@both_suites
def test_wrap_that_does_not_open_is_refused(suite: int) -> None:
    world = World(suite=suite)
    opener, raw = _lying(world, _package(world, wrapped=b"w" * 1168))
    assert reason_of(opener.open, SUBJECT, raw) is Reason.KEY_PACKAGE_INVALID


@both_suites
def test_secret_of_another_length_is_refused(suite: int) -> None:
    world = World(suite=suite)
    opener, raw = _lying(world, _package(world, secret=b"s" * 31), secret=b"s" * 31)
    assert reason_of(opener.open, SUBJECT, raw) is Reason.COMMITMENT_MISMATCH


@both_suites
def test_body_under_another_key_is_refused(suite: int) -> None:
    world = World(suite=suite)
    opener, raw = _lying(world, _package(world), secret=b"\x08" * 32)
    assert reason_of(opener.open, SUBJECT, raw) is Reason.DECRYPTION_FAILED


def test_body_that_is_no_content_is_refused() -> None:
    world = World()
    opener, raw = _lying(world, _package(world), plaintext=b"\xff\xff")
    assert reason_of(opener.open, SUBJECT, raw) is Reason.BAD_CONTENT


def test_key_outside_its_scope_is_refused() -> None:
    world = World()
    opener, raw = _lying(world, _package(world, scopes=["evt.north.raw.dicom.*"]))
    assert reason_of(opener.open, SUBJECT, raw) is Reason.KEY_PACKAGE_INVALID


@pytest.mark.parametrize("moment", [-1, 600_001])
def test_key_outside_its_time_is_refused(moment: int) -> None:
    world = World()
    world.amend(world.sender, not_before_ms=0)
    opener, raw = _lying(world, _package(world), created_ms=1_800_000_000_000 + moment)
    world.clock.advance(1000)
    assert reason_of(opener.open, SUBJECT, raw) is Reason.KEY_PACKAGE_INVALID


def test_newer_header_fields_do_not_disturb() -> None:
    world = World()
    opener, raw = _lying(world, _package(world), extra_header=b"\x7a\x01x")
    assert opener.open(SUBJECT, raw).content == content()


# -- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(max_batches=2), Limits(max_leaves=7)])
def test_kept_batches_are_bounded_and_forgotten_ones_prove_again(limits: Limits) -> None:
    world = World()
    sealer, opener = world.sealer(), world.opener(limits=limits)
    batches = [world.seal(sealer, plain(), plain(), plain()) for _ in range(5)]
    for raws in (*batches, *batches):
        for raw in raws:
            assert world.receive(opener, raw).content == content()
        assert len(opener._batches) <= 2
    assert opener._batches._leaves == 3 * len(opener._batches)


def test_refused_batches_are_not_kept() -> None:
    world = World()
    opener = world.opener()
    for raw in world.seal(world.sealer(), plain(), plain()):
        shell = pb.Envelope.FromString(raw)
        shell.sig = bytes(64)
        assert reason_of(opener.open, SUBJECT, shell.SerializeToString()) is Reason.BAD_SIGNATURE
    assert len(opener._batches) == 0


# -- the self-contained form -------------------------------------------------------------------


@both_suites
def test_standalone_envelope_opens_with_nothing_else_at_hand(suite: int) -> None:
    world = World(suite=suite)
    raws = world.seal(world.sealer(), plain(b"a"), plain(b"b"))
    ((_, package),) = world.packages.items()
    opener = world.opener()
    for raw, body in zip(raws, (b"a", b"b"), strict=True):
        whole = standalone(raw, package)
        assert opener.open(SUBJECT, whole).content.body == body
        assert opener.open(SUBJECT, standalone(whole, package)).content.body == body


def test_inline_package_of_another_epoch_is_refused_cold_and_warm() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain())
    (other,) = world.seal(world.sealer(), plain())
    epochs = {pb.MessageHead.FromString(pb.Envelope.FromString(r).head).epoch for r in (raw, other)}
    wrong = world.packages[(epochs - {_epoch(raw)}).pop()]
    warm = world.opener()
    world.receive(warm, raw)
    for opener in (world.opener(), warm):
        refused = reason_of(opener.open, SUBJECT, standalone(raw, wrong))
        assert refused is Reason.KEY_PACKAGE_INVALID


def _epoch(raw: bytes) -> bytes:
    return pb.MessageHead.FromString(pb.Envelope.FromString(raw).head).epoch


def test_standalone_form_of_garbage_is_refused() -> None:
    assert reason_of(standalone, b"\xff", b"package") is Reason.MALFORMED


def test_padding_does_not_reach_the_reader() -> None:
    world = World()
    (raw,) = world.seal(world.sealer(), plain(b"x" * 1001))
    envelope = world.receive(world.opener(), raw)
    assert envelope.content.pad == b""
    assert isinstance(envelope.content, content_pb.Content)
    assert isinstance(envelope.sender, Certificate)
    assert SealedEnvelope(raw) == raw
    assert counted_entropy(b"x")(4) == counted_entropy(b"x")(4)
