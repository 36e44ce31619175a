"""Who runs, as one process knows it: a pure state machine over signs of life, departures, silences and time.

An instance comes by its signed record alone. It stays while heartbeats, renewals or responses come; it is gone when it
says so, when its connection ended, when callers find nobody there, or after a silence of `lease_s`. While our own
connection is lost nothing is concluded from silence. Each method returns what changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from bus.services.discovery.entries import (
    DISCONNECTED,
    DRAINING,
    EXPIRED,
    LEFT,
    MISSING,
    REFUSED,
    Entry,
    Key,
)
from bus.services.discovery.settings import DiscoverySettings
from bus.services.discovery.suspicion import LATE, Suspicion
from bus.services.protocol import Health, Instance, Load, Seen
from schemas.errors import ResourceExhausted

Changes: TypeAlias = tuple[Seen, ...]
_NOTHING: Final[Changes] = ()
_FOR_GOOD: Final = (LEFT, REFUSED)
_LISTED: Final = (Health.HEALTHY, Health.SUSPECT)


class TableFull(ResourceExhausted):
    """There are `max_instances` already."""

    code = "table_full"


class Table:
    """Instances of one site. Times are seconds on a scale that does not go back."""

    def __init__(self, settings: DiscoverySettings) -> None:
        self._settings = settings
        self._listed: dict[Key, Entry] = {}
        self._gone: dict[Key, Entry] = {}
        self._connections: dict[str, set[Key]] = {}
        self._groups: dict[tuple[str, int], dict[str, Entry]] = {}
        self._views: dict[tuple[str, int], tuple[Seen, ...]] = {}
        self._is_linked = True
        self._patient_until_s = 0.0
        self.hears_heartbeats = False
        """Whether heartbeats can be heard at all: without, nobody is suspect for being silent."""

    # -- asking --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._listed)

    def __contains__(self, key: object) -> bool:
        return key in self._listed

    def knows(self, key: Key) -> bool:
        """Whether it is listed, or went so recently that a sign of life brings it back."""
        return key in self._listed or key in self._gone

    def started_ms(self, key: Key) -> int:
        """When the listed instance of that name was started; 0 when there is none."""
        entry = self._listed.get(key)
        return 0 if entry is None else entry.instance.started_ms

    def instances(self, service: str, major: int) -> tuple[Seen, ...]:
        """Every listed instance of one major version."""
        at = (service, major)
        view = self._views.get(at)
        if view is None:
            view = tuple(entry.seen for entry in self._groups.get(at, {}).values())
            self._views[at] = view
        return view

    def services(self) -> Mapping[str, tuple[Seen, ...]]:
        """Every listed instance, by service and then by version."""
        found: dict[str, tuple[Seen, ...]] = {}
        for service, major in sorted(self._groups):
            found[service] = found.get(service, ()) + self.instances(service, major)
        return found

    # -- signs of life -------------------------------------------------------------------------

    def announced(self, instance: Instance, now_s: float) -> Changes:
        """A verified record came, for the first time or with new content. Raises `TableFull`."""
        key = (instance.service, instance.id)
        entry = self._listed.get(key)
        if entry is not None:
            return self._replace(entry, instance, now_s)
        if len(self._listed) >= self._settings.max_instances:
            raise TableFull(
                f"{len(self._listed)} instances are known; no more are taken (discovery.max_instances)"
            )
        self._gone.pop(key, None)
        return self._list(
            Entry(instance, Suspicion(self._settings, now_s=now_s), heard_s=now_s), now_s
        )

    def renewed(self, key: Key, now_s: float) -> Changes:
        """A record came again as it was."""
        entry = self._listed.get(key)
        if entry is None:
            return self._come_back(key, now_s)
        entry.is_leased = True
        self._touch(entry, now_s)
        return _NOTHING

    def beat(self, key: Key, load: Load, now_s: float, *, is_draining: bool = False) -> Changes:
        """A heartbeat came."""
        entry = self._listed.get(key)
        if entry is None:
            return _NOTHING if is_draining else self._come_back(key, now_s, load)
        entry.suspicion.beat(load, now_s)
        self._touch(entry, now_s, load)
        if is_draining:
            return self._turn(entry, Health.DRAINING, DRAINING)
        if entry.health is Health.DRAINING:
            return self._turn(entry, Health.HEALTHY, "")
        return self._judge(entry, now_s)

    def heard(self, key: Key, load: Load, now_s: float) -> Changes:
        """A response came from there."""
        entry = self._listed.get(key)
        if entry is None:
            return self._come_back(key, now_s, load)
        entry.suspicion.answered_now(load, now_s)
        entry.hold_s = 0.0
        self._touch(entry, now_s, load)
        if entry.health is Health.SUSPECT and entry.reason == LATE:
            entry.suspicion.resume(now_s)
        return self._judge(entry, now_s)

    # -- departures ----------------------------------------------------------------------------

    def unleased(self, key: Key, now_s: float) -> Changes:
        """Its key was deleted, or expired, or went with the server that held it in memory."""
        entry = self._listed.get(key)
        if entry is None:
            return _NOTHING
        if entry.health is Health.DRAINING:
            return self._drop(entry, LEFT, now_s)
        entry.is_leased = False
        return self._drop(entry, EXPIRED, now_s) if self._is_over(entry, now_s) else _NOTHING

    def departed(self, connection: str, now_s: float) -> Changes:
        """A connection to the carrier ended: whoever lived on it is gone."""
        keys = self._connections.get(connection)
        if not connection or keys is None:
            return _NOTHING
        return _joined(self._drop(self._listed[key], DISCONNECTED, now_s) for key in sorted(keys))

    def refused(self, key: Key, now_s: float) -> Changes:
        """Its record is not believed any more: its certificate was revoked."""
        entry = self._listed.get(key)
        return _NOTHING if entry is None else self._drop(entry, REFUSED, now_s)

    def missing(self, key: Key, now_s: float) -> Changes:
        """A caller found nobody there. If that goes on while heartbeats come, it stays away longer each time."""
        entry = self._listed.get(key)
        if entry is None:
            return _NOTHING
        changes = self._drop(entry, MISSING, now_s)
        entry.hold_s = min(max(self._settings.hold_s, 2 * entry.hold_s), self._settings.hold_max_s)
        entry.held_until_s = now_s + entry.hold_s
        return changes

    # -- time ----------------------------------------------------------------------------------

    def linked(self, is_linked: bool, now_s: float) -> None:
        """Our own connection was lost, or is back: silence while it was away is nobody's fault."""
        if is_linked == self._is_linked:
            return
        self._is_linked = is_linked
        if is_linked:
            self._patient_until_s = now_s + self._settings.grace_s
            for entry in self._listed.values():
                entry.suspicion.resume(now_s, patience_s=self._settings.grace_s)

    def tick(self, now_s: float) -> Changes:
        """Look at the silences. Costs little: in the ordinary case two comparisons an instance."""
        self._forget(now_s)
        if not self._is_linked:
            return _NOTHING
        return _joined(self._look(entry, now_s) for entry in tuple(self._listed.values()))

    def _look(self, entry: Entry, now_s: float) -> Changes:
        if self._is_over(entry, now_s):
            return self._drop(entry, EXPIRED, now_s)
        return self._judge(entry, now_s) if now_s > entry.suspicion.due_s else _NOTHING

    def _is_over(self, entry: Entry, now_s: float) -> bool:
        if not self._is_linked or now_s < self._patient_until_s:
            return False
        bound_s = self._settings.lease_s if entry.is_leased else self._settings.unleased_s
        return now_s - entry.heard_s >= bound_s

    # -- moving --------------------------------------------------------------------------------

    def _judge(self, entry: Entry, now_s: float) -> Changes:
        verdict = entry.suspicion.verdict(now_s)
        if verdict == LATE and not self.hears_heartbeats:
            verdict = ""
        if entry.health not in _LISTED:
            return _NOTHING
        return self._turn(entry, Health.SUSPECT if verdict else Health.HEALTHY, verdict)

    def _turn(self, entry: Entry, health: Health, reason: str) -> Changes:
        if (entry.health, entry.reason) == (health, reason):
            return _NOTHING
        self._views.pop(_group(entry.instance), None)
        return (entry.turn(health, reason),)

    def _touch(self, entry: Entry, now_s: float, load: Load | None = None) -> None:
        entry.touch(now_s, load)
        self._views.pop(_group(entry.instance), None)

    def _replace(self, entry: Entry, instance: Instance, now_s: float) -> Changes:
        """A restarted process, or the same one under a new certificate."""
        is_same = entry.instance == instance
        self._unlink(entry)
        if instance.started_ms != entry.instance.started_ms:
            entry = Entry(instance, Suspicion(self._settings, now_s=now_s), heard_s=now_s)
        entry.instance, entry.is_leased = instance, True
        self._link(entry)
        self._touch(entry, now_s)
        return _NOTHING if is_same else (entry.seen,)

    def _come_back(self, key: Key, now_s: float, load: Load | None = None) -> Changes:
        entry = self._gone.get(key)
        if entry is None or now_s < entry.held_until_s or entry.reason in _FOR_GOOD:
            return _NOTHING
        if len(self._listed) >= self._settings.max_instances:
            return _NOTHING
        del self._gone[key]
        entry.suspicion.resume(now_s)
        entry.touch(now_s, load)
        entry.turn(Health.HEALTHY, "")
        return self._list(entry, now_s)

    def _list(self, entry: Entry, now_s: float) -> Changes:
        entry.is_leased = True
        self._link(entry)
        return (entry.seen,)

    def _drop(self, entry: Entry, reason: str, now_s: float) -> Changes:
        self._unlink(entry)
        entry.gone_s = now_s
        entry.held_until_s = now_s + self._settings.hold_s
        self._gone[entry.key] = entry
        if len(self._gone) > self._settings.max_instances:
            del self._gone[next(iter(self._gone))]
        return (entry.turn(Health.GONE, reason),)

    def _link(self, entry: Entry) -> None:
        self._listed[entry.key] = entry
        at = _group(entry.instance)
        self._groups.setdefault(at, {})[entry.instance.id] = entry
        self._views.pop(at, None)
        self._connections.setdefault(entry.instance.connection, set()).add(entry.key)

    def _unlink(self, entry: Entry) -> None:
        del self._listed[entry.key]
        at = _group(entry.instance)
        self._views.pop(at, None)
        del self._groups[at][entry.instance.id]
        if not self._groups[at]:
            del self._groups[at]
        together = self._connections[entry.instance.connection]
        together.discard(entry.key)
        if not together:
            del self._connections[entry.instance.connection]

    def _forget(self, now_s: float) -> None:
        """Those that went first are first."""
        while self._gone:
            key, entry = next(iter(self._gone.items()))
            if now_s - entry.gone_s < self._settings.remember_s:
                return
            del self._gone[key]


def _group(instance: Instance) -> tuple[str, int]:
    return instance.service, instance.major


def _joined(changes: Iterable[Changes]) -> Changes:
    return tuple(_each(changes))


def _each(changes: Iterable[Changes]) -> Iterator[Seen]:
    for some in changes:
        yield from some


__all__ = ["Changes", "Table", "TableFull"]
