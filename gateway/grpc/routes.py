"""Which service of the mesh answers for a gRPC service: by the configuration, else by what services say of themselves.

A service says so in its signed announcement: metadata `grpc.services = "lab.v1.Results,lab.v1.Orders"`. Where two
services claim the same name nobody gets it until the configuration decides: a service that joins must not be able to
take over another one's callers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bus.services.discovery.records import PROTOCOL
from bus.services.protocol import Health, Seen
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from gateway.grpc.names import mesh_method, split_path
from gateway.grpc.status import unavailable, unimplemented
from schemas.clock import Clock

SERVICES_KEY: Final = "grpc.services"
"""Metadata of an offer: names of gRPC services that it answers for, separated by commas."""
SCHEMA_KEY: Final = "grpc.schema"
"""Metadata of an offer: hashes of their descriptor closures in the schema registry, separated by commas."""
_FRESH_S: Final = 1.0
"""How long a look at who runs is good for."""
_HASTY_S: Final = 0.05
"""… for a name that was not found: a new service is called soon after it came."""
_MAX_KNOWN: Final = 4096
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """A service of the mesh, in one major version."""

    service: str
    major: int = 1

    def __str__(self) -> str:
        """`lab`, or `lab.v2`: as the configuration and rights write it."""
        return self.service if self.major == 1 else f"{self.service}.v{self.major}"


@dataclass(frozen=True, slots=True)
class Target:
    """A method of it."""

    owner: Owner
    method: str


def owner_of(text: str) -> Owner:
    """Read `lab` or `lab.v2`, as the configuration writes it."""
    service, _, major = text.partition(".v")
    return Owner(service, int(major or 1))


class Routes:
    """The table, renewed from memory as it is asked: at most once a second for known names."""

    def __init__(
        self,
        configured: Mapping[str, str],
        services: Callable[[], Mapping[str, Sequence[Seen]]],
        *,
        is_described: Callable[[str], bool],
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._configured = {theirs: owner_of(ours) for theirs, ours in configured.items()}
        self._services = services
        self._is_described = is_described
        self._clock = clock
        self._counters = counters
        self._owners: dict[str, Owner] = dict(self._configured)
        self._conflicts: set[str] = set()
        self._methods: dict[Owner, tuple[str, ...]] = {}
        self._targets: dict[str, Target] = {}
        self._looked_s = float("-inf")

    def target(self, path: str) -> Target:
        """What a path means. Raises `RpcFailed`: unimplemented for an unknown name, unavailable without owner."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s > _FRESH_S:
            self._look(now_s)
        found = self._targets.get(path)
        if found is not None:
            return found
        if now_s - self._looked_s > _HASTY_S:
            self._look(now_s)
        return self._find(path)

    def owned(self) -> Mapping[str, Owner]:
        """Every gRPC service that somebody answers for, or did."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s > _FRESH_S:
            self._look(now_s)
        return self._owners

    def is_serving(self, name: str) -> bool:
        """Whether an instance that may be asked runs for a gRPC service."""
        owner = self.owned().get(name)
        if owner is None or name in self._conflicts:
            return False
        seen = self._services().get(owner.service, ())
        return any(
            one.instance.major == owner.major and one.health in (Health.HEALTHY, Health.SUSPECT)
            for one in seen
        )

    def schemas(self) -> Mapping[str, frozenset[str]]:
        """Hash of a descriptor closure to the gRPC services for which their own services name it."""
        found: dict[str, set[str]] = {}
        for seen in (one for group in self._services().values() for one in group):
            if not _is_vouched(seen):
                continue
            instance = seen.instance
            owner = Owner(instance.service, instance.major)
            claimed = _words(instance.metadata.get(SERVICES_KEY, ""))
            configured = [name for name, one in self._configured.items() if one == owner]
            for schema in _words(instance.metadata.get(SCHEMA_KEY, "")):
                found.setdefault(schema, set()).update(claimed, configured)
        return {schema: frozenset(names) for schema, names in found.items()}

    def _find(self, path: str) -> Target:
        parts = split_path(path)
        if parts is None:
            raise unimplemented("no path of gRPC: it is /package.Service/Method")
        name, method = parts
        if name in self._conflicts:
            raise unavailable(
                f"several services of the mesh claim {name}: [gateway.grpc] services decides",
                reason="route_conflict",
            )
        owner = self._owners.get(name)
        if owner is None:
            if self._is_described(name):
                raise unavailable(f"nobody answers for {name} now", reason="no_owner")
            raise unimplemented(f"no service of the mesh answers for {name}")
        ours = mesh_method(method, self._methods.get(owner, ()))
        if not ours:
            raise unimplemented(f"{owner} offers nothing like {method}")
        target = Target(owner, ours)
        if len(self._targets) < _MAX_KNOWN:
            self._targets[path] = target
        return target

    def _look(self, now_s: float) -> None:
        self._looked_s = now_s
        claims: dict[str, set[Owner]] = {}
        methods: dict[Owner, dict[str, None]] = {}
        for group in self._services().values():
            for seen in filter(_is_vouched, group):
                instance = seen.instance
                owner = Owner(instance.service, instance.major)
                methods.setdefault(owner, {}).update(dict.fromkeys(instance.methods))
                for name in _words(instance.metadata.get(SERVICES_KEY, "")):
                    claims.setdefault(name, set()).add(owner)
        self._targets.clear()
        self._methods.update({owner: tuple(names) for owner, names in methods.items()})
        self._take(claims)

    def _take(self, claims: Mapping[str, set[Owner]]) -> None:
        """Known owners stay when they are away: their callers are told that they are, not that they never were."""
        for name, owners in claims.items():
            if name in self._configured:
                continue
            if len({one.service for one in owners}) > 1:
                self._conflict(name)
            elif len(self._owners) < _MAX_KNOWN or name in self._owners:
                self._owners[name] = max(owners, key=lambda one: one.major)
                self._conflicts.discard(name)

    def _conflict(self, name: str) -> None:
        if name not in self._conflicts and len(self._conflicts) < _MAX_KNOWN:
            self._conflicts.add(name)
            self._counters.add("grpc_route_conflict", who=name)
            _log.warning("grpc_route_conflict", service=name)


def _is_vouched(seen: Seen) -> bool:
    """Whether the instance's own signed record said it: answers to `$SRV.PING` are anybody's word."""
    return PROTOCOL in seen.instance.protocols and seen.health is not Health.GONE


def _words(text: str) -> list[str]:
    return [word for word in (one.strip() for one in text.split(",")) if word]


__all__ = ["SCHEMA_KEY", "SERVICES_KEY", "Owner", "Routes", "Target", "owner_of"]
