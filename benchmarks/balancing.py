"""One of four instances ten times slower at 80 % load: p99 of calls by a plain queue group against our balancing.

    python -m benchmarks.balancing [--json] [--rounds N] [--seconds S]

Four members with 8 slots and 10 ms a call (one 100 ms) run in a process of their own and listen on the queue group's
subject and on their own, as services do. The caller sends at random (Poisson) and does not wait; a latency counts from
the moment at which the call was to begin, and a call that has no answer when a round ends counts as old as it is.
Rounds are interleaved. The slow member gets a quarter from the queue group, six times what it can work: its queue, and
with it that p99, grows with the length of a round. Both ways send plain messages: sealing costs the same in both, and
is measured elsewhere.
Then: what one pick costs with 1 to 500 instances.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import nats
import uvloop

from bus.clock import SystemClock
from bus.services.balancing import BalancedPicker
from bus.services.caller import Caller
from bus.services.protocol import Instance, Load, Outcome, Request, Response, Seen
from bus.telemetry.counters import Counters
from bus.transport.nats import NatsTransport, connect
from schemas import subjects
from schemas.errors import MeshError
from schemas.subjects import SiteId
from tests.nats_server import NatsServer

SITE = SiteId("bench")
SERVICE = "lab"
METHOD = "find"
MEMBERS = 4
SLOTS = 8
SERVICE_S = 0.01
SLOW_S = 0.1
LOAD = 0.8
PER_S = LOAD * SLOTS * ((MEMBERS - 1) / SERVICE_S + 1 / SLOW_S)
PATIENCE_S = 4.0
TIMEOUT_S = 60.0
BUDGET = 20.0
SIZES = (1, 10, 100, 500)
PICKS = 20_000

Ask = Callable[[], Awaitable[object]]


class Static:
    """A registry that knows so many instances, all well."""

    def __init__(self, count: int) -> None:
        self._seen = [
            Seen(instance=Instance(service=SERVICE, id=f"m{n}", version="1.0.0", site=SITE))
            for n in range(count)
        ]

    def instances(self, service: str, major: int) -> Sequence[Seen]:
        return self._seen

    def services(self) -> dict[str, Sequence[Seen]]:
        return {SERVICE: self._seen}

    def missing(self, instance: Instance) -> None:
        raise AssertionError(f"{instance.id} does not answer")

    def heard(self, service: str, instance: str, load: Load) -> None:
        pass

    def on_change(self, changed: Callable[[Seen], None]) -> Callable[[], None]:
        return lambda: None


class PlainChannel:
    """A `Channel` without sealing."""

    def __init__(self, transport: NatsTransport) -> None:
        self._messenger = transport.messenger

    async def call(
        self, request: Request, *, timeout_s: float, instance: str = "", site: str = ""
    ) -> Response:
        subject = subjects.instance_call(SITE, SERVICE, 1, instance, METHOD)
        answer = await self._messenger.request(subject, request.body, timeout_s=timeout_s)
        return Response(type="t", body=answer.payload)


async def members(url: str) -> None:
    """Run the members until standard input closes."""
    connections = [await nats.connect(url) for _ in range(MEMBERS)]
    tasks: set[asyncio.Task[None]] = set()
    for n, connection in enumerate(connections):
        await _member(n, connection, tasks)
        await connection.flush()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    for connection in connections:
        await connection.close()


async def _member(
    n: int, connection: nats.aio.client.Client, tasks: set[asyncio.Task[None]]
) -> None:
    free, chance = asyncio.Semaphore(SLOTS), random.Random(n)
    service_s = SLOW_S if n == 0 else SERVICE_S
    name = b"%d" % n

    async def work(reply: str) -> None:
        async with free:
            await asyncio.sleep(service_s * chance.uniform(0.8, 1.2))
        await connection.publish(reply, name)

    async def asked(message: nats.aio.msg.Msg) -> None:
        task = asyncio.create_task(work(message.reply))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    call = subjects.call(SITE, SERVICE, 1, METHOD)
    await connection.subscribe(call, queue=subjects.queue_group(SERVICE), cb=asked)
    await connection.subscribe(subjects.instance_call(SITE, SERVICE, 1, f"m{n}", METHOD), cb=asked)


async def load(ask: Ask, *, seconds: float, seed: int) -> tuple[list[float], int]:
    """Latencies in seconds, sorted, and how many calls had no answer."""
    chance = random.Random(seed)
    latencies: list[float] = []
    begun: dict[int, float] = {}
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int, at_s: float) -> None:
        begun[number] = at_s
        try:
            await ask()
        except (MeshError, nats.errors.Error):
            return  # stays in `begun`: it counts as without an answer
        latencies.append(time.perf_counter() - begun.pop(number))

    at_s = time.perf_counter()
    end_s, number = at_s + seconds, 0
    while at_s < end_s:
        at_s += chance.expovariate(PER_S)
        wait_s = at_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        task = asyncio.create_task(one(number, at_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE_S)
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    now_s = time.perf_counter()
    unanswered = len(begun)
    return sorted([*latencies, *(now_s - at for at in begun.values())]), unanswered


async def by_queue_group(url: str, *, seconds: float, seed: int) -> tuple[list[float], int]:
    """Stock nats-py; the server chooses a member at random."""
    client = await nats.connect(url)
    subject = subjects.call(SITE, SERVICE, 1, METHOD)
    try:
        return await load(
            lambda: client.request(subject, b"x", timeout=TIMEOUT_S), seconds=seconds, seed=seed
        )
    finally:
        await client.close()


async def by_caller(url: str, *, seconds: float, seed: int) -> tuple[list[float], int]:
    """Our caller; it chooses."""
    transport = await connect([url], name="bench")
    counters = Counters()
    caller = Caller(
        PlainChannel(transport),
        Static(MEMBERS),
        site=SITE,
        clock=SystemClock(),
        chance=random.Random(seed),
        counters=counters,
    )
    request = Request(service=SERVICE, major=1, method=METHOD, type="t", body=b"x", id=bytes(16))
    try:
        return await load(
            lambda: caller.call(request, timeout_s=TIMEOUT_S), seconds=seconds, seed=seed
        )
    finally:
        caller.close()
        await transport.close()


WAYS = {"queue_group": by_queue_group, "balanced": by_caller}


def round_of(way: str, url: str, *, seconds: float, seed: int) -> dict[str, float]:
    """One way with members of its own, since the slow one's queue outlives a round."""
    command = [sys.executable, "-m", "benchmarks.balancing", "--members", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        latencies, unanswered = uvloop.run(WAYS[way](url, seconds=seconds, seed=seed))
        process.stdin.close()
        process.wait(20)
    count = len(latencies)
    return {
        "calls": count,
        "unanswered": unanswered,
        **{f"p{q}_ms": latencies[min(count - 1, count * q // 100)] * 1e3 for q in (50, 90, 99)},
    }


def pick_us(size: int, *, keyed: bool) -> float:
    """Microseconds of one pick and its end, the table's upkeep included."""
    picker = BalancedPicker(
        Static(size),
        SERVICE,
        1,
        site=SITE,
        clock=SystemClock(),
        chance=random.Random(1),
        counters=Counters(),
    )
    keys = [b"%d" % n for n in range(PICKS)] if keyed else [b""] * PICKS
    picker.pick(key=keys[0]).ended(Outcome.ANSWERED)  # the table is built once
    began = time.thread_time()
    for key in keys:
        picker.pick(key=key).ended(Outcome.ANSWERED)
    return (time.thread_time() - began) / PICKS * 1e6


def measure(rounds: int, seconds: float) -> dict[str, object]:
    """Everything, with medians over the rounds."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="medmesh-bench-") as folder:
        server = NatsServer(Path(folder))
        server.start()
        try:
            for n in range(rounds):
                for way in WAYS:
                    found[way].append(round_of(way, server.url, seconds=seconds, seed=n))
        finally:
            server.stop()
    middle = {
        way: {name: statistics.median(one[name] for one in runs) for name in runs[0]}
        for way, runs in found.items()
    }
    picks = {
        ("keyed" if keyed else "free"): {
            size: min(pick_us(size, keyed=keyed) for _ in range(3)) for size in SIZES
        }
        for keyed in (False, True)
    }
    ratio = middle["queue_group"]["p99_ms"] / middle["balanced"]["p99_ms"]
    return {
        "calls_per_s": PER_S,
        "ways": middle,
        "ratio": ratio,
        "budget": BUDGET,
        "pick_us": picks,
    }


def show(result: dict[str, object]) -> None:
    """A table for people."""
    ways, picks = result["ways"], result["pick_us"]
    assert isinstance(ways, dict)
    assert isinstance(picks, dict)
    print(f"{PER_S:.0f} calls/s, one of {MEMBERS} instances 10x slower, {LOAD:.0%} of capacity")
    for way, figures in ways.items():
        line = "  ".join(f"{name} {value:.1f}" for name, value in figures.items())
        print(f"  {way:12} {line}")
    print(f"p99 ratio {result['ratio']:.1f}x (budget {BUDGET:.0f}x)")
    for kind, costs in picks.items():
        line = "  ".join(f"{size}: {cost:.1f}" for size, cost in costs.items())
        print(f"one pick, {kind:5}: us by instances  {line}")


def main() -> None:
    """Run as the benchmark or, with --members, as its members."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--members", metavar="URL")
    options = parser.parse_args()
    if options.members:
        uvloop.run(members(options.members))
        return
    result = measure(options.rounds, options.seconds)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
