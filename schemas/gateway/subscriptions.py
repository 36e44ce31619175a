"""`[gateway.subscriptions]`: FHIR Subscriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from schemas.section import Section

_TYPES: Final = (
    "Patient", "Encounter", "Observation", "DiagnosticReport", "ServiceRequest", "Condition", "AllergyIntolerance",
    "Appointment", "MedicationRequest", "Immunization", "Procedure", "DocumentReference", "Task",
)  # fmt: skip


class SubscriptionsSection(Section):
    """`[gateway.subscriptions]`: without it Subscriptions are resources like others, and nobody is notified."""

    types: tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,63}$")], ...] = Field(
        default=_TYPES,
        min_length=1,
        description="Types of resource whose changes can be subscribed to. The topic of each is "
        "urn:medmesh:topic:resource-change:<Type>.",
    )
    topics: Path | None = Field(
        default=None,
        description="Folder of further topics, one SubscriptionTopic (R5, JSON) a file; the same for every gateway.",
    )
    endpoints: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")], ...] = (
        Field(
            default=(),
            description="Addresses to which notifications may be posted, and whatever is below them, e.g. "
            "https://ehr.example/fhir/. None by default. Only http:// allows what is not encrypted.",
        )
    )
    allow_local: bool = Field(
        default=False,
        description="Whether endpoints may be on this machine or at link-local addresses: for tests and side-cars.",
    )
    authority: Path | None = Field(
        default=None,
        description="PEM file with the authorities for the endpoints' certificates; empty: those of the system.",
    )
    max_subscriptions: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Subscriptions of a site; further ones are refused.",
    )
    max_sockets: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="WebSockets of one gateway; further ones are closed.",
    )
    max_events: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="Most events of one notification, whatever maxCount asks for, and of one answer of $events.",
    )
    keep_events: int = Field(
        default=100_000,
        ge=128,
        le=10_000_000,
        description="Events of a subscription that are kept, sent or not; older ones are dropped and counted.",
    )
    timeout_s: float = Field(
        default=10.0,
        gt=0.0,
        le=300.0,
        description="Seconds for a notification to be answered, and the most that `timeout` may ask.",
    )
    error_after: int = Field(
        default=3, ge=1, le=1000, description="Failures in a row after which the status is `error`."
    )
    longest_delay_s: float = Field(
        default=60.0,
        ge=0.1,
        le=3600.0,
        description="Longest pause between tries while a subscriber is away.",
    )
    lease_s: float = Field(
        default=6.0,
        ge=1.0,
        le=300.0,
        description="Seconds after which another gateway takes over from one that says nothing.",
    )
    token_lifetime_s: float = Field(
        default=60.0,
        ge=1.0,
        le=3600.0,
        description="Seconds within which a token for a WebSocket must be used.",
    )


__all__ = ["SubscriptionsSection"]
