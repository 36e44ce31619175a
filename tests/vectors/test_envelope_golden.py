"""The bytes on the wire are frozen: what an earlier program sealed opens for ever, or is refused for its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bus.envelope import (
    Certificate,
    CertificateId,
    KemKey,
    KeyPackageMissing,
    Limits,
    Opener,
    Reason,
    Refused,
)
from schemas.clock import FakeClock
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from tests.unit.bus.envelope import reference
from tests.unit.bus.envelope.world import Book
from tests.vectors.envelope.generate import vectors

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "envelope"
unhex = bytes.fromhex


def load(suite: int) -> Json:
    loaded: Json = json.loads((FOLDER / f"suite{suite}.json").read_text())
    return loaded


def cases(of: str) -> list[Any]:
    return [
        pytest.param(suite, number, id=f"suite{suite}-{one.get('name', number)}")
        for suite in (1, 2)
        for number, one in enumerate(load(suite)[of])
    ]


class Receiver:
    """A receiver as the file describes it."""

    def __init__(self, file: Json, given: Json) -> None:
        self.book = Book()
        for one in file["certificates"]:
            known = certificate(one)
            if known.id.hex() not in given.get("unknown", []):
                self.book.certificates[known.id] = known
        self.book.revoked = {CertificateId(unhex(one)) for one in given.get("revoked", [])}
        self.book.is_fresh = not given.get("is_stale", False)
        self.packages = {} if given.get("without_packages") else file["key_packages"]
        kem = KemKey.from_seed(file["suite"], unhex(file["reader"]["kem_seed"]))
        self.opener = Opener(
            given.get("service", file["reader"]["service"]),
            {kem.id: kem},
            self.book,
            FakeClock({**file, **given}["now_ms"]),
            limits=Limits(
                max_envelope_bytes=given.get("max_envelope_bytes", 1 << 20),
                max_key_package_bytes=given.get("max_key_package_bytes", 1 << 14),
                suites=frozenset(given.get("suites", [1, 2])),
            ),
        )

    def open(self, subject: str, raw: bytes) -> Any:
        try:
            return self.opener.open(subject, raw)
        except KeyPackageMissing as missing:
            if missing.epoch.hex() not in self.packages:
                raise
            self.opener.learn(unhex(self.packages[missing.epoch.hex()]))
        return self.opener.open(subject, raw)


def certificate(one: Json) -> Certificate:
    binary = ("id", "sign_key", "kem_key", "seal_key")
    fields: Json = {name: unhex(value) if name in binary else value for name, value in one.items()}
    fields["publish"], fields["subscribe"] = tuple(one["publish"]), tuple(one["subscribe"])
    return Certificate(**fields)


@pytest.mark.parametrize(("suite", "number"), cases("messages"))
def test_sealed_message_opens_as_it_was_sealed(suite: int, number: int) -> None:
    file = load(suite)
    case = file["messages"][number]
    envelope = Receiver(file, {}).open(case["subject"], unhex(case["envelope"]))
    assert envelope.content == content_pb.Content.FromString(unhex(case["content"]))
    assert envelope.sender.id == unhex(case["sender"])
    for name in ("leaf", "run", "in_reply_to"):
        assert getattr(envelope, name) == unhex(case[name])
    for name in ("subject", "batch_seq", "index", "created_ms", "expires_ms", "reply_to"):
        assert getattr(envelope, name) == case[name]


@pytest.mark.parametrize(("suite", "number"), cases("messages"))
def test_second_implementation_opens_it_too(suite: int, number: int) -> None:
    file = load(suite)
    case = file["messages"][number]
    raw = unhex(case["envelope"])
    shell = pb.Envelope.FromString(raw)
    epoch = pb.MessageHead.FromString(shell.head).epoch
    sender = next(one for one in file["certificates"] if one["id"] == case["sender"])
    text = reference.opened(
        suite,
        file["reader"]["service"],
        KemKey.from_seed(suite, unhex(file["reader"]["kem_seed"])),
        unhex(sender["sign_key"]),
        raw,
        unhex(file["key_packages"][epoch.hex()]),
    )
    assert text.startswith(unhex(case["content"]))
    assert reference.leaf(shell.batch, shell.head, shell.body) == unhex(case["leaf"])


@pytest.mark.parametrize(("suite", "number"), cases("refusals"))
def test_refusal_has_its_reason(suite: int, number: int) -> None:
    file = load(suite)
    case = file["refusals"][number]
    given = case.get("given", {})
    receiver = Receiver(file, given)
    raw = unhex(case["envelope"])
    if given.get("acknowledged"):
        receiver.opener.acknowledge(receiver.open(case["subject"], raw))
    with pytest.raises(Refused) as caught:
        receiver.open(case["subject"], raw)
    assert caught.value.reason == case["reason"]


@pytest.mark.parametrize("suite", [1, 2])
def test_every_reason_has_a_vector(suite: int) -> None:
    assert {case["reason"] for case in load(suite)["refusals"]} == {*Reason}


@pytest.mark.parametrize("suite", [1, 2])
def test_sealing_gives_the_same_bytes_but_for_the_encapsulated_keys(suite: int) -> None:
    frozen, fresh = load(suite), json.loads(json.dumps(vectors(suite)))
    assert frozen.keys() == fresh.keys()
    for name in ("suite", "now_ms", "reader", "certificates"):
        assert frozen[name] == fresh[name]
    for one, two in zip(frozen["messages"], fresh["messages"], strict=True):
        assert one["subject"] == two["subject"]
        assert one["content"] == two["content"]
        assert [*_known(one)] == [*_known(two)]


def _known(message: Json) -> list[bytes]:
    """The parts of an envelope before the epoch's id enters them."""
    shell = pb.Envelope.FromString(unhex(message["envelope"]))
    header = pb.BatchHeader.FromString(shell.batch)
    head = pb.MessageHead.FromString(shell.head)
    header.ClearField("prev")
    head.ClearField("epoch")
    return [header.SerializeToString(), head.SerializeToString()]
