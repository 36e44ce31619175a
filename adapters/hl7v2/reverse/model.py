"""What tables of the way from FHIR to HL7 v2 say, checked for form and not yet compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from adapters.hl7v2.mapping.model import CodeTable, Place, Unmapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a segment or data type document. Docs: docs/how-to/mapping-to-v2.md."""

    id: str
    place: Place
    to: str
    sources: tuple[str, ...] = ()
    maker: str = ""
    when: str = ""
    table: str = ""
    unmapped: Unmapped | None = None
    const: str | None = None
    default: str | None = None
    required: bool = False
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A segment or data type document: `Patient[PID]`, `HumanName[XPN]`."""

    name: str
    source: str
    """The FHIR type: `Patient`."""
    target: str
    """The segment or data type: `PID`."""
    is_segment: bool
    place: Place
    rules: Mapping[str, Rule] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Reason by element, for elements that are left out on purpose."""


class Once(Enum):
    """What becomes of further items of a step that may stand once."""

    MANY = ""
    FIRST = "first"
    """They are left out, with a warning."""
    ONLY = "only"
    """The message fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A document that fills a segment."""

    document: str
    of: str = ""
    """Source of the element that it stands on; empty: the step's own item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a message document: items, the segment that each gives, and the steps below it."""

    name: str
    each: tuple[str, ...] = ()
    """Sources of the items: the first that finds some. None: the item of the step above, once."""
    belongs: str = ""
    """Path in an item to the reference that says to which item of the step above it belongs."""
    when: str = ""
    documents: tuple[Use, ...] = ()
    once: Once = Once.MANY
    required: bool = False
    always: bool = False
    """Whether the segment is written even when nothing of a resource is in it."""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDocument:
    """From which resources which segments of a message come."""

    name: str
    place: Place
    type: str
    events: Mapping[str, str]
    """Message structure by trigger event."""
    event: tuple[str, ...]
    """Sources of the event; the first that `events` has decides. None: the first event."""
    when: str
    rank: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseTables:
    """All layers together."""

    version: str
    layers: tuple[str, ...]
    messages: Mapping[str, MessageDocument]
    documents: Mapping[str, Document]
    codes: Mapping[str, CodeTable]


__all__ = ["Document", "MessageDocument", "Once", "ReverseTables", "Rule", "Step", "Use"]
