"""Seal and open by batch size and number of recipient services, against naive per-message signing and wrapping.

    python -m benchmarks.envelope [--json] [--rounds N] [--suite 1|2]

CPU time of this thread; each round runs every case once, and the minimum of the rounds counts. Trust the ratios.
The naive design signs each message by itself and wraps a fresh key for every recipient; it lives in this file only.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bus.clock import SystemClock
from bus.envelope import (
    SUITES,
    Certificate,
    CertificateId,
    KemKey,
    Opener,
    Plain,
    Reason,
    Refused,
    Sealer,
    SigningKey,
    kem_key_id,
    verify,
    wrap,
)
from bus.envelope.suites import NAMESPACE, commitment
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from schemas.subjects import matches

PAYLOAD_BYTES = 2048
BATCHES = (1, 8, 64, 256)
RECIPIENTS = (1, 5)
BUDGET = {"seal": 30.0, "open": 10.0}
BUDGET_CASE = (5, 64)
SUBJECT = "evt.north.raw.hl7v2.17"
MESSAGES_PER_ROUND = 256
NAIVE_PER_ROUND = 24
NONCE = bytes(12)

T = TypeVar("T")
Times = dict[tuple[int, str, str], float]
"""(recipients, case, "seal" or "open") to the least microseconds for a message."""


@dataclass
class Book:
    """A directory that answers from memory, as the mesh's own does."""

    certificates: dict[CertificateId, Certificate] = field(default_factory=dict)
    found: dict[str, tuple[Certificate, ...]] = field(default_factory=dict)

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        """The certificate, when it was in date at `at_ms`."""
        found = self.certificates.get(certificate_id)
        if found is None or not found.not_before_ms <= at_ms <= found.not_after_ms:
            raise Refused(Reason.UNKNOWN_SIGNER, "nobody")
        return found

    def readers(self, subject: str) -> Sequence[Certificate]:
        """Everyone whose rights cover the subject; remembered by subject."""
        if subject not in self.found:
            self.found[subject] = tuple(
                one
                for one in self.certificates.values()
                if any(matches(p, subject) for p in one.subscribe)
            )
        return self.found[subject]


@dataclass
class Naive:
    """One signature for each message, one wrapped key for each recipient of each message."""

    suite: int
    key: SigningKey
    sender: bytes
    recipients: Sequence[tuple[bytes, bytes]]
    """(key id, public KEM key)."""
    reader: KemKey

    def seal(self, content: content_pb.Content, now_ms: int) -> bytes:
        """Sign and encrypt one message."""
        secret = os.urandom(32)
        package = pb.KeyPackage(signer=self.sender, commit=commitment(SUITES[self.suite], secret))
        for key_id, public in self.recipients:
            info = NAMESPACE + self.sender + key_id
            package.to.add(key_id=key_id, wrapped=wrap(self.suite, public, secret, info))
        wraps = package.SerializeToString()
        head = pb.MessageHead(subject=SUBJECT, expires_ms=now_ms + 3_600_000).SerializeToString()
        body = AESGCM(secret).encrypt(NONCE, content.SerializeToString(), head + wraps)
        sig = self.key.sign(NAMESPACE + _digest(wraps, head, body))
        return pb.Envelope(head=head, body=body, key_package=wraps, sig=sig).SerializeToString()

    def open(self, raw: bytes) -> content_pb.Content:
        """Verify and decrypt one message."""
        shell = pb.Envelope.FromString(raw)
        digest = _digest(shell.key_package, shell.head, shell.body)
        verify(self.suite, self.key.public_bytes, shell.sig, NAMESPACE + digest)
        head = pb.MessageHead.FromString(shell.head)
        if head.subject != SUBJECT:
            raise Refused(Reason.SUBJECT_MISMATCH, "another subject")
        package = pb.KeyPackage.FromString(shell.key_package)
        own = next(one for one in package.to if one.key_id == self.reader.id)
        secret = self.reader.unwrap(own.wrapped, NAMESPACE + package.signer + own.key_id)
        if commitment(SUITES[self.suite], secret) != package.commit:
            raise Refused(Reason.COMMITMENT_MISMATCH, "another secret")
        text = AESGCM(secret).decrypt(NONCE, shell.body, shell.head + shell.key_package)
        return content_pb.Content.FromString(text)


def _digest(*parts: bytes) -> bytes:
    text = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hashlib.sha256(text).digest()


class Scene:
    """One sender and so many services that read it."""

    def __init__(self, suite: int, recipients: int) -> None:
        self.recipients = recipients
        self.clock = SystemClock()
        self.book = Book()
        self.key = SigningKey.generate(suite)
        self.kems = [KemKey.generate(suite) for _ in range(recipients)]
        self.sender = self._certificate("emr", self.key, KemKey.generate(suite), publish=True)
        readers = [
            self._certificate(f"reader-{i}", SigningKey.generate(suite), kem, publish=False)
            for i, kem in enumerate(self.kems)
        ]
        self.reader = readers[0]
        pairs = [(kem_key_id(one.kem_key), one.kem_key) for one in readers]
        self.naive = Naive(suite, self.key, self.sender.id, pairs, self.kems[0])
        payload = os.urandom(PAYLOAD_BYTES)
        self.content = content_pb.Content(
            id=os.urandom(16),
            type="hl7v2/ADT^A01",
            encoding=content_pb.BODY_ENCODING_IDENTITY,
            raw_size=PAYLOAD_BYTES,
            body=payload,
            source="emr-in",
            received_ms=self.clock.now_ms(),
        )

    def _certificate(
        self, name: str, key: SigningKey, kem: KemKey, *, publish: bool
    ) -> Certificate:
        now_ms = self.clock.now_ms()
        rights = ("evt.north.raw.>",)
        made = Certificate(
            id=CertificateId(os.urandom(16)),
            service=f"spiffe://bench/north/{name}",
            instance=f"{name}-1",
            suite=key.suite.number,
            sign_key=key.public_bytes,
            kem_key=kem.public_bytes,
            seal_key=b"",
            kem_generation=1,
            publish=rights if publish else (),
            subscribe=() if publish else rights,
            not_before_ms=now_ms - 1000,
            not_after_ms=now_ms + 86_400_000,
        )
        self.book.certificates[made.id] = made
        return made

    def pair(self) -> tuple[Sealer, Opener]:
        """A sender and a receiver that have an epoch key in common already: it serves ten minutes."""
        sealer = Sealer(self.key, self.sender, self.book, self.clock)
        kem_keys = {self.kems[0].id: self.kems[0]}
        opener = Opener(self.reader.service, kem_keys, self.book, self.clock)
        first = sealer.seal([self.plain()])
        for _, package in first.key_packages:
            opener.learn(package)
        opener.open(SUBJECT, first.envelopes[0])
        return sealer, opener

    def plain(self) -> Plain:
        """The message that every case sends."""
        return Plain(subject=SUBJECT, content=self.content)

    def run(self, into: Times, sizes: dict[tuple[int, str], int]) -> None:
        """Measure every case once."""
        for batch in BATCHES:
            self._run_batches(batch, into, sizes)
        now_ms = self.clock.now_ms()
        sealed, seal_us = _timed(
            lambda: [self.naive.seal(self.content, now_ms) for _ in range(NAIVE_PER_ROUND)]
        )
        _, open_us = _timed(lambda: [self.naive.open(raw) for raw in sealed])
        self._note(into, "naive", seal_us / NAIVE_PER_ROUND, open_us / NAIVE_PER_ROUND)
        sizes[self.recipients, "naive"] = len(sealed[0]) - PAYLOAD_BYTES

    def _run_batches(self, batch: int, into: Times, sizes: dict[tuple[int, str], int]) -> None:
        sealer, opener = self.pair()
        plains = [self.plain()] * batch
        rounds = max(1, min(MESSAGES_PER_ROUND // batch, 64))
        sealed, seal_us = _timed(lambda: [sealer.seal(plains).envelopes for _ in range(rounds)])
        _, open_us = _timed(lambda: [opener.open(SUBJECT, raw) for raws in sealed for raw in raws])
        count = rounds * batch
        self._note(into, str(batch), seal_us / count, open_us / count)
        sizes[self.recipients, str(batch)] = len(sealed[0][-1]) - PAYLOAD_BYTES

    def _note(self, into: Times, case: str, seal_us: float, open_us: float) -> None:
        for step, us in (("seal", seal_us), ("open", open_us)):
            key = (self.recipients, case, step)
            into[key] = min(into.get(key, us), us)


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    start = time.thread_time_ns()
    result = call()
    return result, (time.thread_time_ns() - start) / 1000


def measure(suite: int, rounds: int) -> dict[str, Any]:
    """All cases, interleaved; one row for each number of recipients and batch size."""
    scenes = [Scene(suite, recipients) for recipients in RECIPIENTS]
    times: Times = {}
    sizes: dict[tuple[int, str], int] = {}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for scene in scenes:
            scene.run(times, sizes)
    rows = [
        _row(recipients, case, times, sizes)
        for recipients in RECIPIENTS
        for case in ("naive", *map(str, BATCHES))
    ]
    budget_row = next(
        row
        for row in rows
        if (row["recipients"], row["batch"]) == (BUDGET_CASE[0], str(BUDGET_CASE[1]))
    )
    budget = {
        step: {"ratio": budget_row[f"{step}_ratio"], "at_least": least}
        for step, least in BUDGET.items()
    }
    return {"suite": suite, "payload_bytes": PAYLOAD_BYTES, "rows": rows, "budget": budget}


def _row(
    recipients: int, case: str, times: Times, sizes: Mapping[tuple[int, str], int]
) -> dict[str, Any]:
    row: dict[str, Any] = {"recipients": recipients, "batch": case}
    for step in ("seal", "open"):
        us, naive_us = times[recipients, case, step], times[recipients, "naive", step]
        row[f"{step}_us"] = round(us, 1)
        row[f"{step}_ratio"] = round(naive_us / us, 1)
    row["overhead_bytes"] = sizes[recipients, case]
    return row


def show(result: Mapping[str, Any]) -> None:
    """Print the table and the budget line."""
    print(f"suite {result['suite']}: {SUITES[result['suite']].name}; {PAYLOAD_BYTES} B payload")
    print("recipients  batch   seal us   ratio   open us   ratio   overhead B")
    for row in result["rows"]:
        print(
            f"{row['recipients']:>10}  {row['batch']:>5}  {row['seal_us']:>8.1f}  {row['seal_ratio']:>5.1f}x"
            f"  {row['open_us']:>8.1f}  {row['open_ratio']:>5.1f}x  {row['overhead_bytes']:>11}"
        )
    for step, line in result["budget"].items():
        verdict = "ok" if line["ratio"] >= line["at_least"] else "BELOW BUDGET"
        print(
            f"budget: {step} at batch {BUDGET_CASE[1]}, {BUDGET_CASE[0]} recipients: "
            f"{line['ratio']:.1f}x naive (at least {line['at_least']:.0f}x): {verdict}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--suite", type=int, choices=sorted(SUITES), default=1)
    options, _ = parser.parse_known_args()
    result = measure(options.suite, options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
