"""What each attacker of the threat model can try, in both suites."""

from __future__ import annotations

import pytest

from bus.envelope import KemKey, MayNotRead, Opener, Reason, SigningKey
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope.reference import Batch, Message, Package, leaf, sha256, signed_object
from tests.unit.bus.envelope.world import SUBJECT, Party, World, content, plain, reason_of

NAMESPACE = b"medmesh.env.v1/"


class Scene:
    """A batch of seven messages for two readers, and an insider who may publish on the same subjects."""

    def __init__(self, suite: int) -> None:
        self.world = world = World(suite=suite, readers=2)
        self.insider = world.party("insider", publish=("evt.>",))
        self.raws = world.seal(world.sealer(), *[plain(b"%d" % i) for i in range(7)])
        ((self.epoch, self.package),) = world.packages.items()
        self.shell = pb.Envelope.FromString(self.raws[0])
        self.header = pb.BatchHeader.FromString(self.shell.batch)

    def secret(self, party: Party) -> bytes:
        """The epoch secret, as any entitled service can get it."""
        package = pb.KeyPackage.FromString(pb.SignedObject.FromString(self.package).body)
        own = next(one for one in package.to if one.service == party.certificate.service)
        info = NAMESPACE + b"wrap\0" + package.signer + package.commit + own.key_id
        return party.kem.unwrap(own.wrapped, info + own.service.encode())

    def openers(self) -> list[Opener]:
        """A receiver that saw nothing yet, and one that has the victim's key and batch at hand."""
        cold, warm = self.world.opener(), self.world.opener()
        self.world.receive(warm, self.raws[1])
        return [cold, warm]

    def resigned(self, key: SigningKey, signer: bytes) -> bytes:
        """The same ciphertext, alone in a batch signed by another."""
        header = pb.BatchHeader.FromString(self.shell.batch)
        header.signer, header.size = signer, 1
        batch = header.SerializeToString()
        root = leaf(batch, self.shell.head, self.shell.body)
        sig = key.sign(NAMESPACE + b"batch\0" + sha256(batch) + root)
        shell = pb.Envelope(batch=batch, head=self.shell.head, body=self.shell.body, sig=sig)
        return shell.SerializeToString()


@pytest.fixture(params=[1, 2])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def test_broker_cannot_reroute_a_message(scene: Scene) -> None:
    for opener in scene.openers():
        for subject in ("evt.north.raw.hl7v2.18", "evt.north.raw.dicom.17"):
            assert reason_of(opener.open, subject, scene.raws[0]) is Reason.SUBJECT_MISMATCH


def test_broker_cannot_replay_a_message(scene: Scene) -> None:
    opener = scene.world.opener()
    for raw in scene.raws:
        opener.acknowledge(scene.world.receive(opener, raw))
    for raw in scene.raws:
        assert reason_of(opener.open, SUBJECT, raw) is Reason.REPLAYED


def test_broker_cannot_hide_a_dropped_message(scene: Scene) -> None:
    opener = scene.world.opener()
    gaps = [scene.world.receive(opener, scene.raws[i]).gap for i in (0, 1, 4, 6)]
    assert gaps == [0, 0, 2, 1]


def test_outsider_reads_nothing(scene: Scene) -> None:
    outsider = scene.world.party("outsider")
    opener = scene.world.opener(outsider)
    assert reason_of(scene.world.receive, opener, scene.raws[0]) is Reason.NOT_A_RECIPIENT


def test_outsider_who_takes_a_readers_name_reads_nothing(scene: Scene) -> None:
    thief = KemKey.generate(scene.world.suite)
    name = scene.world.services[0].certificate.service
    opener = Opener(name, {thief.id: thief}, scene.world.book, scene.world.clock)
    assert reason_of(scene.world.receive, opener, scene.raws[0]) is Reason.NOT_A_RECIPIENT


def test_insider_cannot_sign_anothers_ciphertext_as_its_own(scene: Scene) -> None:
    raw = scene.resigned(scene.insider.key, scene.insider.certificate.id)
    for opener in scene.openers():
        reason = reason_of(scene.world.receive, opener, raw)
        assert reason is Reason.KEY_PACKAGE_INVALID


def test_insider_cannot_sign_in_anothers_name(scene: Scene) -> None:
    raw = scene.resigned(scene.insider.key, scene.world.sender.certificate.id)
    for opener in scene.openers():
        assert reason_of(opener.open, SUBJECT, raw) is Reason.BAD_SIGNATURE


def test_recipient_cannot_forge_with_the_key_it_shares(scene: Scene) -> None:
    reader = scene.world.services[0]
    (forged,) = Batch(
        reader.key,
        scene.world.sender.certificate.id,
        [Message(scene.epoch, content(b"forged").SerializeToString(), secret=scene.secret(reader))],
        suite=scene.world.suite,
        run=scene.header.run,
        seq=99,
    ).seal()
    for opener in scene.openers():
        assert reason_of(opener.open, SUBJECT, forged.SerializeToString()) is Reason.BAD_SIGNATURE


def test_recipient_cannot_put_a_forgery_under_a_true_signature(scene: Scene) -> None:
    """The shared key makes the body valid; the tree does not hold it."""
    reader = scene.world.services[0]
    (forged,) = Batch(
        reader.key,
        scene.world.sender.certificate.id,
        [Message(scene.epoch, content(b"forged").SerializeToString(), secret=scene.secret(reader))],
        suite=scene.world.suite,
        salt=scene.header.salt,
    ).seal()
    shell = pb.Envelope.FromString(scene.raws[0])
    shell.head, shell.body = forged.head, forged.body
    reasons = [reason_of(o.open, SUBJECT, shell.SerializeToString()) for o in scene.openers()]
    assert reasons == [Reason.BAD_SIGNATURE, Reason.BAD_PATH]


@pytest.mark.parametrize("signed_by", ["insider", "sender"])
def test_signed_text_cannot_be_forwarded_to_an_outsider(scene: Scene, signed_by: str) -> None:
    """Surreptitious forwarding: a recipient wraps the epoch key for a third party."""
    outsider = scene.world.party("outsider", subscribe=("evt.>",))
    package = pb.KeyPackage.FromString(pb.SignedObject.FromString(scene.package).body)
    rewrapped = Package(
        scene.world.sender.key,
        package.signer,
        [(outsider.certificate.service, outsider.kem)],
        secret=scene.secret(scene.world.services[0]),
        suite=scene.world.suite,
        scopes=package.subjects,
    )
    key = scene.insider.key if signed_by == "insider" else scene.world.sender.key
    raw = signed_object("KeyPackage", rewrapped.body(), key)
    scene.world.packages[scene.epoch] = raw
    opener = scene.world.opener(outsider)
    reason = reason_of(scene.world.receive, opener, scene.raws[0])
    expected = {"insider": Reason.KEY_PACKAGE_INVALID, "sender": Reason.KEY_PACKAGE_MISSING}
    assert reason is expected[signed_by]


def test_key_package_of_another_sender_opens_nothing(scene: Scene) -> None:
    """An insider's own package for the victim's epoch secret, named in a batch of the victim's shape."""
    reader = scene.world.services[0]
    epoch, raw = Package(
        scene.insider.key,
        scene.insider.certificate.id,
        [(reader.certificate.service, reader.kem)],
        secret=scene.secret(reader),
        suite=scene.world.suite,
    ).signed()
    (shell,) = Batch(
        scene.world.sender.key,
        scene.world.sender.certificate.id,
        [Message(epoch, content().SerializeToString(), secret=scene.secret(reader))],
        suite=scene.world.suite,
    ).seal()
    opener = scene.world.opener()
    opener.learn(raw)
    assert reason_of(opener.open, SUBJECT, shell.SerializeToString()) is Reason.KEY_PACKAGE_INVALID


def test_sender_cannot_publish_outside_its_rights(scene: Scene) -> None:
    world = scene.world
    world.amend(scene.insider, publish=("evt.north.order.>",))
    reader = world.services[0]
    epoch, package = Package(
        scene.insider.key,
        scene.insider.certificate.id,
        [(reader.certificate.service, reader.kem)],
        suite=world.suite,
    ).signed()
    (shell,) = Batch(
        scene.insider.key,
        scene.insider.certificate.id,
        [Message(epoch, content().SerializeToString())],
        suite=world.suite,
    ).seal()
    opener = world.opener()
    opener.learn(package)
    assert reason_of(opener.open, SUBJECT, shell.SerializeToString()) is Reason.MAY_NOT_PUBLISH


def test_sender_cannot_grant_itself_readers(scene: Scene) -> None:
    world = scene.world
    friend = world.party("friend", subscribe=("evt.north.billing.>",))
    honest = world.book.readers
    world.book.readers = lambda subject: [*honest(subject), friend.certificate]  # type: ignore[method-assign]  # a lying directory
    with pytest.raises(MayNotRead):
        world.sealer().seal([plain()])


def test_sender_cannot_show_two_recipients_different_texts(scene: Scene) -> None:
    """Each recipient holds the committed secret or refuses: one ciphertext has one text."""
    world = scene.world
    texts: list[bytes] = []
    for reader in world.services:
        opener = world.opener(reader)
        texts += [world.receive(opener, raw).content.SerializeToString() for raw in scene.raws]
    assert texts[:7] == texts[7:]
    other = world.services[1]
    package = Package(
        world.sender.key,
        world.sender.certificate.id,
        [(other.certificate.service, other.kem)],
        secret=b"\x09" * 32,
        suite=world.suite,
        commit=sha256(b"the commitment to another secret"),
    )
    epoch, raw = package.signed()
    (shell,) = Batch(
        world.sender.key,
        world.sender.certificate.id,
        [Message(epoch, content().SerializeToString(), secret=b"\x09" * 32)],
        suite=world.suite,
    ).seal()
    opener = world.opener(other)
    opener.learn(raw)
    assert reason_of(opener.open, SUBJECT, shell.SerializeToString()) is Reason.COMMITMENT_MISMATCH


def test_revoked_sender_is_refused_at_once_even_where_its_batch_is_known(scene: Scene) -> None:
    openers = scene.openers()
    scene.world.book.revoked.add(scene.world.sender.certificate.id)
    for opener in openers:
        assert reason_of(opener.open, SUBJECT, scene.raws[0]) is Reason.SIGNER_REVOKED


def test_signature_of_a_batch_is_no_signature_of_an_object(scene: Scene) -> None:
    """The domains are apart: a batch's signature never passes for a key package's."""
    world = scene.world
    batch = scene.shell.batch
    body = sha256(batch) + leaf(batch, scene.shell.head, scene.shell.body)
    sig = world.sender.key.sign(NAMESPACE + b"batch\0" + body)
    for kind in ("batch", "KeyPackage"):
        raw = pb.SignedObject(kind=kind, body=body, sig=sig).SerializeToString()
        assert reason_of(world.opener().learn, raw) is Reason.KEY_PACKAGE_INVALID
