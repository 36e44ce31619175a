"""A binding: which content the subjects of a pattern carry. And a revision of one: what is signed and stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import msgspec

from schemas import subjects
from schemas.errors import SubjectError
from schemas.registry.errors import SchemaError
from schemas.registry.patterns import is_call_pattern, is_of_calls
from schemas.registry.words import is_resource_name

MAX_FORMER: Final = 64
"""Former schemas that a binding remembers: its compatibility holds for all of them."""
MAX_WORDS: Final = 512
MAX_TEXT: Final = 500
_HASH: Final = re.compile(r"[0-9a-f]{64}\Z")
_FULL_NAME: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z", re.ASCII)
_CONTENT_TYPE: Final = re.compile(
    r"[a-z0-9.+-]{1,40}/(?:[A-Za-z0-9.+_^-]{1,80}|[A-Za-z0-9.+_^-]{0,79}\*)\Z"
)


class Kind(StrEnum):
    """What kind of schema a binding names."""

    PROTOBUF = "protobuf"
    """A message type of a descriptor closure in the registry."""
    FHIR = "fhir"
    """Resource types of a FHIR release."""
    HL7V2 = "hl7v2"
    """Message types (MSH-9)."""
    CONTENT = "content"
    """Content types alone."""


class Compatibility(StrEnum):
    """What a new schema of a binding must keep, against every former one that the binding remembers."""

    NONE = "none"
    BACKWARD = "backward"
    """Readers of the new schema understand what was written by the former ones: readers are changed first."""
    FORWARD = "forward"
    """Readers of the former schemas understand what is written by the new one: writers are changed first."""
    FULL = "full"
    """Both."""


class Depth(StrEnum):
    """How much of a message is looked at before it is published."""

    TYPE = "type"
    """Its content type; of FHIR JSON also the resource type, by a partial read."""
    FULL = "full"
    """The whole body must parse, and hold nothing that its schema does not know."""


class Mode(StrEnum):
    """What a site does with content that does not fit."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


class Release(StrEnum):
    """A FHIR release."""

    R4 = "R4"
    R4B = "R4B"
    R5 = "R5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What the subjects of a pattern carry."""

    pattern: str
    kind: Kind
    content_types: tuple[str, ...]
    """Exact, or all that begin alike: `hl7v2/ADT^*`. For HL7 v2 these are the message types."""
    depth: Depth = Depth.TYPE
    compatibility: Compatibility = Compatibility.NONE
    codecs: tuple[str, ...] = ("identity",)
    """Body encodings that readers of these subjects know; for documentation."""
    is_protected: bool = True
    """Whether the content is protected health data; for documentation and for whoever shows it."""
    description: str = ""
    message: str = ""
    """Protobuf: full name of the message type."""
    schema: str = ""
    """Protobuf: SHA-256 of the canonical descriptor closure, 64 hexadecimal digits."""
    former: tuple[str, ...] = ()
    """Hashes that the binding named before, oldest first."""
    release: str = ""
    """FHIR: R4, R4B or R5."""
    resources: tuple[str, ...] = ()
    """FHIR: resource types; none allows all."""
    answer_types: tuple[str, ...] = ()
    """Calls: content types of answers; none: answers may be anything."""
    answer_message: str = ""
    """Protobuf calls: full name of the answer's message type, in the same schema."""

    def of_answers(self) -> Binding | None:
        """What answers to these calls are held to; None for what is no call, and where nothing is said of them."""
        if not self.answer_types:
            return None
        is_typed = self.kind is not Kind.PROTOBUF or bool(self.answer_message)
        return replace(
            self,
            kind=self.kind if is_typed else Kind.CONTENT,
            content_types=self.answer_types,
            message=self.answer_message,
            resources=(),
            answer_types=(),
            answer_message="",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One state of a binding, as its writer signed it. A removal is one too: what is merely gone was not removed."""

    binding: Binding
    version: int
    """1, 2, 3 …: what a writer names to say which one it replaces."""
    written_ms: int
    """Never before that of the one it replaces."""
    is_removed: bool = False

    @property
    def age(self) -> tuple[int, int]:
        """Grows with each revision: a reader never goes back to a lower one."""
        return self.written_ms, self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRevision:
    """What the writer signs: the revision, and the certificate by which it can be verified for as long as it holds."""

    certificate: bytes = field(repr=False)
    """The writer's certificate, a serialised SignedObject."""
    revision: Revision


def check_binding(binding: Binding) -> Binding:
    """Check that a binding is complete and consistent. Raises `SchemaError`."""
    try:
        subjects.pattern(binding.pattern)
    except SubjectError as error:
        raise SchemaError(f"a binding needs a subject pattern: {error}") from None
    _check_words(binding)
    _check_content_types(binding)
    _check_calls(binding)
    match binding.kind:
        case Kind.PROTOBUF:
            _check_protobuf(binding)
        case Kind.FHIR:
            _check_fhir(binding)
        case Kind.HL7V2 | Kind.CONTENT:
            pass
    if binding.kind is not Kind.PROTOBUF and (binding.message or binding.schema or binding.former):
        raise SchemaError(f"a binding of kind {binding.kind} names no protobuf schema")
    if binding.kind is not Kind.FHIR and (binding.release or binding.resources):
        raise SchemaError(f"a binding of kind {binding.kind} names no FHIR release or resources")
    return binding


def _check_calls(binding: Binding) -> None:
    if is_of_calls(binding.pattern):
        if not is_call_pattern(binding.pattern):
            raise SchemaError(
                f"{binding.pattern}: calls are bound by svc.<site>.<service>.v<major>.rpc.<method>, where service and "
                "method may be *"
            )
    elif binding.answer_types or binding.answer_message:
        raise SchemaError(f"{binding.pattern} are events, and nobody answers them: bind a call")
    if binding.answer_message and not binding.answer_types:
        raise SchemaError(
            f"{binding.pattern} names the message of its answers, and no content type"
        )
    if binding.answer_message and binding.kind is not Kind.PROTOBUF:
        raise SchemaError(f"a binding of kind {binding.kind} names no protobuf message of answers")
    if binding.answer_message and not _FULL_NAME.match(binding.answer_message):
        raise SchemaError(f"{binding.answer_message!r} is no message type: write a.b.v1.Name")


def _check_content_types(binding: Binding) -> None:
    if not binding.content_types:
        raise SchemaError(f"the binding of {binding.pattern} names no content type")
    for one in (*binding.content_types, *binding.answer_types):
        if not _CONTENT_TYPE.match(one):
            raise SchemaError(f"{one!r} is no content type: write e.g. application/fhir+json")
        if binding.kind is Kind.HL7V2 and not one.startswith("hl7v2/"):
            raise SchemaError(
                f"{one!r} is no HL7 v2 message type: write hl7v2/ADT^A01 or hl7v2/ADT^*"
            )


def _check_words(binding: Binding) -> None:
    lists = (
        binding.content_types,
        binding.answer_types,
        binding.resources,
        binding.codecs,
        binding.former,
    )
    for words in lists:
        if len(words) > MAX_WORDS or len(set(words)) != len(words):
            raise SchemaError(
                f"a list of the binding of {binding.pattern} repeats a word or has more than {MAX_WORDS}"
            )
    if len(binding.description) > MAX_TEXT or not binding.description.isprintable():
        raise SchemaError(f"a description is one line of at most {MAX_TEXT} characters")
    if any(not re.match(r"[a-z0-9-]{1,40}\Z", codec) for codec in binding.codecs):
        raise SchemaError(f"codecs of {binding.pattern}: identity, zstd, zstd-dictionary")


def _check_protobuf(binding: Binding) -> None:
    if not _FULL_NAME.match(binding.message):
        raise SchemaError(
            f"{binding.message!r} is no message type: write its full name, a.b.v1.Name"
        )
    if not all(_HASH.match(one) for one in (binding.schema, *binding.former)):
        raise SchemaError("a schema is named by its SHA-256: 64 hexadecimal digits")


def _check_fhir(binding: Binding) -> None:
    if binding.release not in tuple(Release):
        raise SchemaError(f"FHIR release {binding.release!r} is not known: {', '.join(Release)}")
    for name in binding.resources:
        if not is_resource_name(name):
            raise SchemaError(f"{name!r} is no FHIR resource type")


def encode(signed: SignedRevision) -> bytes:
    """As it is signed: JSON."""
    return msgspec.json.encode(signed)


def decode(raw: bytes) -> SignedRevision:
    """Read what `encode` wrote and check the binding; fields of a newer version are ignored. Raises `SchemaError`."""
    try:
        signed = msgspec.json.decode(raw, type=SignedRevision)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SchemaError("a stored binding cannot be read") from None
    check_binding(signed.revision.binding)
    return signed


__all__ = [
    "MAX_FORMER",
    "Binding",
    "Compatibility",
    "Depth",
    "Kind",
    "Mode",
    "Release",
    "Revision",
    "SignedRevision",
    "check_binding",
    "decode",
    "encode",
]
