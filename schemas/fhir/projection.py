"""What routing needs of a FHIR document, read without parsing the rest: unknown keys are skipped in C.

The result holds protected data. It belongs inside the encryption, never into subjects, logs or metrics.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import msgspec

from schemas.fhir.errors import MalformedFhir
from schemas.fhir.text import parse_object

MAX_LISTED: Final = 32
"""How many profiles, patients, codes or entry types a projection holds at most."""
MAX_TEXT: Final = 512
"""How many characters a text of a projection has at most; longer ones are left out."""


class Token(NamedTuple):
    """A code or an identifier with its system; either may be empty."""

    system: str
    value: str


class Projection(NamedTuple):
    """What a document says about itself. What it lacks, or holds in a form that FHIR does not know, is empty."""

    resource_type: str
    id: str
    version_id: str
    last_updated: str
    """An instant, as written."""
    profiles: tuple[str, ...]
    status: str
    patients: tuple[str, ...]
    """The patients that it is about, as written (`Patient/17`, `urn:uuid:…`); of a Bundle, its entries'."""
    patient_identifiers: tuple[Token, ...]
    """The identifiers of a Patient, and those by which logical references name one."""
    encounter: str
    codes: tuple[Token, ...]
    """What it is: `code`, `vaccineCode` or `medicationCodeableConcept`."""
    entry_types: tuple[str, ...]
    """Of a Bundle: the resource types of its entries, sorted, each once."""
    is_cut: bool
    """Whether a bound left something out."""


class _Identifier(msgspec.Struct, gc=False):
    system: str = ""
    value: str = ""


class _Reference(msgspec.Struct):
    reference: str = ""
    type: str = ""
    identifier: _Identifier | None = None


class _Coding(msgspec.Struct, gc=False):
    system: str = ""
    code: str = ""


class _Concept(msgspec.Struct):
    coding: list[_Coding] = []


class _Meta(msgspec.Struct, rename="camel"):
    version_id: str = ""
    last_updated: str = ""
    profile: list[str] = []


_References = _Reference | list[_Reference] | None
_Identifiers = _Identifier | list[_Identifier] | None


class _Subjects(msgspec.Struct, rename="camel"):
    """What tells whom a resource is about."""

    resource_type: str = ""
    id: str = ""
    identifier: _Identifiers = None
    subject: _References = None
    patient: _References = None
    beneficiary: _References = None
    individual: _References = None
    for_: _References = msgspec.field(default=None, name="for")


class _Entry(msgspec.Struct):
    resource: _Subjects | None = None


class _Document(_Subjects, rename="camel"):
    meta: _Meta | None = None
    status: str = ""
    encounter: _References = None
    code: _Concept | list[_Concept] | str | None = None
    vaccine_code: _Concept | None = None
    medication_codeable_concept: _Concept | None = None
    entry: list[_Entry] = []


_NO_META: Final = _Meta()
_decoder: Final = msgspec.json.Decoder(_Document)
_keys: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELDS: Final = msgspec.structs.fields(_Document)

T = TypeVar("T")


def project(raw: bytes) -> Projection:
    """The projection of a FHIR JSON text. Raises `MalformedFhir` when it is no JSON object, and nothing else."""
    try:
        document = _decoder.decode(raw)
    except msgspec.ValidationError:
        document = _read_leniently(raw)
    except RecursionError:
        raise MalformedFhir("the JSON is nested deeper than about 1000 levels") from None
    except UnicodeDecodeError as error:
        raise MalformedFhir(f"the JSON is not UTF-8 (byte {error.start} of a string)") from None
    except msgspec.DecodeError as error:
        raise MalformedFhir(str(error)) from None
    return _Summary().of(document)


def _read_leniently(raw: bytes) -> _Document:
    """Key by key: one whose value has a wrong form is passed over."""
    parse_object(raw)
    found = _keys.decode(raw)
    document = _Document()
    for field in _FIELDS:
        if field.encode_name not in found:
            continue
        try:
            value = msgspec.json.decode(found[field.encode_name], type=field.type)
        except msgspec.ValidationError:
            continue
        setattr(document, field.name, value)
    return document


class _Summary:
    """Collects a projection within its bounds. Dictionaries are sets that keep their order."""

    def __init__(self) -> None:
        self._patients: dict[str, None] = {}
        self._identifiers: dict[Token, None] = {}
        self._codes: dict[Token, None] = {}
        self._entry_types: dict[str, None] = {}
        self._profiles: dict[str, None] = {}
        self._cut = False

    def of(self, document: _Document) -> Projection:
        self._add_subjects(document)
        for entry in document.entry:
            if entry.resource is not None:
                self._add(self._entry_types, entry.resource.resource_type)
                self._add_subjects(entry.resource)
        for concept in (document.code, document.vaccine_code, document.medication_codeable_concept):
            if concept is not None:
                self._add_codes(concept)
        meta = document.meta or _NO_META
        for profile in meta.profile:
            self._add(self._profiles, profile)
        return Projection(
            self._text(document.resource_type),
            self._text(document.id),
            self._text(meta.version_id),
            self._text(meta.last_updated),
            tuple(self._profiles),
            self._text(document.status),
            tuple(self._patients),
            tuple(self._identifiers),
            self._text(_first_reference(document.encounter)),
            tuple(self._codes),
            tuple(sorted(self._entry_types)),
            self._cut,
        )

    def _add_subjects(self, resource: _Subjects) -> None:
        if resource.resource_type == "Patient":
            if resource.id:
                self._add(self._patients, f"Patient/{resource.id}")
            for identifier in _listed(resource.identifier):
                self._add_token(self._identifiers, identifier.system, identifier.value)
        for value in (
            resource.subject,
            resource.patient,
            resource.beneficiary,
            resource.individual,
            resource.for_,
        ):
            if value is not None:
                for reference in value if isinstance(value, list) else (value,):
                    self._add_reference(reference)

    def _add_reference(self, reference: _Reference) -> None:
        if not _may_be_patient(reference):
            return
        self._add(self._patients, reference.reference)
        if reference.identifier is not None:
            self._add_token(
                self._identifiers, reference.identifier.system, reference.identifier.value
            )

    def _add_codes(self, value: _Concept | list[_Concept] | str) -> None:
        if isinstance(value, str):
            return
        for concept in value if isinstance(value, list) else (value,):
            for coding in concept.coding:
                self._add_token(self._codes, coding.system, coding.code)

    def _add_token(self, kept: dict[Token, None], system: str, value: str) -> None:
        if self._text(value):
            self._keep(kept, Token(self._text(system), value))

    def _add(self, kept: dict[str, None], text: str) -> None:
        if self._text(text):
            self._keep(kept, text)

    def _keep(self, kept: dict[T, None], value: T) -> None:
        if len(kept) < MAX_LISTED:
            kept[value] = None
        elif value not in kept:
            self._cut = True

    def _text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self._cut = True
        return ""


def _listed(value: T | list[T] | None) -> list[T]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _first_reference(value: _References) -> str:
    return next((each.reference for each in _listed(value)), "")


def _may_be_patient(reference: _Reference) -> bool:
    """Whether a reference does not say that it names something else: `Group/1`, a type, or something contained."""
    if reference.type:
        return reference.type == "Patient"
    if reference.reference.startswith("#"):
        return False
    path = reference.reference.partition("/_history/")[0].split("/")
    return len(path) == 1 or path[-2] == "Patient"


__all__ = ["MAX_LISTED", "MAX_TEXT", "Projection", "Token", "project"]
