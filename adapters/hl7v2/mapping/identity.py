"""Stable ids: UUIDv5 of tenant, type and business identifier, so that a resent message gives the same resources."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, cast
from uuid import NAMESPACE_URL, uuid5

from adapters.hl7v2.mapping.frames import Entry, Env, Frame, leaf
from adapters.hl7v2.mapping.programs import ResourceProgram
from adapters.hl7v2.mapping.protocol import Json
from adapters.hl7v2.mapping.remembered import Remembered
from adapters.hl7v2.mapping.writing import to_json

_IN_PROGRESS: Final = "?"
_SEPARATOR: Final = "\x1f"
_AUTHORITY: Final = "authority:"
_PARAMETER: Final = "parameter."
_MRN_AUTHORITY: Final = "authority:parameter.mrn_authority"

_ACTS: Final = frozenset(
    [
        "ChargeItem",
        "DiagnosticReport",
        "Immunization",
        "MedicationAdministration",
        "MedicationDispense",
        "MedicationRequest",
        "Observation",
        "Procedure",
        "ServiceRequest",
    ]
)
"""What a message tells segment by segment: two segments are two of them, also where one number stands in both, as with
the panels of one order. A person, a place or a thing that is named twice is one."""


@lru_cache(maxsize=64)
def _namespace(tenant: str) -> bytes:
    return uuid5(NAMESPACE_URL, f"urn:medmesh:hl7v2:{tenant}").bytes


def stable_id(tenant: str, kind: str, *parts: str) -> str:
    """A UUIDv5 in the tenant's namespace."""
    name = _SEPARATOR.join((kind, *parts)).encode("utf-8", "surrogatepass")
    digest = hashlib.sha1(_namespace(tenant) + name, usedforsecurity=False).digest()
    text = digest.hex()
    variant = "89ab"[digest[8] >> 4 & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


class Identities:
    """Gives the resources of one message their ids."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._owned: dict[int, list[tuple[dict[str, Json], Entry]]] | None = None
        self._acts: dict[str, list[Entry]] = {}
        """By id: the acts of one name that would have it; the first has it."""
        self._known_targets: dict[int, Entry] | None = None

    @property
    def _targets(self) -> dict[int, Entry]:
        """By identity of a reference: what it refers to."""
        if self._known_targets is None:
            self._known_targets = {id(one): target for one, target, _ in self._env.links}
        return self._known_targets

    def assign(self) -> None:
        """Give every entry its id; the references in the bodies are filled in as `Type/id`."""
        for entry in self._env.entries:
            self.of(entry)
        for entry in self._env.created:
            self.of(entry)

    def of(self, entry: Entry) -> str:
        """The id of an entry."""
        if not entry.id:
            known = entry.recalled
            if known is not None:
                self._recall(entry, *known)
                return entry.id
            entry.id = _IN_PROGRESS
            entry.id = self._made(entry)
            if entry.type in _ACTS and not entry.is_created:
                self._set_apart(entry)
        return entry.id

    def _recall(self, entry: Entry, remembered: Remembered, number: int) -> None:
        """The id of a resource that is made of its value alone is known with the value."""
        place = self._env.context.tenant, number
        found = remembered.ids.get(place)
        if found is None:
            entry.id = _IN_PROGRESS
            entry.id = self._made(entry)
            remembered.ids[place] = entry.id, entry.key
        else:
            entry.id, entry.key = found

    def _set_apart(self, entry: Entry) -> None:
        """Give an act whose id another segment's has an id of its own."""
        same = self._acts.setdefault(entry.id, [])
        same.append(entry)
        if len(same) == 1 or same[0].name != entry.name:
            return
        program = cast("ResourceProgram", entry.rule)
        texts = self._identity(entry, program) if entry.key is not None else []
        tenant, first = self._env.context.tenant, entry.id
        entry.id = stable_id(tenant, entry.type, "apart", first, *texts)
        again = self._acts.setdefault(entry.id, [])
        again.append(entry)
        if len(again) > 1 or not any(texts):
            entry.id = stable_id(tenant, entry.type, "again", first, *texts, str(len(again)))
        # a number that several have finds none of them
        same[0].key = entry.key = None

    def _made(self, entry: Entry) -> str:
        tenant = self._env.context.tenant
        program = cast("ResourceProgram | None", entry.rule)
        if program is None or not program.rule.identity_only:
            key = self._identifier(entry, program)
            # of what a rule created, a bare number (bed 1 of any ward) is no business identifier
            if key is not None and (program is not None or key[0]):
                entry.key = key
                # a number without authority is one of the sending facility's: never another's
                scope = key[0] or f"facility:{self._facility()}"
                return stable_id(tenant, entry.type, "identifier", scope, key[1])
        if program is None:
            return stable_id(tenant, entry.type, "content", self._content(entry))
        parent = self.of(entry.parent) if entry.parent is not None else ""
        texts = self._identity(entry, program)
        if any(texts):
            return stable_id(tenant, entry.type, "source", entry.name, parent, *texts)
        if not parent:
            parent = self._control_id(entry)
        return stable_id(tenant, entry.type, "place", entry.name, parent, str(entry.place))

    def _facility(self) -> str:
        """MSH-4."""
        found = self._env.views.get("MSH")
        repetitions = found[0].repetitions(4) if found else []
        return "^".join(leaf(repetitions[0], n, 1) for n in (1, 2)) if repetitions else ""

    def _identifier(self, entry: Entry, program: ResourceProgram | None) -> tuple[str, str] | None:
        """System (or assigner) and value of the identifier that counts."""
        found = entry.body.get("identifier")
        candidates = [
            one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)
        ]
        valued = [one for one in candidates if isinstance(one.get("value"), str)]
        if not valued:
            return None
        chosen = valued[0]
        if len(valued) > 1 and program is not None:
            chosen = self._preferred(entry, valued, program)
        return self._system(chosen), str(chosen["value"])

    def _preferred(
        self, entry: Entry, valued: list[dict[str, Json]], program: ResourceProgram
    ) -> dict[str, Json]:
        prefer = program.rule.prefer
        if entry.type == "Patient":
            prefer = (_MRN_AUTHORITY, *prefer)
        for wanted in prefer:
            found = self._first(wanted, valued)
            if found is not None:
                return found
        return valued[0]

    def _first(self, wanted: str, valued: list[dict[str, Json]]) -> dict[str, Json] | None:
        """The first identifier of a type, or of an authority (`authority:NAME`, `authority:parameter.NAME`)."""
        if not wanted.startswith(_AUTHORITY):
            return next((one for one in valued if wanted in _type_codes(one)), None)
        name = wanted.removeprefix(_AUTHORITY)
        if name.startswith(_PARAMETER):
            name = self._env.context.parameters.get(name.removeprefix(_PARAMETER), "")
        return next((one for one in valued if name and name in self._names(one)), None)

    def _names(self, identifier: dict[str, Json]) -> set[str]:
        """What an identifier's authority is called: its system, its assigner's name and identifiers."""
        names = {self._system(identifier)}
        reference = identifier.get("assigner")
        target = self._targets.get(id(reference))
        if isinstance(reference, dict) and isinstance(reference.get("display"), str):
            names.add(str(reference["display"]))
        if target is not None:
            names.add(str(target.body.get("name", "")))
            inner = target.body.get("identifier")
            for one in inner if isinstance(inner, list) else []:
                if isinstance(one, dict):
                    names.add(str(one.get("value", "")))
        names.discard("")
        return names

    def _system(self, identifier: dict[str, Json]) -> str:
        system = identifier.get("system")
        if isinstance(system, str):
            return system
        reference = identifier.get("assigner")
        if reference is None:
            return ""
        target = self._targets.get(id(reference))
        if target is not None and target.id != _IN_PROGRESS:
            return f"Organization/{self.of(target)}"
        display = reference.get("display") if isinstance(reference, dict) else ""
        return f"assigner:{display}" if display else ""

    def _identity(self, entry: Entry, program: ResourceProgram) -> list[str]:
        frame = Frame(self._env, entry, entry.anchor, {})
        texts = []
        for read in program.identity:
            source = read.source
            texts.append(
                "~".join(
                    leaf(parts, source.component, source.subcomponent)
                    for _, _, parts in read.hits(frame)
                )
            )
        return texts

    def _content(self, entry: Entry) -> str:
        if self._owned is None:
            self._owned = {}
            for reference, target, owner in self._env.links:
                self._owned.setdefault(id(owner), []).append((reference, target))
        for reference, target in self._owned.get(id(entry), ()):
            reference["reference"] = f"{target.type}/{self.of(target)}"
        return hashlib.sha256(to_json(entry.body, sort=True)).hexdigest()

    def _control_id(self, entry: Entry) -> str:
        found = self._env.views.get("MSH")
        texts = []
        for field in (3, 4, 10):
            repetitions = found[0].repetitions(field) if found else []
            texts.append(leaf(repetitions[0], 1, 1) if repetitions else "")
        return _SEPARATOR.join(texts)


def _type_codes(identifier: dict[str, Json]) -> list[Json]:
    kind = identifier.get("type")
    codings = kind.get("coding") if isinstance(kind, dict) else None
    return (
        [one.get("code") for one in codings or [] if isinstance(one, dict)]
        if isinstance(codings, list)
        else []
    )


__all__ = ["Identities", "stable_id"]
