"""gRPC as the composition root knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.contract import Rights
from gateway.access.protocol import Access
from gateway.contract import GatewayRuntime
from gateway.grpc.server import GrpcServer
from gateway.part import PartKind
from schemas.gateway import GatewaySection
from schemas.subjects import SiteId


def _rights(section: GatewaySection, site: SiteId) -> Rights:
    """Nothing beyond the rights of the clients: what they may call, publish and read is all that is bridged."""
    return Rights()


def _build(section: GatewaySection, runtime: GatewayRuntime, access: Access) -> GrpcServer:
    return GrpcServer(section, runtime, access)


def _addresses(section: GatewaySection) -> Sequence[str]:
    return () if section.grpc is None else (section.grpc.listen,)


GRPC: Final = PartKind(
    name="grpc",
    is_wanted=lambda section: section.grpc is not None,
    rights=_rights,
    build=_build,
    addresses=_addresses,
)

__all__ = ["GRPC"]
