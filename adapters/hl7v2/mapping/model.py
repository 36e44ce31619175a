"""What tables say, checked for form and not yet compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from adapters.hl7v2.mapping.protocol import Json


class Unmapped(Enum):
    """What becomes of a code that has no row."""

    KEEP = "keep"
    OMIT = "omit"
    FAIL = "fail"
    USE = "use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a definition stands, for errors and for origins."""

    layer: str
    file: str

    def __str__(self) -> str:
        return f"{self.layer}/{self.file}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a segment or data type document. Docs: docs/how-to/mapping.md."""

    id: str
    place: Place
    to: str
    sources: tuple[str, ...] = ()
    maker: str = ""
    when: str = ""
    table: str = ""
    unmapped: Unmapped | None = None
    original: bool = False
    system: str = ""
    const: Json = None
    default: Json = None
    ref: str = ""
    create: str = ""
    ig: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A segment or data type document: `PID[Patient]`, `XPN[HumanName]`."""

    name: str
    source: str
    """The segment or data type: `PID`."""
    target: str
    """The FHIR type that it fills: `Patient`, `Observation.component`, `code`."""
    is_segment: bool
    place: Place
    rules: Mapping[str, Rule] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Reason by address, for fields that are left out on purpose."""


class Where(Enum):
    """Which segments of its name a document of a resource looks at."""

    GROUP = "group"
    AFTER = "after"
    AROUND = "around"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A document that fills a resource."""

    document: str
    where: Where = Where.GROUP
    outside: frozenset[str] = frozenset()
    """Groups whose segments are none of the resource's."""


class Write(Enum):
    """What a transaction does with a resource."""

    UPDATE = "update"
    CREATE = "create"
    REFER = "refer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """One resource of a message document."""

    name: str
    place: Place
    type: str
    anchors: tuple[tuple[str, str], ...]
    """Group (or an empty text) and segment, the first kind first."""
    outside: frozenset[str] = frozenset()
    once: bool = False
    when: str = ""
    uses: tuple[Use, ...] = ()
    refs: Mapping[str, str] = field(default_factory=dict)
    prefer: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    identity_only: bool = False
    parent: str = ""
    write: Write = Write.UPDATE


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDocument:
    """Which resources a kind of message gives."""

    name: str
    place: Place
    type: str = ""
    events: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    like: str = ""
    bundle: tuple[str, ...] = ()
    resources: Mapping[str, ResourceRule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A row of a code table."""

    system: str
    code: str
    display: str
    omit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTable:
    """A code table of all layers together."""

    name: str
    rows: Mapping[str, Coded]
    unmapped: Unmapped = Unmapped.KEEP
    fallback: Coded | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """All layers together."""

    version: str
    """SHA-256 over all files of all layers, in hex, its first 16 bytes."""
    layers: tuple[str, ...]
    messages: Mapping[str, MessageDocument]
    segments: Mapping[str, Document]
    datatypes: Mapping[str, Document]
    codes: Mapping[str, CodeTable]


__all__ = [
    "CodeTable",
    "Coded",
    "Document",
    "MessageDocument",
    "Place",
    "ResourceRule",
    "Rule",
    "Tables",
    "Unmapped",
    "Use",
    "Where",
    "Write",
]
