"""What a requester may see and change, as the gateway has verified it: SMART scopes, a patient's compartment. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from adapters.fhir.store.matching import Condition, either
from adapters.fhir.store.refusals import Refusal
from adapters.fhir.store.repository import Prepared
from schemas.fhir.searching import Parameters
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_SCOPE: Final = re.compile(r"(?:system|user|patient)/(?P<type>\*|[A-Za-z]+)\.(?P<deeds>[a-z*]+)\Z")
_OLD: Final = {"read": "rs", "write": "cud", "*": "cruds"}
_OPEN_TYPES: Final = frozenset(
    {
        "Endpoint",
        "HealthcareService",
        "Location",
        "Medication",
        "Organization",
        "Practitioner",
        "PractitionerRole",
    }
)
"""About no patient: readable from inside of a compartment."""
_PATIENT: Final = "Patient"


@dataclass(frozen=True, slots=True)
class Permit:
    """The rights of one interaction. No scopes at all: the gateway has decided alone."""

    parameters: Parameters
    scopes: tuple[str, ...] = ()
    patient: str = ""
    """The id of the patient to whose compartment the requester is confined."""

    def may(self, resource_type: str, deed: str) -> bool:
        """Whether one of the scopes allows a deed: c, r, u, d or s."""
        return not self.scopes or any(_allows(one, resource_type, deed) for one in self.scopes)

    def check(self, resource_type: str, deed: str) -> None:
        """Raises `Refusal` (403)."""
        if not self.may(resource_type, deed):
            raise Refusal(403, "forbidden", f"no scope allows that with {resource_type}")

    def inside(self, resource_type: str, alias: str = "r") -> Condition | None:
        """What confines rows of a type to the compartment; None where nothing does. Raises `Refusal` (403)."""
        if not self.patient or resource_type in _OPEN_TYPES:
            return None
        found = [
            Condition(
                f"{alias}.rid in (select c.rid from fhir_token c where c.param = ? and c.code = ? and c.system = ?)",  # noqa: S608
                (self.parameters.of(resource_type)[code].key, self.patient, _PATIENT),
            )
            for code in self.parameters.patient.get(resource_type, ())
        ]
        if resource_type == _PATIENT:
            found.append(Condition(f"{alias}.id = ?", (self.patient,)))
        if not found:
            raise Refusal(403, "forbidden", f"{resource_type} is in no patient's compartment")
        return either(found)

    def is_open(self, resource_type: str) -> bool:
        """Whether a type is about no patient, and may be read from inside of any compartment."""
        return resource_type in _OPEN_TYPES

    def shown(self, resource_type: str, alias: str = "r") -> Condition | None:
        """As `inside`, and nothing of a type that is in no compartment."""
        if self.patient and not self.is_in_compartments(resource_type):
            return Condition("1 = 0")
        return self.inside(resource_type, alias)

    def is_in_compartments(self, resource_type: str) -> bool:
        """Whether resources of a type can be seen from inside of a compartment at all."""
        known = self.parameters.patient.get(resource_type, ())
        return bool(known) or resource_type == _PATIENT or resource_type in _OPEN_TYPES

    def check_content(self, prepared: Prepared, id: str) -> None:
        """A resource that is to be stored lies in the compartment. Raises `Refusal` (403)."""
        if not self.patient:
            return
        kind = prepared.resource_type
        keys = {
            self.parameters.of(kind)[code].key for code in self.parameters.patient.get(kind, ())
        }
        inside = any(
            one.key in keys and (one.system, one.code) == (_PATIENT, self.patient)
            for one in prepared.rows.tokens
        )
        if not inside and not (kind == _PATIENT and id == self.patient):
            raise Refusal(403, "forbidden", "the resource is not in the patient's compartment")


def permit_of(requester: pb.Requester, parameters: Parameters) -> Permit:
    """The rights that come with an interaction. Raises `Refusal` (403) for a compartment that is not a patient's."""
    kind, _, identity = requester.compartment.partition("/")
    if requester.compartment and (kind != _PATIENT or not identity):
        raise Refusal(403, "forbidden", "only compartments of patients are known here")
    return Permit(parameters, tuple(requester.scopes), identity)


def _allows(scope: str, resource_type: str, deed: str) -> bool:
    match = _SCOPE.match(scope.partition("?")[0])
    if match is None or "?" in scope:
        return False
    deeds = _OLD.get(match["deeds"], match["deeds"])
    return match["type"] in ("*", resource_type) and deed in deeds


__all__ = ["Permit", "permit_of"]
