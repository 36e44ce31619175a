"""Configuration of the DICOM node: each field's description is its manual."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from adapters.contract import AdapterConfig
from adapters.dicom.index.protocol import Policy
from adapters.dicom.pace import Deadlines

_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^:\s\[\]]*):(?P<port>\d{1,5})\Z")
_MAX_PORT: Final = 65_535
GIB: Final = 1 << 30


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `ValueError`."""
    match = _ADDRESS.match(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"{text!r} is no address: write host:port, e.g. 0.0.0.0:11112")
    return match["host"].strip("[]"), int(match["port"])


def _address(text: str) -> str:
    split_address(text)
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Title = Annotated[str, Field(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""An AE title: 1 to 16 printable ASCII characters without a backslash, no space at either end."""


class Service(StrEnum):
    """What a peer may ask of the node."""

    ECHO = "echo"
    STORE = "store"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerTls(_Section):
    """TLS of the listener (PS3.15 annex B: BCP 195 profile)."""

    cert: Path = Field(description="PEM file with the certificate and its chain.")
    key: Path = Field(description="PEM file with the private key.")
    client_ca: Path | None = Field(
        default=None,
        description="PEM file with the authority of the peers: given, a peer must show a certificate (mutual TLS).",
    )
    handshake_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="A peer that has not shaken hands by then is cut."
    )


class PeerConfig(_Section):
    """One application entity that may associate. An AE title proves nothing: name where it stands, too."""

    title: Title = Field(description="The AE title that it calls itself.")
    networks: tuple[Network, ...] = Field(
        default=(), description="Addresses it may come from, e.g. 10.1.2.0/24."
    )
    certificate: str = Field(
        default="",
        description="Common name in its certificate, where the listener asks for one (tls.client_ca).",
    )
    services: frozenset[Service] = Field(
        default=frozenset(Service), description="What it may ask of the node."
    )
    max_associations: int = Field(
        default=8, ge=1, le=1_000, description="Associations it may hold at a time."
    )

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.networks and not self.certificate:
            raise ValueError(
                f"peer {self.title}: give its networks or its certificate; an AE title alone proves nothing"
                ' (networks = ["0.0.0.0/0", "::/0"] lets it come from anywhere)'
            )
        return self


class DicomNodeConfig(AdapterConfig):
    """`dicom.node`: one application entity that receives images and keeps them."""

    listen: Address = Field(description="Where it listens, e.g. 0.0.0.0:11112.")
    title: Title = Field(default="MEDMESH", description="Its AE title.")
    also_titles: tuple[Title, ...] = Field(
        default=(), description="Other AE titles by which it may be called."
    )
    tls: ServerTls | None = Field(default=None, description="Given, every association is in TLS.")
    peer: tuple[PeerConfig, ...] = Field(
        default=(), description="Who may associate; nobody else may."
    )
    max_associations: int = Field(
        default=64, ge=1, le=10_000, description="Associations and connections in all."
    )
    max_object_bytes: int = Field(
        default=4 * GIB, ge=1, description="Largest data set; a larger one is refused (A700H)."
    )
    max_pdu_bytes: int = Field(
        default=131_072, ge=4_096, le=1 << 20, description="Largest P-DATA PDU that is announced."
    )
    window: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Operations that may be outstanding, for peers that negotiate more than one.",
    )
    on_conflict: Policy = Field(
        default=Policy.KEEP_FIRST,
        description="When an instance comes again with other content: keep-first, replace or reject.",
    )
    artim_s: float = Field(
        default=10.0, gt=0, le=300, description="For the whole request of an association."
    )
    idle_timeout_s: float = Field(
        default=600.0, gt=0, description="Between messages of an association."
    )
    message_timeout_s: float = Field(
        default=30.0, gt=0, description="Without a byte inside a message."
    )
    min_bytes_per_s: int = Field(
        default=1_024, ge=0, description="Of a message that has lasted for more than 30 s."
    )

    @model_validator(mode="after")
    def _peers_are_told_apart(self) -> Self:
        titles = [peer.title for peer in self.peer]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"peer {twice[0]} is there more than once")
        named = [peer.title for peer in self.peer if peer.certificate]
        if named and (self.tls is None or self.tls.client_ca is None):
            raise ValueError(f"peer {named[0]} names a certificate: tls.client_ca is needed for it")
        return self

    @property
    def deadlines(self) -> Deadlines:
        """As the associations take them."""
        return Deadlines(
            artim_s=self.artim_s,
            idle_s=self.idle_timeout_s,
            message_idle_s=self.message_timeout_s,
            min_bytes_per_s=self.min_bytes_per_s,
        )


__all__ = ["DicomNodeConfig", "PeerConfig", "ServerTls", "Service", "Title", "split_address"]
