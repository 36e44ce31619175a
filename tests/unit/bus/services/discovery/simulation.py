"""A site in simulated time: instances that come, leave, crash, freeze, wedge and reconnect, as one table sees them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.table import Changes, Table
from bus.services.protocol import Health, Instance, Load, Seen
from schemas.clock import FakeClock

SETTINGS = DiscoverySettings()
DELAY_S = 0.05
"""The longest that a message is under way."""
DEPARTURE_S = 0.3


@dataclass(eq=False)
class Node:
    """What is true of one instance, whatever the table thinks."""

    instance: Instance
    born_s: float
    state: str = "well"
    """well, frozen, wedged, draining or dead."""
    since_s: float = 0.0
    leased_s: float = 0.0
    answered: int = 0
    tells_departure: bool = True

    @property
    def key(self) -> tuple[str, str]:
        return self.instance.service, self.instance.id


class Site:
    """Runs events in their order and keeps what the table told."""

    def __init__(self, seed: int, settings: DiscoverySettings = SETTINGS) -> None:
        self.random = Random(seed)
        self.settings = settings
        self.clock = FakeClock()
        self.table = Table(settings)
        self.table.hears_heartbeats = True
        self.nodes: list[Node] = []
        self.told: list[Seen] = []
        self.mirror: dict[tuple[str, str], Seen] = {}
        """The table as somebody knows it who only listens to its changes."""
        self.is_linked = True
        self.link_since_s = 0.0
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._after(0.0, self._tick)

    @property
    def now_s(self) -> float:
        return self.clock.monotonic_s()

    def run(self, seconds: float, look: Callable[[], None]) -> None:
        """Let time pass; `look` is called after each event."""
        end_s = self.now_s + seconds
        while self._events and self._events[0][0] <= end_s:
            at_s, _, event = heapq.heappop(self._events)
            self.clock.advance(max(0.0, at_s - self.now_s))
            event()
            look()

    # -- what happens --------------------------------------------------------------------------

    def join(self) -> Node:
        number = len(self.nodes)
        service = self.random.choice(("lab", "his", "pacs"))
        instance = Instance(
            service=service,
            id=f"{number:016x}",
            version=self.random.choice(("1.0.0", "1.4.2", "2.0.0")),
            site="north",
            connection=f"{service}/{number}",
            started_ms=self.clock.now_ms(),
        )
        node = Node(instance, self.now_s, tells_departure=self.random.random() < 0.7)
        self.nodes.append(node)
        self._renew(node)
        self._after(0.01, lambda: self._beat(node))
        return node

    def leave(self, node: Node) -> None:
        self._become(node, "draining")
        self._send_beat(node)
        self._after(self.random.uniform(0.5, 3.0), lambda: self._end(node))

    def _end(self, node: Node) -> None:
        if node.state == "draining":
            self._become(node, "dead")
            self._deliver(lambda: self.table.unleased(node.key, self.now_s))

    def crash(self, node: Node) -> None:
        self._become(node, "dead")
        if node.tells_departure:
            self._after(self.random.uniform(0, DEPARTURE_S), lambda: self._departed(node))

    def blink(self, node: Node) -> None:
        """It loses its connection and gets another one."""
        self._departed(node)
        self._after(self.random.uniform(0.05, 1.0), lambda: self._send_beat(node))

    def freeze(self, node: Node, seconds: float) -> None:
        self._become(node, "frozen")
        self._after(seconds, lambda: self._thaw(node))

    def _thaw(self, node: Node) -> None:
        if node.state == "frozen":
            self._become(node, "well")
            self._put(node)
            self._send_beat(node)

    def wedge(self, node: Node, seconds: float) -> None:
        self._become(node, "wedged")
        self._after(seconds, lambda: self._unwedge(node))

    def _unwedge(self, node: Node) -> None:
        if node.state == "wedged":
            self._become(node, "well")

    def cut(self, seconds: float, *, loses_leases: bool) -> None:
        self.is_linked, self.link_since_s = False, self.now_s
        self._after(seconds, lambda: self._restore(loses_leases))

    def _restore(self, loses_leases: bool) -> None:
        self.is_linked, self.link_since_s = True, self.now_s
        for node in self.nodes:  # the watch tells what went and what is there
            if loses_leases or self._is_lapsed(node):
                self._deliver(lambda node=node: self.table.unleased(node.key, self.now_s))  # type: ignore[misc]
            elif node.state != "dead":
                self._put(node)
        for node in self.nodes:
            if node.state in ("well", "wedged"):
                self._after(self.random.uniform(0, 2.0), lambda node=node: self._put(node))  # type: ignore[misc]

    # -- how it arrives ------------------------------------------------------------------------

    def _become(self, node: Node, state: str) -> None:
        node.state, node.since_s = state, self.now_s

    def _is_lapsed(self, node: Node) -> bool:
        return self.now_s - node.leased_s >= self.settings.lease_s

    def _renew(self, node: Node) -> None:
        if node.state == "dead":
            return
        if node.state != "frozen":
            self._put(node)
        self._after(self._about(self.settings.renew_s), lambda: self._renew(node))

    def _put(self, node: Node) -> None:
        if node.state not in ("dead", "frozen"):
            node.leased_s = self.now_s
            self._deliver(lambda: self._record(node))
            self._after(self.settings.lease_s, lambda: self._expire(node))

    def _record(self, node: Node) -> Changes:
        """As `LeaseReader` does it: a record that the table knows is a renewal."""
        if self.table.knows(node.key):
            return self.table.renewed(node.key, self.now_s)
        return self.table.announced(node.instance, self.now_s)

    def _expire(self, node: Node) -> None:
        if self._is_lapsed(node):
            self._deliver(lambda: self.table.unleased(node.key, self.now_s))

    def _beat(self, node: Node) -> None:
        if node.state == "dead":
            return
        if node.state != "frozen":
            self._send_beat(node)
        self._after(self._about(self.settings.heartbeat_s), lambda: self._beat(node))

    def _send_beat(self, node: Node) -> None:
        if node.state in ("dead", "frozen"):
            return
        load = Load()
        if node.state == "wedged":
            load = Load(in_flight=3, oldest_s=self.now_s - node.since_s, answered=node.answered)
        elif node.state == "well":
            node.answered += self.random.randrange(1, 50)
            busy = self.random.randrange(4)
            load = Load(in_flight=busy, oldest_s=self.random.random() * 8, answered=node.answered)
        is_draining = node.state == "draining"
        self._deliver(lambda: self.table.beat(node.key, load, self.now_s, is_draining=is_draining))

    def _departed(self, node: Node) -> None:
        self._deliver(lambda: self.table.departed(node.instance.connection, self.now_s))

    def _tick(self) -> None:
        self.table.linked(self.is_linked, self.now_s)
        self._take(self.table.tick(self.now_s))
        self._after(self.settings.tick_s, self._tick)

    def _deliver(self, arrives: Callable[[], Changes]) -> None:
        self._after(self.random.uniform(0, DELAY_S), lambda: self._arrive(arrives))

    def _arrive(self, arrives: Callable[[], Changes]) -> None:
        if self.is_linked:
            self._take(arrives())

    def _take(self, changes: Changes) -> None:
        for seen in changes:
            self.told.append(seen)
            key = (seen.instance.service, seen.instance.id)
            if seen.health is Health.GONE:
                del self.mirror[key]
            else:
                self.mirror[key] = seen

    def _about(self, seconds: float) -> float:
        jitter = self.settings.jitter
        return seconds * self.random.uniform(1 - jitter, 1 + jitter)

    def _after(self, seconds: float, event: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now_s + seconds, next(self._numbers), event))
