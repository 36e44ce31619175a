"""Write the golden vectors of one version of the envelope: `python -m tests.vectors.envelope.generate FOLDER`.

For a new version of the format only: files that exist are not overwritten.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bus.envelope import (
    Certificate,
    CertificateId,
    KemKey,
    Plain,
    Reason,
    Sealer,
    SigningKey,
    standalone,
)
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope.reference import Batch, Message, Package, commit_of, sha256
from tests.unit.bus.envelope.world import (
    SUBJECT,
    TTL_MS,
    Party,
    World,
    content,
    counted_entropy,
    plain,
)

Json = dict[str, Any]


class Scene(World):
    """A world whose every byte but the HPKE encapsulations follows from the suite's number."""

    def party(self, name: str, **rights: Any) -> Party:
        entropy = counted_entropy(f"{self.suite} {name}".encode())
        key = SigningKey.generate(self.suite, entropy=entropy)
        kem = KemKey.generate(self.suite, entropy=entropy)
        made = super().party(name, key=key, **rights)
        del self.book.certificates[made.certificate.id]
        certificate = replace(
            made.certificate,
            id=CertificateId(sha256(name.encode() + key.public_bytes)[:16]),
            kem_key=kem.public_bytes,
        )
        self.book.certificates[certificate.id] = certificate
        return Party(key, kem, certificate)

    def fixed_sealer(self, party: Party) -> Sealer:
        return Sealer(
            party.key,
            party.certificate,
            self.book,
            self.clock,
            counted_entropy(party.certificate.id),
            ttl_ms=TTL_MS,
        )


def vectors(suite: int) -> Json:
    scene = Scene(suite=suite)
    return {
        "format": "medmesh.envelope.v1",
        "suite": suite,
        "messages": messages(scene),
        "refusals": refusals(scene),
        "now_ms": scene.clock.now_ms(),
        "reader": {
            "service": scene.services[0].certificate.service,
            "kem_seed": scene.services[0].kem.seed.hex(),
        },
        "certificates": [certificate(one) for one in scene.book.certificates.values()],
        "key_packages": {epoch.hex(): raw.hex() for epoch, raw in scene.packages.items()},
    }


def certificate(one: Certificate) -> Json:
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in asdict(one).items()
    }


def messages(scene: Scene) -> list[Json]:
    sealer = scene.fixed_sealer(scene.sender)
    batches = [
        [plain(b"MSH|^~\\&|EMR|NORTH|")],
        [
            plain(bytes(range(256)) * (1 + 4 * i), subject=f"evt.north.raw.hl7v2.{i}")
            for i in range(5)
        ],
        [
            Plain(
                subject=SUBJECT, content=content(b""), reply_to="inbox.1", in_reply_to=b"\x11" * 32
            )
        ],
    ]
    found: list[Json] = []
    for batch in batches:
        sealed = sealer.seal(batch)
        scene.store(sealed)
        found += [
            message(scene, one, raw) for one, raw in zip(batch, sealed.envelopes, strict=True)
        ]
    raw = bytes.fromhex(found[0]["envelope"])
    epoch = pb.MessageHead.FromString(pb.Envelope.FromString(raw).head).epoch
    return [*found, message(scene, batches[0][0], standalone(raw, scene.packages[epoch]))]


def message(scene: Scene, one: Plain, raw: bytes) -> Json:
    envelope = scene.receive(scene.opener(), raw, subject=one.subject)
    return {
        "subject": one.subject,
        "envelope": raw.hex(),
        "content": one.content.SerializeToString().hex(),
        "sender": envelope.sender.id.hex(),
        "leaf": envelope.leaf.hex(),
        "run": envelope.run.hex(),
        "batch_seq": envelope.batch_seq,
        "index": envelope.index,
        "created_ms": envelope.created_ms,
        "expires_ms": envelope.expires_ms,
        "reply_to": envelope.reply_to,
        "in_reply_to": envelope.in_reply_to.hex(),
    }


def refusals(scene: Scene) -> list[Json]:
    sealed = scene.fixed_sealer(scene.sender).seal([plain(b"one"), plain(b"two")])
    scene.store(sealed)
    good = sealed.envelopes[0]
    signer = scene.sender.certificate.id.hex()
    return [
        *_refused_in_another_setting(scene, good, signer),
        *_refused_when_changed(good),
        *_refused_from_a_lying_sender(scene),
    ]


def refusal(reason: Reason, name: str, raw: bytes, *, subject: str = SUBJECT, **given: Any) -> Json:
    fields = {"name": name, "reason": reason.value, "subject": subject, "envelope": raw.hex()}
    return {**fields, "given": given} if given else fields


def _refused_in_another_setting(scene: Scene, good: bytes, signer: str) -> list[Json]:
    now_ms = scene.clock.now_ms()
    own = scene.services[0].certificate.service
    other = {1: 2, 2: 1}[scene.suite]
    return [
        refusal(Reason.TOO_LARGE, "above the limit", good, max_envelope_bytes=len(good) - 1),
        refusal(Reason.SUBJECT_MISMATCH, "rerouted", good, subject="evt.north.raw.hl7v2.18"),
        refusal(Reason.SUITE_NOT_ALLOWED, "suite not allowed here", good, suites=[other]),
        refusal(Reason.UNKNOWN_SIGNER, "signer unknown", good, unknown=[signer]),
        refusal(Reason.SIGNER_REVOKED, "signer revoked", good, revoked=[signer]),
        refusal(Reason.DIRECTORY_STALE, "no fresh directory", good, is_stale=True),
        refusal(Reason.EXPIRED, "too late", good, now_ms=now_ms + TTL_MS + 1),
        refusal(Reason.CLOCK_SKEW, "from the future", good, now_ms=now_ms - 120_001),
        refusal(Reason.REPLAYED, "seen before", good, acknowledged=True),
        refusal(Reason.KEY_PACKAGE_MISSING, "no key package", good, without_packages=True),
        refusal(Reason.NOT_A_RECIPIENT, "for others", good, service=own + "-not"),
    ]


def _refused_when_changed(good: bytes) -> list[Json]:
    def changed(part: str, value: bytes) -> bytes:
        shell = pb.Envelope.FromString(good)
        setattr(shell, part, value)
        return shell.SerializeToString()

    shell = pb.Envelope.FromString(good)
    flipped = bytes((shell.body[0] ^ 1,)) + shell.body[1:]
    header = pb.BatchHeader.FromString(shell.batch)
    header.suite = 3
    return [
        refusal(Reason.MALFORMED, "empty", b""),
        refusal(Reason.MALFORMED, "unknown field", good + b"\x7a\x00"),
        refusal(Reason.MALFORMED, "no signature", changed("sig", b"")),
        refusal(Reason.SUITE_NOT_ALLOWED, "suite 3", changed("batch", header.SerializeToString())),
        refusal(Reason.BAD_PATH, "path too long", changed("path", shell.path + bytes(32))),
        refusal(Reason.BAD_PATH, "path too short", changed("path", shell.path[:-1])),
        refusal(Reason.BAD_SIGNATURE, "body changed", changed("body", flipped)),
        refusal(Reason.BAD_SIGNATURE, "path changed", changed("path", bytes(32))),
        refusal(Reason.KEY_PACKAGE_INVALID, "inline garbage", changed("key_package", b"\xff")),
    ]


def _refused_from_a_lying_sender(scene: Scene) -> list[Json]:
    """Signed by a service of the mesh, and wrong all the same."""
    reader, sender = scene.services[0], scene.sender
    text = content().SerializeToString()

    def lie(
        package: Json | None = None, text: bytes = text, by: Party = sender, **batch: Any
    ) -> bytes:
        fields: Json = {"secret": sha256(b"secret"), **(package or {})}
        fields["secret"] = sha256(b"secret", repr(sorted(fields.items())).encode())
        made = Package(
            by.key,
            by.certificate.id,
            [(reader.certificate.service, reader.kem)],
            suite=scene.suite,
            **fields,
        )
        epoch, raw = made.signed()
        scene.packages[epoch] = raw
        subject = batch.pop("subject", SUBJECT)
        secret = batch.pop("secret", made.secret)
        (shell,) = Batch(
            by.key,
            by.certificate.id,
            [Message(epoch, text, secret=secret, subject=subject)],
            suite=scene.suite,
            **batch,
        ).seal()
        return shell.SerializeToString()

    early_ms = sender.certificate.not_before_ms - 1
    silent = scene.party("silent")
    wrong_commit = commit_of(scene.suite, b"another secret".ljust(32))
    elsewhere = {"scopes": ["evt.north.raw.dicom.*"]}
    return [
        refusal(Reason.SIGNER_EXPIRED, "before its certificate", lie(created_ms=early_ms)),
        refusal(Reason.MAY_NOT_PUBLISH, "no right to publish", lie(by=silent)),
        refusal(Reason.KEY_PACKAGE_INVALID, "key for another subject", lie(elsewhere)),
        refusal(Reason.COMMITMENT_MISMATCH, "another secret", lie({"commit": wrong_commit})),
        refusal(Reason.DECRYPTION_FAILED, "another key", lie(secret=sha256(b"another"))),
        refusal(Reason.BAD_CONTENT, "no content", lie(text=b"\xff\xff")),
    ]


def main(folder: Path) -> None:
    for suite in (1, 2):
        path = folder / f"suite{suite}.json"
        with path.open("x") as file:
            json.dump(vectors(suite), file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
