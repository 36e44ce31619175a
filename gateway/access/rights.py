"""Rights of clients, compiled once; and their union, which the gateway's own certificate must allow."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from adapters.contract import Rights
from bus.events.rights import operator_rights
from schemas import subjects
from schemas.gateway import GatewaySection
from schemas.gateway.access import ANONYMOUS, ClientSection
from schemas.gateway.scopes import MESH_SCOPES, FhirScope, Level, fhir_scope, granted
from schemas.subjects import SiteId

GATEWAY: Final = "gateway"
"""The service in whose name the gateway speaks."""
FHIR_METHOD: Final = "interaction"
"""The method of owners of FHIR resources."""

_REMEMBERED: Final = 512


class Matcher:
    """Subject patterns of one right. It remembers some of what it covers, so that a hot subject costs a look-up."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(dict.fromkeys(patterns))
        self._covered: set[str] = set()

    def covers(self, subject_or_pattern: str) -> bool:
        """Whether one pattern covers it whole. It must have been checked by `schemas.subjects`."""
        if subject_or_pattern in self._covered:
            return True
        if not any(subjects.matches(one, subject_or_pattern) for one in self._patterns):
            return False
        if len(self._covered) >= _REMEMBERED:
            self._covered.clear()
        self._covered.add(subject_or_pattern)
        return True


class ClientRights:
    """What one client may do, as it is configured."""

    def __init__(self, section: ClientSection) -> None:
        self.publish = Matcher(section.publish)
        self.subscribe = Matcher(section.subscribe)
        self.call = Matcher(_call_pattern(one) for one in section.call)
        self.operate = frozenset(section.operate)
        self.fhir = tuple(fhir_scope(one) for one in section.fhir)
        mesh = dict(zip(MESH_SCOPES, _mesh_rights(section), strict=True))
        self.mesh_scopes = tuple(scope for scope, right in mesh.items() if right)
        """Those of `MESH_SCOPES` that name a right that it has."""
        self.scopes = (*map(str, self.fhir), *self.mesh_scopes)
        """Everything that it may have."""

    def granted(self, requested: Iterable[str]) -> tuple[str, ...]:
        """What of these scopes it has, sorted. What is no scope of ours grants nothing. Raises `ScopeRefused`."""
        found: set[str] = set()
        for text in requested:
            if text in self.mesh_scopes:
                found.add(text)
            elif text.startswith(("system/", "user/", "patient/")):
                found.update(map(str, granted(fhir_scope(text), self.fhir)))
        return tuple(sorted(found))


def _mesh_rights(section: ClientSection) -> tuple[tuple[str, ...], ...]:
    return section.publish, section.subscribe, section.call, section.operate


def _call_pattern(right: str) -> str:
    """`lab/results` as `lab.*.results`, `lab.v2/*` as `lab.v2.*`: service, version, method."""
    service, _, method = right.partition("/")
    name, _, version = service.partition(".")
    return f"{name}.{version or '*'}.{method}"


@lru_cache(maxsize=_REMEMBERED)
def call_subject(service: str, method: str) -> str:
    """What a call asks of the matcher: version 1 where the service names none. Raises `SubjectError`."""
    name, _, version = service.partition(".")
    return subjects.subject(f"{name}.{version or 'v1'}.{method}")


@lru_cache(maxsize=1024)
def allows_fhir(scopes: tuple[str, ...], resource_type: str, deed: str, *, confined: bool) -> bool:
    """Whether scopes that hold allow a deed. Those of a patient count only where the client is confined to one."""
    for text in scopes:
        if text in MESH_SCOPES:
            continue
        scope: FhirScope = fhir_scope(text)
        if scope.level is Level.PATIENT and not confined:
            continue
        if scope.type in ("*", resource_type) and deed in scope.deeds:
            return True
    return False


def local_user(site: SiteId) -> ClientSection:
    """The client of a gateway that has none: whoever may use this machine."""
    return ClientSection.model_construct(
        name=ANONYMOUS,
        publish=(f"evt.{site}.>",),
        subscribe=(f"evt.{site}.>",),
        call=("*/*",),
        fhir=("system/*.cruds",),
        operate=("view", "find", "replay", "unmask"),
    )


def mesh_rights(section: GatewaySection, site: SiteId) -> Rights:
    """What the gateway's own certificate must allow: its clients' rights together, and to write access records.

    Receivers hold the gateway to it, so that no mistake of a gateway lets a client do what none of them may.
    """
    clients = section.client or (local_user(site),)
    publish: list[str] = [subjects.access_records(site)]
    subscribe: list[str] = [subjects.answers(site, GATEWAY)]
    for client in clients:
        publish += client.publish
        publish += [f"svc.{site}.{_service_of(one)}.>" for one in client.call]
        subscribe += client.subscribe
        if client.fhir:
            publish += [f"svc.{site}.*.*.rpc.{FHIR_METHOD}", f"svc.{site}.*.*.i.*.{FHIR_METHOD}"]
        if client.operate:
            subscribe += operator_rights(site).subscribe
        if "replay" in client.operate:
            publish += operator_rights(site).publish
    return Rights(publish=_widest(publish), subscribe=_widest(subscribe))


def _service_of(call: str) -> str:
    name, _, version = call.partition("/")[0].partition(".")
    return f"{name}.{version or '*'}"


def _widest(patterns: Iterable[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(patterns))
    return tuple(
        one
        for one in unique
        if not any(other != one and subjects.matches(other, one) for other in unique)
    )


__all__ = [
    "FHIR_METHOD",
    "GATEWAY",
    "ClientRights",
    "Matcher",
    "allows_fhir",
    "call_subject",
    "local_user",
    "mesh_rights",
]
