"""Configuration of the store: each field's description is its manual."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from adapters.contract import AdapterConfig
from adapters.fhir.peers import Retry, Secret
from adapters.fhir.settings import MIB, Release, ResourceName, Section, SubjectPattern, Validation
from adapters.fhir.store.checking import resource_types
from adapters.fhir.store.limits import Limits
from schemas.fhir.release import Release as FhirRelease


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _keywords(text: str) -> str:
    if "://" in text:
        raise ValueError("write keywords (host=db dbname=fhir), no URL")
    return text


Patterns = Annotated[tuple[SubjectPattern, ...], BeforeValidator(_one_or_many)]


class Postgres(Section):
    """A PostgreSQL database instead of a file: `[adapter.postgres]`. Needs the extra `postgres`."""

    conninfo: Annotated[str, AfterValidator(_keywords)] = Field(
        default="",
        description="libpq's keywords without a password, e.g. host=db dbname=fhir sslmode=verify-full; "
        "what it leaves out comes from the PG* environment.",
    )
    password: Secret | None = Field(default=None, description="Where the password lies.")
    connections: int = Field(default=8, ge=2, le=100, description="Connections at a time.")


class StoreLimits(Section):
    """What one interaction may ask for: `[adapter.limits]`."""

    body_bytes: int = Field(
        default=16 * MIB, ge=1024, le=512 * MIB, description="Longest body that is taken."
    )
    count: int = Field(
        default=50, ge=1, le=10_000, description="Entries of a page where _count says nothing."
    )
    max_count: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="Most entries of a page; a larger _count is cut to it.",
    )
    max_includes: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="Most resources that a page includes beside its matches.",
    )
    max_entries: int = Field(
        default=1000, ge=1, le=100_000, description="Most entries of a transaction."
    )
    query_timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="A search that takes longer is ended."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.count > self.max_count:
            raise ValueError("count must not be larger than max_count")
        return self

    def bounds(self) -> Limits:
        """As the store uses them."""
        return Limits(
            body_bytes=self.body_bytes,
            usual_count=self.count,
            max_count=self.max_count,
            max_includes=self.max_includes,
            max_entries=self.max_entries,
        )


class StoreConfig(AdapterConfig):
    """`kind = "fhir.store"`: owns FHIR resources and answers the gateway's FHIR interface."""

    release: Release = Field(
        default=Release.R4,
        description="The release of FHIR that it holds; another release needs a store of its own. Never change it.",
    )
    types: tuple[ResourceName, ...] = Field(
        default=(),
        description="Types of resource that it owns; empty: all. A service that names a type goes before.",
    )
    subscribe: Patterns = Field(
        default=(),
        description="Subject pattern or patterns of FHIR events that are applied: resources, and transactions as "
        "hl7v2.to-fhir makes them. Its own events are passed over.",
    )
    file: Path | None = Field(
        default=None,
        description="SQLite file; empty: store.db in the adapter's folder. Patient data: the disk must be encrypted.",
    )
    readers: int = Field(default=4, ge=1, le=64, description="Searches at a time in a SQLite file.")
    postgres: Postgres | None = Field(default=None, description="PostgreSQL instead of a file.")
    validation: Validation = Field(
        default_factory=Validation,
        description="Validation by fhir.resources, beyond the structure that is always judged.",
    )
    limits: StoreLimits = Field(
        default_factory=StoreLimits, description="What one interaction may ask for."
    )
    lanes: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Events applied at a time; order holds for each patient.",
    )
    shared: bool = Field(
        default=False,
        description="Share the events with every process that runs an adapter of this name: with PostgreSQL only.",
    )
    retry: Retry = Field(
        default_factory=Retry, description="How events are tried again when the database is away."
    )
    deliver_new: bool = Field(
        default=False,
        description="At the very first start: begin with new events instead of the oldest stored.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.file is not None and self.postgres is not None:
            raise ValueError("file and postgres exclude each other")
        if self.shared and self.postgres is None:
            raise ValueError("shared needs postgres: a file belongs to one process")
        unknown = set(self.types) - resource_types(FhirRelease(self.release.value))
        if unknown:
            raise ValueError(
                f"types: FHIR {self.release.value} has no {', '.join(sorted(unknown))}"
            )
        return self

    @property
    def owned(self) -> frozenset[str]:
        """The types that it owns."""
        return frozenset(self.types) or resource_types(FhirRelease(self.release.value))


__all__ = ["Postgres", "StoreConfig", "StoreLimits"]
