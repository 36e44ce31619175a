"""What discovery costs a process that calls: processor time for each sign of life, at 1 to 5 000 instances.

    python -m benchmarks.discovery [--json] [--rounds 3]

Each instance sends one heartbeat a second and renews its lease every 1.7 s. `load` is the part of a core that reading
all of them takes, the decoding and the transport on top left out; `first` is what a record costs when it is seen for
the first time, with its signature; `view` is asking for all instances of the service right after a heartbeat.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Final

from bus.clock import SystemClock
from bus.envelope.suites import SigningKey
from bus.envelope.types import Certificate, CertificateId
from bus.services.discovery.heartbeats import HeartbeatReader, heartbeat_of
from bus.services.discovery.leases import LeaseReader
from bus.services.discovery.records import record_of
from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.table import Table
from bus.services.protocol import CallContext, Load, Method, Offer
from bus.telemetry.counters import Counters
from bus.transport.protocol import Entry, Incoming
from bus.trust.records import InstanceSeals
from schemas import subjects
from schemas.subjects import site_id

SITE: Final = site_id("north")
COUNTS: Final = (1, 50, 500, 5000)
SETTINGS: Final = DiscoverySettings()
LEAST_CALLS: Final = 5000


async def _echo(body: bytes, context: CallContext) -> bytes:
    return body


OFFER: Final = Offer(
    name="lab",
    version="1.4.2",
    methods=tuple(Method(name=f"method-{i}", handler=_echo) for i in range(8)),
    zone="building-2",
    metadata={"schema": "lab/1"},
)


class Signer:
    """One key and its certificate, and a directory that knows it."""

    def __init__(self) -> None:
        self.signing_key = SigningKey.generate()
        public = self.signing_key.public_bytes
        self.certificate_held = Certificate(
            id=CertificateId(hashlib.sha256(public).digest()[:16]),
            service="spiffe://bench/north/lab",
            instance="a" * 16,
            suite=1,
            sign_key=public,
            kem_key=b"",
            seal_key=b"",
            kem_generation=1,
            publish=(),
            subscribe=(),
            not_before_ms=0,
            not_after_ms=1 << 60,
        )

    @property
    def directory(self) -> Directory:
        return Directory(self.certificate_held)

    @property
    def certificate(self) -> Certificate:
        return self.certificate_held

    async def fetch_certificate(self, certificate_id: CertificateId) -> bool:
        return False


class Directory:
    def __init__(self, held: Certificate) -> None:
        self._held = held

    def certificate(self, certificate_id: CertificateId, *, at_ms: int) -> Certificate:
        return self._held

    def readers(self, subject: str) -> list[Certificate]:
        return []


def each_us(count: int, calls: int, work: Callable[[int], object]) -> float:
    """Processor time of one call in microseconds; the calls go over 0 to `count` - 1 in turn."""
    begin = time.process_time()
    for i in range(calls):
        work(i % count)
    return (time.process_time() - begin) / calls * 1e6


async def measure(count: int) -> Mapping[str, float]:
    """One round with so many instances of one service."""
    clock, counters, signer = SystemClock(), Counters(), Signer()
    seals = InstanceSeals(signer, signer, clock)
    table = Table(SETTINGS)
    table.hears_heartbeats = True
    leases = LeaseReader(
        table,
        seals,
        site=SITE,
        clock=clock,
        settings=SETTINGS,
        counters=counters,
        report=lambda changes: None,
    )
    heartbeats = HeartbeatReader(table, counters)
    ids = [f"{'a' * 16}-{i}" for i in range(count)]
    entries, beats = [], []
    for i, one in enumerate(ids):
        record = record_of(OFFER, site=SITE, instance=one, connection=f"lab/{i}", started_ms=1)
        entries.append(Entry(key=f"lab.{one}", value=seals.seal(record), revision=1))
        load = Load(in_flight=3, limit=32, oldest_s=0.02, answered=10_000 + i)
        payload = heartbeat_of(("lab", one), load, at_ms=clock.now_ms(), is_draining=False)
        beats.append(Incoming(subject=subjects.heartbeat(SITE, "lab", one), payload=payload))
    work = asyncio.create_task(leases.work())
    begin = time.process_time()
    for entry in entries:
        leases.changed(entry)
    await leases.seen(entry.key for entry in entries)
    first = (time.process_time() - begin) / count * 1e6
    calls = max(count, LEAST_CALLS)
    beat = each_us(count, calls, lambda i: heartbeats.read(beats[i], clock.monotonic_s()))
    renewal = each_us(count, calls, lambda i: leases.changed(entries[i]))
    tick = each_us(1, 50, lambda i: table.tick(clock.monotonic_s()))

    def view(i: int) -> None:
        heartbeats.read(beats[i], clock.monotonic_s())
        table.instances("lab", 1)

    looked = each_us(count, max(200, min(2000, 200_000 // count)), view) - beat
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    a_second = count * (beat + renewal / SETTINGS.renew_s) + tick / SETTINGS.tick_s
    return {
        "instances": count,
        "heartbeat_us": beat,
        "renewal_us": renewal,
        "first_us": first,
        "tick_us": tick,
        "view_us": looked,
        "load_percent": a_second / 1e4,
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description="What discovery costs a process that calls.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rows = []
    for count in COUNTS:
        rounds = [await measure(count) for _ in range(chosen.rounds)]
        rows.append({key: statistics.median(one[key] for one in rounds) for key in rounds[0]})
    if chosen.json:
        print(json.dumps(rows))
        return
    print("instances  heartbeat   renewal     first      tick      view    load")
    for row in rows:
        times = "".join(f"{row[key]:8.1f} us" for key in ("heartbeat_us", "renewal_us", "first_us"))
        times += "".join(f"{row[key]:7.0f} us" for key in ("tick_us", "view_us"))
        print(f"{row['instances']:9.0f}{times}{row['load_percent']:6.2f} %")


if __name__ == "__main__":
    asyncio.run(main())
