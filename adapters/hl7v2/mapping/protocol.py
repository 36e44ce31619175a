"""The faces of the mapping: what a mapper takes and gives, whichever tables it was compiled from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import Enum
from typing import Protocol, TypeAlias

from adapters.hl7v2.codec import Message

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Resource: TypeAlias = dict[str, Json]
"""A FHIR resource or bundle as plain JSON values. Decimals are `Decimal`-free text wrapped as the writer expects."""


class Output(Enum):
    """The shape of what is given out."""

    MESSAGE = "message"
    """A Bundle of type message, MessageHeader first (the guide's own form)."""
    TRANSACTION = "transaction"
    """A Bundle of type transaction, ready for a FHIR server: conditional creates, updates and references."""
    BARE = "bare"
    """The resources one by one, references by `Type/id`."""


class Severity(Enum):
    """How much an issue matters."""

    ERROR = "error"
    """A part of the message could not be mapped although a rule is meant for it."""
    WARNING = "warning"
    """Mapped, but something was assumed, or a code has no row in its table."""
    INFORMATION = "information"
    """Valued in the message, and no rule is meant for it."""


class IssueCode(Enum):
    """What an issue is about. The values are stable: metrics and dead letters carry them."""

    UNMAPPED_FIELD = "unmapped_field"
    UNMAPPED_CODE = "unmapped_code"
    BAD_VALUE = "bad_value"
    NO_ZONE = "no_zone"
    STRUCTURE = "structure"
    UNKNOWN_SEGMENT = "unknown_segment"
    MISSING = "missing"
    CHARSET = "charset"
    NO_IDENTIFIER = "no_identifier"
    AMBIGUOUS = "ambiguous"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing that an integration engineer should know. Never holds a value of the message."""

    severity: Severity
    code: IssueCode
    where: str
    """An address in the message such as `PID-3[2].4`, or in the source resource such as `Patient.name[0]`."""
    rule: str = ""
    table: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one output value comes from."""

    path: str
    """`Patient.name[0].family` within the resource."""
    rule: str
    layer: str
    source: str
    """Address in the message with the segment's occurrence, such as `PID-5.1.1` or `OBX[3]-5`; empty for a constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapContext:
    """What a mapping depends on besides the message and the tables. The same context gives the same output."""

    tenant: str
    """Scope of the stable ids: two sites never share an id."""
    output: Output = Output.MESSAGE
    zone: tzinfo | None = None
    """Zone of times that carry none; None leaves out the time of day of such values and says so (`NO_ZONE`)."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Settings of the link that rules may read by name (`mrn_authority`, `default_system`, …)."""
    explain: bool = False
    """Whether origins are recorded: slower, for `map explain`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What became of one message."""

    resources: tuple[Resource, ...]
    bundle: Resource | None
    """None with `Output.BARE`."""
    issues: tuple[Issue, ...]
    origins: Mapping[str, Sequence[Origin]] = field(default_factory=dict)
    """By the resource's id; empty unless the context asked for it."""
    structure: str = ""
    """The message structure by which it was read, such as `ADT_A01`."""
    tables: str = ""
    """Version (hash) of the tables that mapped it."""

    @property
    def failed(self) -> bool:
        """Whether nothing useful came out: the message belongs among the dead letters."""
        return not self.resources


class Mapper(Protocol):
    """Compiled tables, ready to map."""

    @property
    def version(self) -> str:
        """Hash of the tables, as the events that come of it name it."""
        ...

    def map(self, message: Message, context: MapContext) -> Mapped:
        """Map one message as far as it goes. Never raises on content: what cannot be mapped is an issue."""
        ...


__all__ = [
    "Issue",
    "IssueCode",
    "Json",
    "MapContext",
    "Mapped",
    "Mapper",
    "Origin",
    "Output",
    "Resource",
    "Severity",
]
