"""A long line between two network namespaces of this machine: delay, loss, rate and cuts, on real IP packets.

    python -m tests.peers.wanlink NEAR FAR [--delay-ms 25] [--loss-percent 0] [--rate-mbit 0] [--seed 1]

Two namespaces are joined by a TUN device each; this process carries the packets, so TCP on both sides sees a real line
and mends real losses. It says `up` when the line is up, takes orders on standard input (`cut`, `heal`, `delay 100`,
`loss 5`, `rate 10`, `quit`), and removes the namespaces when it ends or its input closes.

Needs root, CONFIG_TUN and CONFIG_NET_NS. It stands in for netem where the kernel has none.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

NEAR_ADDRESS, FAR_ADDRESS = "10.98.0.1", "10.98.0.2"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001
_MTU = 1400
_BUFFER_S = 0.2
"""What the line's buffer holds at its rate; beyond it packets are dropped, as a router does."""
_BURST = 64


def enter(namespace: str) -> None:
    """Move the calling thread into a namespace: sockets that it opens from now on belong there. Raises `OSError`."""
    handle = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    try:
        _set_namespace(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Work in a namespace for a while. Raises `OSError`."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(namespace)
        try:
            yield
        finally:
            _set_namespace(home)
    finally:
        os.close(home)


def _set_namespace(handle: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _open_end(namespace: str, address: str, peer: str, congestion: str) -> int:
    """One end of the line in a namespace of its own; returns the handle that its packets come out of."""
    _run("ip", "netns", "add", namespace)
    with inside(namespace):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", b"wan0", _TUN_WITHOUT_HEADER))
        _run("ip", "addr", "add", address, "peer", peer, "dev", "wan0")
        _run("ip", "link", "set", "wan0", "up", "mtu", str(_MTU), "txqueuelen", "2000")
        _run("ip", "link", "set", "lo", "up")
        if congestion:
            _run("ip", "route", "replace", peer, "dev", "wan0", "congctl", congestion)
    return end


@dataclass
class Line:
    """What the line does to packets now."""

    delay_s: float
    loss: float
    bytes_per_s: float
    """0 does not limit."""
    is_cut: bool = False

    def order(self, words: list[str]) -> bool:
        """Take one line of orders; False when it says to end."""
        while words:
            word = words.pop(0)
            match word:
                case "cut" | "heal":
                    self.is_cut = word == "cut"
                case "delay":
                    self.delay_s = float(words.pop(0)) / 1000
                case "loss":
                    self.loss = float(words.pop(0)) / 100
                case "rate":
                    self.bytes_per_s = float(words.pop(0)) * 125_000
                case _:
                    return False
        return True


class Relay:
    """Carries packets between the two ends."""

    def __init__(self, near: int, far: int, line: Line, chance: random.Random) -> None:
        self._other = {near: far, far: near}
        self._free_s = {near: 0.0, far: 0.0}
        self._line = line
        self._chance = chance
        self._flying: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def run(self) -> None:
        """Carry until told to end."""
        orders = sys.stdin.fileno()
        while True:
            wait_s = max(0.0, self._flying[0][0] - time.perf_counter()) if self._flying else 1.0
            for ready in select.select([*self._other, orders], [], [], wait_s)[0]:
                if ready != orders:
                    self._take(ready)
                elif not self._line.order(os.read(orders, 4096).decode().split() or ["quit"]):
                    return
            self._land()

    def _take(self, end: int) -> None:
        for _ in range(_BURST):
            try:
                packet = os.read(end, 2048)
            except BlockingIOError:
                return
            self._fly(packet, self._other[end])

    def _fly(self, packet: bytes, to: int) -> None:
        line, now_s = self._line, time.perf_counter()
        if line.is_cut or self._chance.random() < line.loss:
            return
        gone_s = now_s
        if line.bytes_per_s:
            gone_s = max(now_s, self._free_s[to])
            if gone_s - now_s > _BUFFER_S:
                return
            gone_s = self._free_s[to] = gone_s + len(packet) / line.bytes_per_s
        self._count += 1
        heapq.heappush(self._flying, (gone_s + line.delay_s, self._count, to, packet))

    def _land(self) -> None:
        now_s = time.perf_counter()
        while self._flying and self._flying[0][0] <= now_s:
            _, _, to, packet = heapq.heappop(self._flying)
            with contextlib.suppress(OSError):  # a full device drops, as a network card does
                os.write(to, packet)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("near")
    parser.add_argument("far")
    parser.add_argument("--delay-ms", type=float, default=25.0)
    parser.add_argument("--loss-percent", type=float, default=0.0)
    parser.add_argument("--rate-mbit", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--congestion", default="", help="TCP congestion control on both sides")
    told = parser.parse_args()
    line = Line(told.delay_ms / 1000, told.loss_percent / 100, told.rate_mbit * 125_000)
    try:
        near = _open_end(told.near, NEAR_ADDRESS, FAR_ADDRESS, told.congestion)
        far = _open_end(told.far, FAR_ADDRESS, NEAR_ADDRESS, told.congestion)
        print("up", flush=True)
        Relay(near, far, line, random.Random(told.seed)).run()
    finally:
        for namespace in (told.near, told.far):
            subprocess.run(("ip", "netns", "del", namespace), check=False, capture_output=True)


if __name__ == "__main__":
    main()
