"""Who owns a resource type: services say it in the metadata that discovery carries; those that may, are believed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Final

from bus.services.protocol import Health, Seen
from gateway.fhir.exchange import Refusal

RELEASES: Final = "fhir.releases"
"""Metadata of an owner: "R4,R5"."""
TYPES: Final = "fhir.types"
"""Metadata of an owner: "Patient,Observation", or "*" for every type that no other service names."""
COMPARTMENTS: Final = "fhir.compartments"
"""Metadata of an owner: "yes" where it keeps to `Requester.compartment`."""
OPERATIONS: Final = "fhir.operations"
"""Metadata of an owner: "Subscription/$status.r,Subscription/$events.rs": type, name, and the letters of SMART that
whoever asks for it needs; without letters it needs all of them."""
EVERY: Final = "*"
_ALL: Final = "cruds"
MAJOR: Final = 1
"""Version of the protocol between façade and owners: `svc.<site>.<owner>.v1`."""


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """One service that owns resource types of a release."""

    service: str
    types: frozenset[str]
    keeps_compartments: bool
    operations: frozenset[str] = frozenset()

    def letters(self, type_: str, operation: str) -> str:
        """What an operation needs; empty where the owner has none of that name."""
        for one in self.operations:
            name, _, letters = one.partition(".")
            if name == f"{type_}/{operation}":
                return letters or _ALL
        return ""


def owners(
    services: Mapping[str, Sequence[Seen]], release: str, *, trusted: Collection[str]
) -> list[Owner]:
    """Every owner of a release, by name. Metadata is a claim: only that of `trusted` services counts."""
    return [
        owner
        for name in sorted(trusted)
        for owner in islice(_owners_in(name, services.get(name, ()), release), 1)
    ]


def _owners_in(name: str, instances: Sequence[Seen], release: str) -> Iterator[Owner]:
    for seen in instances:
        metadata = seen.instance.metadata
        is_there = seen.health is not Health.GONE and seen.instance.major == MAJOR
        if is_there and release in _listed(metadata.get(RELEASES, "")):
            yield Owner(
                service=name,
                types=frozenset(_listed(metadata.get(TYPES, ""))),
                keeps_compartments=metadata.get(COMPARTMENTS, "") == "yes",
                operations=frozenset(_listed(metadata.get(OPERATIONS, ""))),
            )


def owner_of(known: Sequence[Owner], release: str, type_: str) -> Owner:
    """The service for a type: one that names it before one that takes every type. Raises `Refusal` (404).

    `type_` empty asks for the one that takes every type.
    """
    for wanted in (type_, EVERY) if type_ else (EVERY,):
        for owner in known:
            if wanted in owner.types:
                return owner
    whose = type_ or "the whole server"
    text = f"no service of the mesh answers for {whose} in {release} (`medmesh services` shows who runs)"
    raise Refusal(HTTPStatus.NOT_FOUND, "not-supported", text)


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


__all__ = [
    "COMPARTMENTS",
    "EVERY",
    "MAJOR",
    "OPERATIONS",
    "RELEASES",
    "TYPES",
    "Owner",
    "owner_of",
    "owners",
]
