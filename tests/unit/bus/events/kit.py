"""What tests of events need: time that jumps, seals that only say they are, and a site on the in-memory broker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import selectors
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from bus.bodies import BodyCodec
from bus.envelope.seals import Opening
from bus.envelope.types import (
    Certificate,
    CertificateId,
    Envelope,
    EpochId,
    KeyPackageMissing,
    Plain,
    Reason,
    Refused,
    SealedBatch,
    SealedEnvelope,
)
from bus.events.bodies import Bodies
from bus.events.events import MeshEvents
from bus.events.protocol import Fits, NewEvent
from bus.telemetry.counters import Counters
from bus.transport.memory import MemoryBroker, MemoryTransport
from schemas.errors import MeshError
from schemas.generated.medmesh.content.v1 import content_pb2 as content_pb
from schemas.generated.medmesh.envelope.v1 import envelope_pb2 as pb
from schemas.subjects import SiteId

T = TypeVar("T")
SITE = SiteId("north")
NOBODY = "nobody"
"""A service that may publish no event."""


class _Jumping(selectors.DefaultSelector):
    """Never waits: tells how long it would have, so that the clock can jump there."""

    jumped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise AssertionError("everything waits and nothing will ever happen")
        self.jumped_s += max(timeout, 0.0)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is what its timers say: half an hour of waiting takes milliseconds."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.jumped_s


class LoopClock:
    """`schemas.clock.Clock` of the running loop's time."""

    def now_ms(self) -> int:
        return 1_800_000_000_000 + round(self.monotonic_s() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def run_jumping(main: Coroutine[Any, Any, T]) -> T:
    """Run a test on a `JumpingLoop`."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


@dataclass
class Vault:
    """Where key packages lie; a test can take it away."""

    packages: dict[bytes, bytes] = field(default_factory=dict)
    failure: MeshError | None = None
    signer: Refused | None = None
    """What the directory says against the signer of every package, as it is read."""
    puts: int = 0


class PaperOpening:
    """Opens what `PaperSeals` sealed: no secrecy, but the refusals that events must cope with."""

    def __init__(self, *, replay_window: bool) -> None:
        self._window: set[bytes] | None = set() if replay_window else None
        self._known: set[bytes] = set()
        self.stale = False
        self.chain_breaks = 0

    def open(self, subject: str, sealed: bytes, *, authorised_replay: bool = False) -> Envelope:
        if self.stale:
            raise Refused(Reason.DIRECTORY_STALE, "stale")
        try:
            envelope = pb.Envelope.FromString(sealed)
            batch = pb.BatchHeader.FromString(envelope.batch)
            head = pb.MessageHead.FromString(envelope.head)
        except DecodeError:
            raise Refused(Reason.MALFORMED, "not an envelope") from None
        if head.subject != subject:
            raise Refused(Reason.SUBJECT_MISMATCH, "other subject")
        digest = hashlib.sha256(envelope.batch + envelope.head + envelope.body).digest()
        if digest != envelope.sig:
            raise Refused(Reason.BAD_SIGNATURE, "not as it was sealed")
        if head.epoch not in self._known:
            raise KeyPackageMissing(EpochId(head.epoch))
        mark = batch.run + batch.seq.to_bytes(8, "big") + head.index.to_bytes(2, "big")
        if not authorised_replay and self._window is not None and mark in self._window:
            raise Refused(Reason.REPLAYED, "seen")
        return Envelope(
            subject=subject,
            sender=_certificate(batch.signer.decode()),
            content=content_pb.Content.FromString(envelope.body),
            leaf=digest,
            run=batch.run,
            batch_seq=batch.seq,
            index=head.index,
            created_ms=batch.created_ms,
            expires_ms=1 << 60,
            gap=0,
            reply_to=head.reply_to,
            in_reply_to=head.in_reply_to,
        )

    def learn(self, epoch: bytes) -> None:
        self._known.add(epoch)

    def mark(self, envelope: Envelope) -> bytes:
        mark = (
            envelope.run + envelope.batch_seq.to_bytes(8, "big") + envelope.index.to_bytes(2, "big")
        )
        if self._window is not None:
            self._window.add(mark)
        return mark

    def snapshot(self) -> bytes:
        return b"".join(sorted(self._window or ()))

    def restore(self, window: bytes, marks: Iterable[bytes]) -> None:
        if self._window is not None:
            self._window.update(window[i : i + 18] for i in range(0, len(window), 18))
            self._window.update(marks)


class PaperSeals:
    """`Seals` of one service, on paper."""

    def __init__(self, vault: Vault, *, service: str = "emr-in", epoch_batches: int = 3) -> None:
        self.service = service
        self.vault = vault
        self._run = os.urandom(8)
        self._seq = 0
        self._epoch_batches = epoch_batches
        self.batches: list[int] = []
        self.refuse: Callable[[Plain], MeshError | None] = lambda plain: None
        self.openings: list[PaperOpening] = []

    def seal(self, plains: Sequence[Plain]) -> SealedBatch:
        for plain in plains:
            refusal = self.refuse(plain)
            if refusal is not None:
                raise refusal
        number = self._seq // self._epoch_batches
        epoch = hashlib.sha256(self._run + number.to_bytes(8, "big")).digest()
        packages = ((EpochId(epoch), epoch),) if self._seq % self._epoch_batches == 0 else ()
        header = pb.BatchHeader(
            signer=self.service.encode(),
            seq=self._seq,
            run=self._run,
            size=len(plains),
            created_ms=LoopClock().now_ms(),
        ).SerializeToString()
        self._seq += 1
        self.batches.append(len(plains))
        sealed, leaves = [], []
        for index, plain in enumerate(plains):
            head = pb.MessageHead(
                index=index,
                epoch=epoch,
                subject=plain.subject,
                reply_to=plain.reply_to,
                in_reply_to=plain.in_reply_to,
            )
            head_bytes, body = head.SerializeToString(), plain.content.SerializeToString()
            leaf = hashlib.sha256(header + head_bytes + body).digest()
            envelope = pb.Envelope(batch=header, head=head_bytes, body=body, sig=leaf)
            sealed.append(SealedEnvelope(envelope.SerializeToString()))
            leaves.append(leaf)
        return SealedBatch(envelopes=tuple(sealed), key_packages=packages, leaves=tuple(leaves))

    def short_lived(self, ttl_s: float) -> PaperSeals:
        return self

    def opener(self, *, replay_window: bool = True) -> Opening:
        opening = PaperOpening(replay_window=replay_window)
        self.openings.append(opening)
        return opening

    async def publish_package(self, epoch: EpochId, package: bytes) -> None:
        self.vault.puts += 1
        await asyncio.sleep(0)
        if self.vault.failure is not None:
            raise self.vault.failure
        self.vault.packages[epoch] = package

    async def supply(self, refusal: Refused, sealed: bytes, opener: Opening) -> bool:
        await asyncio.sleep(0)
        if self.vault.failure is not None:
            raise self.vault.failure
        if self.vault.signer is not None:
            raise self.vault.signer
        assert isinstance(opener, PaperOpening)
        if isinstance(refusal, KeyPackageMissing) and refusal.epoch in self.vault.packages:
            opener.learn(refusal.epoch)
            return True
        return False


def _certificate(service: str) -> Certificate:
    return Certificate(
        id=CertificateId(service.encode().ljust(16, b"\0")[:16]),
        service=f"spiffe://test/north/{service}",
        instance="1",
        suite=1,
        sign_key=b"",
        kem_key=b"",
        seal_key=b"",
        kem_generation=1,
        publish=() if service == NOBODY else ("evt.north.>",),
        subscribe=(),
        not_before_ms=0,
        not_after_ms=0,
    )


@dataclass
class Bench:
    """A broker, a vault and a folder that outlive the services on them."""

    broker: MemoryBroker
    folder: Path
    vault: Vault = field(default_factory=Vault)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    counters: Counters = field(default_factory=Counters)
    fits: Fits | None = None
    """What publishers are held to."""

    async def service(self, name: str, *, codec: BodyCodec | None = None) -> Service:
        """A service with a connection of its own."""
        transport = await self.broker.connect(name=name)
        seals = PaperSeals(self.vault, service=name)
        events = MeshEvents(
            site=SITE,
            transport=transport,
            seals=seals,
            clock=LoopClock(),
            chance=self.chance,
            counters=self.counters,
            folder=self.folder,
            fits=self._fits,
            bodies=Bodies(transport, self.counters, codec),
        )
        await events.start()
        return Service(transport, seals, events)

    def _fits(self, subject: str, content_type: str, body: bytes) -> bytes:
        return b"" if self.fits is None else self.fits(subject, content_type, body)


@dataclass
class Service:
    """One service on the bench."""

    transport: MemoryTransport
    seals: PaperSeals
    events: MeshEvents

    async def die(self) -> None:
        """As kill -9: the connection is gone at once, nothing more is acknowledged, handlers stop where they are."""
        self.transport.disconnect()
        await self.events.stop()


def event(number: int, *, partition: int = 0, **more: Any) -> NewEvent:
    """A synthetic event whose body is its number."""
    return NewEvent(
        subject=f"evt.north.raw.hl7v2.{partition}",
        type="hl7v2/ADT^A01",
        body=f"{partition}:{number}".encode(),
        **more,
    )
