"""`[gateway.hl7v2]`: HL7 v2 messages over HTTP."""

from __future__ import annotations

from pydantic import Field

from schemas.section import Section


class GatewayHl7v2Section(Section):
    """`[gateway.hl7v2]`: how `POST /v1/hl7v2` takes messages."""

    event: str = Field(
        default="hl7v2",
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="Messages go to evt.<site>.raw.<event>.<partition>; a client needs the right to publish there.",
    )
    charset: str = Field(
        default="ASCII",
        description="Charset (HL7 table 0211) of messages whose MSH-18 is empty.",
    )
    processing_ids: tuple[str, ...] = Field(
        default=("P", "T", "D"),
        description="Accepted MSH-11.1; others are rejected (AR). Empty MSH-11 passes.",
    )


__all__ = ["GatewayHl7v2Section"]
