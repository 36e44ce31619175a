"""The parts of the gateway, in the order in which they start. Each states what it needs; none knows another."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.http.v1 import API
from gateway.oauth import ACCESS
from gateway.part import PartKind
from gateway.streams import STREAMS
from schemas.gateway import GatewaySection


def kinds_for(section: GatewaySection) -> Sequence[PartKind]:
    """The parts that a configuration asks for. What it does not ask for is not imported: some are large."""
    found: list[PartKind] = [API, STREAMS, ACCESS]
    if section.fhir is not None:
        from gateway.fhir.part import FHIR  # noqa: PLC0415

        found.append(FHIR)
    if section.subscriptions is not None:
        from gateway.subscriptions.part import SUBSCRIPTIONS  # noqa: PLC0415

        found.append(SUBSCRIPTIONS)
    if section.grpc is not None:
        from gateway.grpc.part import GRPC  # noqa: PLC0415

        found.append(GRPC)
    if section.console is not None:
        from gateway.console.kind import CONSOLE  # noqa: PLC0415

        found.append(CONSOLE)
    return [kind for kind in found if kind.is_wanted(section)]


__all__ = ["kinds_for"]
