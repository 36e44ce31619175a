"""What a writer of HL7 v2 messages takes and gives, whichever tables it was compiled from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from adapters.hl7v2.codec.charset import Structure, charset_named
from adapters.hl7v2.mapping.protocol import Issue
from schemas.errors import ConfigurationError

VERSIONS: Final = (
    "2.3",
    "2.3.1",
    "2.4",
    "2.5",
    "2.5.1",
    "2.6",
    "2.7",
    "2.7.1",
    "2.8",
    "2.8.1",
    "2.8.2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteContext:
    """What a message depends on besides the resources and the tables. The same context gives the same bytes."""

    time: datetime
    """MSH-7, with a zone: when the source event was taken, not when it is mapped."""
    control_id: str
    """MSH-10, at most 20 characters by the standard."""
    version: str = "2.5.1"
    charset: str = "UNICODE UTF-8"
    """By its name in HL7 table 0211; one in which delimiters only ever mean delimiters."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Settings of the link that rules may read by name (`receiving_application`, `order_message`, …)."""

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for what no message can be written with."""
        if self.version not in VERSIONS:
            raise ConfigurationError(
                f"HL7 v2 version {self.version!r} is not written; one of {', '.join(VERSIONS)}"
            )
        charset = charset_named(self.charset)
        if charset is None or charset.structure is not Structure.ASCII_SAFE:
            raise ConfigurationError(
                f"no message can be written in the charset {self.charset!r}; "
                "UNICODE UTF-8, ASCII or one of 8859/1 to 8859/15 can"
            )
        if self.time.utcoffset() is None:
            raise ConfigurationError("the time of a message needs a zone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one bundle or resource."""

    message: bytes | None = field(repr=False)
    """The HL7 v2 message; None when it could not be written whole in what is required."""
    message_type: str
    """MSH-9, such as `ORU^R01^ORU_R01`; empty when no message document fits."""
    issues: tuple[Issue, ...]
    tables: str
    """Version (hash) of the tables."""

    @property
    def failed(self) -> bool:
        """Whether there is no message: the resources belong among the dead letters."""
        return self.message is None


__all__ = ["VERSIONS", "WriteContext", "Written"]
