"""Settings that the FHIR adapters share: each field's description is its manual."""

from __future__ import annotations

import difflib
import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from schemas import subjects
from schemas.fhirpath import compile_path
from schemas.fhirpath.types import FHIR_TYPES, is_a
from schemas.subjects import Domain

MIB: Final = 1024 * 1024
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^:\s\[\]]*):(?P<port>\d{1,5})\Z")
_MAX_PORT: Final = 65535
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EVENT_PARTS: Final = 2
_RESOURCES: Final = tuple(
    sorted(
        name
        for name in FHIR_TYPES
        if is_a(name, "Resource") and name not in ("Resource", "DomainResource")
    )
)
"""Of every release that medmesh knows."""


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises `ValueError`."""
    match = _ADDRESS.match(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"{text!r} is no address: write host:port, e.g. 0.0.0.0:8443 or [::]:8443")
    return match["host"].strip("[]"), int(match["port"])


def split_event(text: str) -> tuple[Domain, str]:
    """Domain and name of `result.reported`. Raises `ValueError`."""
    parts = text.split(".")
    if len(parts) != _EVENT_PARTS or parts[0] not in set(Domain):
        raise ValueError(
            f"{text!r} is no event: write <domain>.<name>; domains: {', '.join(Domain)}"
        )
    return Domain(parts[0]), subjects.token(parts[1], what="event")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    return host in _LOOPBACK or host.startswith("127.")


def _address(text: str) -> str:
    split_address(text)
    return text


def _event(text: str) -> str:
    split_event(text)
    return text


def _cidr(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(
            "an address like https://fhir.example/r4 is wanted, without query and fragment"
        )
    if parts.username or parts.password:
        raise ValueError("an address holds no user and no password: use [adapter.auth]")
    return text.rstrip("/")


def _resource(text: str) -> str:
    if text not in _RESOURCES:
        close = difflib.get_close_matches(text, _RESOURCES, n=1, cutoff=0.6)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise ValueError(f"{text!r} is no type of FHIR resource{hint}")
    return text


def _filter(text: str) -> str:
    if text:
        path = compile_path(text)
        if path.variables or path.needs_clock:
            raise ValueError("a filter knows no variables and no present time")
    return text


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
Cidr = Annotated[str, AfterValidator(_cidr)]
EventName = Annotated[str, AfterValidator(_event)]
ResourceName = Annotated[str, AfterValidator(_resource)]
SubjectPattern = Annotated[str, AfterValidator(subjects.pattern)]
SubjectPatterns = Annotated[tuple[SubjectPattern, ...], BeforeValidator(_one_or_many)]
FhirPath = Annotated[str, AfterValidator(_filter)]
WebAddress = Annotated[str, AfterValidator(_web_address)]


class AckLevel(StrEnum):
    """What a positive answer means."""

    STORED = "stored"
    REPLICATED = "replicated"


class Release(StrEnum):
    """The release of FHIR that a system speaks."""

    R4 = "R4"
    R4B = "R4B"
    R5 = "R5"


class ValidationMode(StrEnum):
    """How much is validated."""

    OFF = "off"
    SAMPLE = "sample"
    ON = "on"


class Section(BaseModel):
    """A table inside an adapter's section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Validation(Section):
    """Validation by `fhir.resources`, in processes of its own; bodies stay as they are."""

    mode: ValidationMode = Field(
        default=ValidationMode.OFF,
        description="off. sample: a share is validated beside the flow, findings are counted, nothing is refused or "
        "delayed. on: everything is validated first, and what fails is refused.",
    )
    sample: float = Field(
        default=0.01, gt=0, le=1, description="Share that mode = sample looks at."
    )
    release: Release = Field(
        default=Release.R4,
        description="Models that are used. R4 takes those of R4B, and leaves out resources that differ between them.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Processes that validate; each takes about 100 MB. Started when the first resource comes.",
    )
    timeout_s: float = Field(
        default=20.0,
        gt=0,
        description="A validation that takes longer is ended; its process is replaced.",
    )


class Bundles(StrEnum):
    """What a notification with resources becomes."""

    ENTRIES = "entries"
    WHOLE = "whole"


__all__ = [
    "MIB",
    "AckLevel",
    "Address",
    "Bundles",
    "Cidr",
    "EventName",
    "FhirPath",
    "Release",
    "ResourceName",
    "Section",
    "SubjectPattern",
    "SubjectPatterns",
    "Validation",
    "ValidationMode",
    "WebAddress",
    "is_loopback",
    "split_address",
    "split_event",
]
