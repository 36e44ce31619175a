"""Configuration of the views: each field's description is its manual."""

from __future__ import annotations

import zoneinfo
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from adapters.contract import AdapterConfig
from adapters.hl7v2.codec.charset import Structure, charset_named
from adapters.hl7v2.config import Charset, Retry, SubjectPattern, one_or_many
from adapters.hl7v2.reverse.protocol import VERSIONS


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


def _version(name: str) -> str:
    if name not in VERSIONS:
        raise ValueError(f"{name!r} is not written; one of {', '.join(VERSIONS)}")
    return name


def _writable(name: str) -> str:
    found = charset_named(name)
    if found is None or found.structure is not Structure.ASCII_SAFE:
        raise ValueError(
            f"{name!r} cannot be written; UNICODE UTF-8, ASCII or one of 8859/1 to 8859/15 can"
        )
    return name


def _shipped(name: str) -> str:
    maps = files("adapters.hl7v2").joinpath("maps")
    if not maps.joinpath(name).is_dir():
        known = ", ".join(sorted(one.name for one in maps.iterdir() if one.is_dir()))
        raise ValueError(f"no layer {name!r} ships with medmesh; there are: {known}")
    return name


ShippedLayer = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$"), AfterValidator(_shipped)]
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
    layers: tuple[ShippedLayer, ...] = Field(
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


class OrderMessage(StrEnum):
    """The message that orders go out as."""

    OML = "OML"
    ORM = "ORM"


def _whole_hd(name: str) -> str:
    if name.count("^") > 2 or any(one in name for one in "|~\\&\r\n"):
        raise ValueError(
            f"{name!r}: a name such as LAB, or LAB^1.2.840.1^ISO (name, id, type of the id), is expected"
        )
    return name


Hd = Annotated[str, Field(max_length=180), AfterValidator(_whole_hd)]


class FromFhirConfig(AdapterConfig):
    """`kind = "hl7v2.from-fhir"`: FHIR events get HL7 v2 messages beside them, for `hl7v2.mllp-client` to deliver."""

    subscribe: Patterns = Field(
        min_length=1,
        description="Subject pattern or patterns of the FHIR events, e.g. evt.north.order.>. Not those that "
        "hl7v2.to-fhir makes of this very system's messages: they would go round in a circle.",
    )
    event: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")] = Field(
        default="hl7v2-out",
        description="Messages go to evt.<site>.raw.<event>.<partition>; the client subscribes to that.",
    )
    sending_application: Hd = Field(
        default="",
        description="MSH-3 (name, or name^id^type); empty: what the MessageHeader says.",
    )
    sending_facility: Hd = Field(default="", description="MSH-4, likewise.")
    receiving_application: Hd = Field(default="", description="MSH-5, likewise.")
    receiving_facility: Hd = Field(default="", description="MSH-6, likewise.")
    processing_id: Annotated[str, Field(pattern=r"^[PTD]?$")] = Field(
        default="", description="MSH-11: P, T or D; empty: what the MessageHeader says, else P."
    )
    version: Annotated[str, AfterValidator(_version)] = Field(
        default="2.5.1",
        description="HL7 version of the messages, 2.3 to 2.8.2; fields that it lacks are not written.",
    )
    charset: Annotated[Charset, AfterValidator(_writable)] = Field(
        default="UNICODE UTF-8",
        description="Charset (HL7 table 0211). A message with a character that it lacks is a dead letter.",
    )
    order_message: OrderMessage = Field(
        default=OrderMessage.OML, description="OML: orders go out as OML^O21. ORM: as ORM^O01."
    )
    adt_event: Annotated[str, Field(pattern=r"^(A\d\d)?$")] = Field(
        default="",
        description="Trigger event where no MessageHeader names one, e.g. A08; empty: such events are dead letters.",
    )
    layers: tuple[ShippedLayer, ...] = Field(
        default=(), description="Layers of tables over `to-v2`, of those that medmesh ships."
    )
    tables: Path | None = Field(
        default=None,
        description="Folder with a layer of the site's own, put over the others; looked at again every few seconds.",
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description="Further values that the tables ask for by name, e.g. order_control.",
    )
    lanes: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Events written at a time; order holds for each patient.",
    )
    shared: bool = Field(
        default=False,
        description="Share the work with every other process that runs an adapter of this name.",
    )
    retry: Retry = Field(
        default_factory=Retry, description="How events are tried again when the mesh is away."
    )
    deliver_new: bool = Field(
        default=False,
        description="At the very first start: begin with new events instead of the oldest stored.",
    )

    def settings(self) -> dict[str, str]:
        """What the tables may ask for by name: the parameters, and the settings that have a key of their own."""
        own = {
            "sending_application": self.sending_application,
            "sending_facility": self.sending_facility,
            "receiving_application": self.receiving_application,
            "receiving_facility": self.receiving_facility,
            "processing_id": self.processing_id,
            "order_message": self.order_message.value,
            "adt_event": self.adt_event,
        }
        return {**self.parameters, **{name: value for name, value in own.items() if value}}


__all__ = ["FromFhirConfig", "OrderMessage", "TestMessages", "ToFhirConfig", "ViewForm"]
