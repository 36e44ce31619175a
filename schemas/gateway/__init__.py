"""`[gateway]` of mesh.toml: one module a table, so that each part of the gateway keeps its own keys."""

from schemas.gateway.section import GatewaySection

__all__ = ["GatewaySection"]
