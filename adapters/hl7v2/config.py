"""Configuration of the HL7 v2 adapters: each field's description is its manual."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from adapters.contract import AdapterConfig
from adapters.hl7v2.codec.charset import link_charset
from adapters.hl7v2.codec.filter import compile_filter
from bus.events.protocol import RetryPolicy
from schemas import subjects

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^:\s\[\]]*):(?P<port>\d{1,5})\Z")
_MAX_PORT = 65535
MIB = 1024 * 1024


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `ValueError`."""
    match = _ADDRESS.match(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"{text!r} is no address: write host:port, e.g. 0.0.0.0:2575 or [::]:2575")
    return match["host"].strip("[]"), int(match["port"])


def _address(text: str) -> str:
    split_address(text)
    return text


def _cidr(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


def _charset(name: str) -> str:
    link_charset(name)
    return name


def _filter(text: str) -> str:
    if text:
        compile_filter(text)
    return text


def one_or_many(value: object) -> object:
    """A single text where several are allowed stands for one."""
    return (value,) if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
Charset = Annotated[str, AfterValidator(_charset)]
Cidr = Annotated[str, AfterValidator(_cidr)]
SubjectPattern = Annotated[str, AfterValidator(subjects.pattern)]
Token = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]


class AckLevel(StrEnum):
    """What a positive acknowledgement means."""

    STORED = "stored"
    REPLICATED = "replicated"
    DELIVERED = "delivered"
    APPLIED = "applied"

    @property
    def needs_receipts(self) -> bool:
        """Whether the answer waits for the destinations."""
        return self in (AckLevel.DELIVERED, AckLevel.APPLIED)


class Expects(StrEnum):
    """Which acknowledgement ends the exchange with a receiver."""

    ORIGINAL = "original"
    ENHANCED = "enhanced"


class OnReject(StrEnum):
    """What an AR or CR of a receiver leads to."""

    RETRY = "retry"
    DEAD_LETTER = "dead-letter"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerTls(_Section):
    """TLS of a listener."""

    cert: Path = Field(description="PEM file with the certificate and its chain.")
    key: Path = Field(description="PEM file with the private key.")
    client_ca: Path | None = Field(
        default=None,
        description="PEM file with the authority of the senders: given, a sender must show a certificate (mutual TLS).",
    )
    handshake_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="A peer that has not shaken hands by then is cut."
    )


class ClientTls(_Section):
    """TLS to a receiver."""

    ca: Path | None = Field(
        default=None,
        description="PEM file with the authority of the receiver; without it the system's.",
    )
    cert: Path | None = Field(default=None, description="Own certificate, for mutual TLS.")
    key: Path | None = Field(default=None, description="Own private key, for mutual TLS.")
    server_name: str | None = Field(
        default=None,
        description="Name that the receiver's certificate must carry; default: the host connected to.",
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both for mutual TLS, or neither")
        return self


class MllpServerConfig(AdapterConfig):
    """`kind = "hl7v2.mllp-server"`: systems send their messages here."""

    listen: Address = Field(
        description="Address to listen on, e.g. 0.0.0.0:2575; port 0 asks the system for one."
    )
    ack: AckLevel = Field(
        default=AckLevel.STORED,
        description="What a positive acknowledgement means. stored: fsynced by the mesh. replicated: by two servers. "
        "delivered: each of receipts_from has it. applied: each of receipts_from answered AA.",
    )
    receipts_from: tuple[Token, ...] = Field(
        default=(), description="Adapters whose answers delivered and applied wait for."
    )
    event: Token = Field(
        default="hl7v2", description="Events go to evt.<site>.raw.<event>.<partition>."
    )
    tls: ServerTls | None = Field(
        default=None, description="TLS; without it the listener is plain TCP."
    )
    allow: tuple[Cidr, ...] = Field(
        default=(), description="Networks that may connect, e.g. 10.1.0.0/16; empty: every one."
    )
    max_connections: int = Field(
        default=4096, ge=1, le=65536, description="Connections at a time; more are closed at once."
    )
    max_connections_per_peer: int = Field(
        default=1024,
        ge=1,
        le=65536,
        description="Connections of one address; an engine may open many.",
    )
    max_message_bytes: int = Field(
        default=7 * MIB,
        ge=1024,
        le=512 * MIB,
        description="Larger messages are rejected (AR). Bounds memory together with max_connections. An event has "
        "7.5 MiB at most, less where the server's max_payload is below 8 MiB.",
    )
    messages_per_second: float = Field(
        default=0.0,
        ge=0,
        description="Messages of one address each second; faster senders wait, 0 is no limit.",
    )
    idle_timeout_s: float = Field(
        default=3600.0, gt=0, description="A connection without a byte for so long is closed."
    )
    frame_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="A message must be complete so long after its first byte: ends slow drips, and "
        "peers that speak another protocol.",
    )
    publish_timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="AE when the mesh has not stored the message by then. Keep it below the sender's own.",
    )
    ack_timeout_s: float = Field(
        default=30.0, gt=0, description="AE when delivered or applied does not hold by then."
    )
    charset: Charset = Field(
        default="ASCII", description="Charset (HL7 table 0211) of messages whose MSH-18 is empty."
    )
    processing_ids: tuple[str, ...] = Field(
        default=("P", "T", "D"),
        description="Accepted MSH-11.1; others are rejected (AR). Empty MSH-11 passes.",
    )
    always_answer: bool = Field(
        default=True,
        description="Answer also where MSH-15 and MSH-16 ask for none: MLLP senders wait for one all the same, and "
        "silence would hide a refusal. false follows HL7 table 0155 to the letter.",
    )
    end_block_cr_optional: bool = Field(
        default=False,
        description="Take frames that end with 0x1C alone, for senders that leave out the CR.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ack.needs_receipts and not self.receipts_from:
            raise ValueError(
                f'ack = "{self.ack.value}" needs receipts_from: the names of the adapters whose answer it waits for'
            )
        if self.receipts_from and not self.ack.needs_receipts:
            raise ValueError(
                f'receipts_from is used by ack = "delivered" and "applied" only; ack is "{self.ack.value}"'
            )
        return self


class Retry(_Section):
    """How a message that the receiver refuses is tried again."""

    max_attempts: int = Field(
        default=8,
        ge=0,
        description="Refusals before a message becomes a dead letter; 0 never gives up and holds its lane.",
    )
    first_delay_s: float = Field(
        default=0.5, gt=0, description="Pause before the second attempt; it doubles."
    )
    longest_delay_s: float = Field(
        default=30.0,
        gt=0,
        description="Longest pause, also between looks for a receiver that is away.",
    )

    def policy(self) -> RetryPolicy:
        """Return the bus's own value."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            first_delay_s=self.first_delay_s,
            longest_delay_s=self.longest_delay_s,
        )


class MllpClientConfig(AdapterConfig):
    """`kind = "hl7v2.mllp-client"`: a system gets its messages from here."""

    connect: Address = Field(description="Address of the receiver, e.g. his.example:2575.")
    subscribe: Annotated[tuple[SubjectPattern, ...], BeforeValidator(one_or_many)] = Field(
        min_length=1, description="Subject pattern or patterns of what this system gets."
    )
    filter: Annotated[str, AfterValidator(_filter)] = Field(
        default="", description="Which of them, e.g. MSH-9.1 in ('ADT', 'ORM'); empty: all."
    )
    charset: Charset | None = Field(
        default=None, description="Charset that the filter reads messages in whose MSH-18 is empty."
    )
    lanes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="1: strictly in order over one connection. N: N connections; order holds for each patient.",
    )
    expects: Expects = Field(
        default=Expects.ORIGINAL,
        description="original: the first positive answer (AA or CA) ends the exchange. "
        "enhanced: a CA is followed by an application acknowledgement where MSH-16 asks for one.",
    )
    on_reject: OnReject = Field(
        default=OnReject.RETRY,
        description="After AR or CR: try again as after AE, or make a dead letter at once.",
    )
    retry: Retry = Field(
        default_factory=Retry, description="How messages that the receiver refuses are tried again."
    )
    tls: ClientTls | None = Field(
        default=None, description="TLS; without it the connection is plain TCP."
    )
    connect_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="A receiver that does not accept by then is away; TLS included.",
    )
    ack_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Without an answer by then the connection is closed and the message sent again on a new one.",
    )
    reopen_after_idle_s: float = Field(
        default=600.0,
        gt=0,
        description="A connection unused for longer is replaced: firewalls forget such quietly.",
    )
    max_answer_bytes: int = Field(
        default=MIB, ge=1024, description="Longest acknowledgement that is read."
    )
    deliver_new: bool = Field(
        default=False,
        description="At the very first start: begin with new messages instead of the oldest stored.",
    )


__all__ = [
    "AckLevel",
    "Charset",
    "ClientTls",
    "Expects",
    "MllpClientConfig",
    "MllpServerConfig",
    "OnReject",
    "Retry",
    "ServerTls",
    "SubjectPattern",
    "one_or_many",
    "split_address",
]
