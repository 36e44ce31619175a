"""Checks across sections: names, listeners, subjects. Each finding says what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.contract import AdapterConfig, AdapterKind, Rights
from gateway.access.listeners import check_access, is_loopback
from medmesh.config.problems import Problem, key_path, nearest
from schemas import subjects
from schemas.errors import ConfigurationError, MeshError
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredAdapter:
    """One `[[adapter]]` section that was checked, with what its kind says about it."""

    place: int
    """Its number in the file, from 0."""
    kind: AdapterKind[AdapterConfig]
    config: AdapterConfig
    rights: Rights
    addresses: tuple[str, ...]


def rights_of(
    kind: AdapterKind[AdapterConfig], config: AdapterConfig, site: SiteId, place: int
) -> tuple[ConfiguredAdapter | None, list[Problem]]:
    """Ask a kind what the section means."""
    try:
        adapter = ConfiguredAdapter(
            place=place,
            kind=kind,
            config=config,
            rights=kind.rights(config, site),
            addresses=kind.addresses(config),
        )
    except MeshError as error:
        return None, [Problem(key=f'adapter[{place}] "{config.name}"', text=str(error))]
    return adapter, []


RESERVED_NAMES: Final = frozenset({"auditor", "gateway", "operator", "scheduler"})
"""Services that every mesh has."""


def wrong_names(names: Sequence[str]) -> list[Problem]:
    """Two adapters of one name would share keys and places in streams."""
    reserved = [
        Problem(
            key=key_path(("adapter", i, "name"), names),
            text=f'"{name}" is a service that every mesh has; choose another name',
        )
        for i, name in enumerate(names)
        if name in RESERVED_NAMES
    ]
    return reserved + [
        Problem(
            key=key_path(("adapter", i, "name"), names),
            text=f'"{name}" is the name of adapter[{names.index(name)}] already; give each its own',
        )
        for i, name in enumerate(names)
        if name and names.index(name) < i
    ]


@dataclass(frozen=True, slots=True)
class Listener:
    """An address that the configuration opens."""

    owner: str
    """As problems name it: `adapter[0] "emr-in"`, `gateway`."""
    key: str
    address: str


def listeners(
    adapters: Sequence[ConfiguredAdapter], gateway: GatewaySection | None
) -> list[Listener]:
    """Every listener of a configuration, those of the gateway last."""
    found = []
    for adapter in adapters:
        owner = f'adapter[{adapter.place}] "{adapter.config.name}"'
        found += [Listener(owner, f"{owner}.listen", address) for address in adapter.addresses]
    if gateway is not None:
        found.append(Listener("gateway", "gateway.listen", gateway.listen))
        if gateway.grpc is not None:
            found.append(Listener("gateway.grpc", "gateway.grpc.listen", gateway.grpc.listen))
        if mutual := gateway.access.mtls_listen:
            found.append(Listener("gateway.access", "gateway.access.mtls_listen", mutual))
    return found


def shared_listeners(opened: Sequence[Listener]) -> list[Problem]:
    """Two listeners on one port of one address."""
    seen: dict[str, list[tuple[str, Listener]]] = {}
    problems = []
    for listener in opened:
        host, _, port = listener.address.rpartition(":")
        if port == "0":
            continue
        for other_host, other in seen.setdefault(port, []):
            if _same_interface(host, other_host):
                problems.append(
                    Problem(
                        key=listener.key,
                        text=f"{listener.address} is taken by {other.owner}; give each listener a port of its own",
                    )
                )
                break
        seen[port].append((host, listener))
    return problems


def open_gateway(gateway: GatewaySection) -> list[Problem]:
    """A gateway that others can reach must know its clients, and must not speak in the clear."""
    try:
        check_access(gateway)
    except ConfigurationError as error:
        key, _, text = str(error).partition(": ")
        return [Problem(key=key, text=text) if text else Problem(key="gateway", text=str(error))]
    if gateway.tls is not None:
        return []
    return [
        Problem(
            key=one.key,
            text=f'"{one.address}" can be reached from other machines, so it needs TLS: add [gateway.tls] with '
            "certificate and key, or listen on 127.0.0.1 behind a proxy on this machine",
        )
        for one in listeners((), gateway)
        if not is_loopback(one.address)
    ]


def _same_interface(one: str, other: str) -> bool:
    everywhere = ("", "0.0.0.0", "[::]", "::", "*")  # noqa: S104 - compared, not bound
    return one == other or one in everywhere or other in everywhere


def foreign_subjects(adapters: Sequence[ConfiguredAdapter], site: SiteId) -> list[Problem]:
    """An adapter subscribes the events of its own site; those of others are not stored here."""
    problems = []
    own = subjects.events_of(site)
    for adapter in adapters:
        for pattern in strings(adapter.config, "subscribe"):
            if subjects.matches(own, pattern):
                continue
            if subjects.overlaps(own, pattern):
                advice = f'reaches beyond this site; write "evt.{site}." and then what you want'
            else:
                advice = f'no event of this site ("{site}") has such a subject; it must begin with "evt.{site}."'
            problems.append(
                Problem(
                    key=f'adapter[{adapter.place}] "{adapter.config.name}".subscribe',
                    text=f'"{pattern}": {advice}',
                )
            )
    return problems


def unknown_receipts(adapters: Sequence[ConfiguredAdapter], names: Sequence[str]) -> list[Problem]:
    """A sender can wait only for receipts of an adapter that exists and consumes."""
    problems = []
    consumers = {a.config.name for a in adapters if strings(a.config, "subscribe")}
    for adapter in adapters:
        for wanted in strings(adapter.config, "receipts_from"):
            if wanted in consumers:
                continue
            why = "consumes no events" if wanted in names else "is no adapter of this file"
            listed = ", ".join(sorted(consumers)) or "none"
            problems.append(
                Problem(
                    key=f'adapter[{adapter.place}] "{adapter.config.name}".receipts_from',
                    text=f'"{wanted}" {why}{nearest(wanted, consumers) or ";"} consumers: {listed}',
                )
            )
    return problems


def strings(config: AdapterConfig, field: str) -> tuple[str, ...]:
    """A field that holds one text or several, as a tuple; () when the kind has no such field."""
    value = getattr(config, field, None)
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, tuple | list) else ()


__all__ = [
    "RESERVED_NAMES",
    "ConfiguredAdapter",
    "Listener",
    "foreign_subjects",
    "listeners",
    "open_gateway",
    "rights_of",
    "shared_listeners",
    "strings",
    "unknown_receipts",
    "wrong_names",
]
