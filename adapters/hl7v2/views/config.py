"""Configuration of the views: each field's description is its manual."""

from __future__ import annotations

import zoneinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from adapters.contract import AdapterConfig
from adapters.hl7v2.config import Charset, Retry, SubjectPattern, one_or_many


class ViewForm(StrEnum):
    """The form of the bundle that a view carries."""

    MESSAGE = "message"
    TRANSACTION = "transaction"


class TestMessages(StrEnum):
    """What becomes of messages whose MSH-11 says training or debugging."""

    LABEL = "label"
    REJECT = "reject"
    PASS = "pass"  # noqa: S105 - no password


def _zone(name: str) -> str:
    if name:
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise ValueError(
                f"{name!r} is no time zone: write an IANA name such as Europe/Berlin, or leave it empty"
            ) from None
    return name


Zone = Annotated[str, AfterValidator(_zone)]
Patterns = Annotated[tuple[SubjectPattern, ...], BeforeValidator(one_or_many)]


class ToFhirConfig(AdapterConfig):
    """`kind = "hl7v2.to-fhir"`: raw HL7 v2 events get FHIR events beside them."""

    subscribe: Patterns = Field(
        min_length=1,
        description="Subject pattern or patterns of the raw messages, e.g. evt.north.raw.hl7v2.>.",
    )
    form: ViewForm = Field(
        default=ViewForm.TRANSACTION,
        description="transaction: a Bundle as a FHIR server takes it. message: one headed by a MessageHeader.",
    )
    tenant: str = Field(
        default="",
        max_length=64,
        description="Scope of the ids that resources get; empty: the site. Never change it once resources are stored.",
    )
    zone: Zone = Field(
        default="",
        description="Time zone (IANA) of times that carry none; empty: such times lose their time of day.",
    )
    layers: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")], ...] = Field(
        default=(), description="Layers of tables over `std`, of those that medmesh ships."
    )
    tables: Path | None = Field(
        default=None,
        description="Folder with a layer of the site's own, put over the others; looked at again every few seconds.",
    )
    test_messages: TestMessages = Field(
        default=TestMessages.LABEL,
        description="Messages whose MSH-11 is T or D. label: mapped, all labelled HTEST. reject: dead letters. "
        "pass: as if they were real.",
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="Values that the tables ask for by name, e.g. mrn_authority.",
    )
    charset: Charset = Field(
        default="ASCII", description="Charset (HL7 table 0211) of messages whose MSH-18 is empty."
    )
    fallback_charsets: tuple[Charset, ...] = Field(
        default=(),
        description="Tried in order for messages that their own charset does not decode.",
    )
    lanes: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Messages mapped at a time; order holds for each patient.",
    )
    shared: bool = Field(
        default=False,
        description="Share the work with every other process that runs an adapter of this name.",
    )
    retry: Retry = Field(
        default_factory=Retry, description="How messages are tried again when the mesh is away."
    )
    deliver_new: bool = Field(
        default=False,
        description="At the very first start: begin with new messages instead of the oldest stored.",
    )


__all__ = ["TestMessages", "ToFhirConfig", "ViewForm"]
