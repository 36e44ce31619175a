"""`[gateway.console]`: the operators' console at `/console`."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from schemas.section import Section
from schemas.subjects import pattern


class ConsoleSection(Section):
    """`[gateway.console]`: without it there is no console. Who may use it: `operate` of `[[gateway.client]]`."""

    contents: tuple[str, ...] = Field(
        default=(),
        description="Events whose contents the console may open, masked unless somebody unmasks them, e.g. "
        '["evt.north.>"]; none by default. '
        "What was stored before was not sealed for the gateway and stays closed.",
    )
    refresh_s: float = Field(
        default=1.0,
        ge=0.25,
        le=60.0,
        description="Seconds between two looks at the mesh, shared by everybody who watches.",
    )
    idle_s: float = Field(
        default=1800.0,
        ge=60.0,
        le=86_400.0,
        description="Seconds after which an operator who does nothing is signed out.",
    )
    session_s: float = Field(
        default=28_800.0,
        ge=60.0,
        le=86_400.0,
        description="Seconds after which everybody signs in again, however busy.",
    )
    alert_after_s: float = Field(
        default=10.0,
        ge=0.0,
        le=3600.0,
        description="Seconds that trouble must last before it is an alert, and be over before the alert clears: "
        "what flutters is one alert.",
    )
    stalled_after_s: float = Field(
        default=120.0,
        ge=1.0,
        le=86_400.0,
        description="A consumer whose events wait and that has finished none for so many seconds is stalled.",
    )
    oldest_s: float = Field(
        default=600.0,
        ge=1.0,
        le=604_800.0,
        description="Age in seconds of what waits longest at a consumer above which it is an alert.",
    )

    @field_validator("contents")
    @classmethod
    def _event_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for one in patterns:
            if not pattern(one).startswith("evt."):
                raise ValueError(f"{one!r} is no pattern of events: evt.<site>.<domain>.<event>.*")
        return patterns

    @model_validator(mode="after")
    def _in_order(self) -> ConsoleSection:
        if self.idle_s > self.session_s:
            raise ValueError("idle_s is longer than session_s: nobody could be idle for so long")
        return self


__all__ = ["ConsoleSection"]
