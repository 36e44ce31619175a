"""Kinds of adapters, found by the entry point group `medmesh.adapters`; only those that are used are imported."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from adapters.contract import AdapterConfig, AdapterKind
from schemas.errors import ConfigurationError

GROUP = "medmesh.adapters"


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def known_kinds() -> list[str]:
    """Names of all installed kinds, sorted."""
    return sorted(_installed())


def load_kind(name: str) -> AdapterKind[AdapterConfig]:
    """Import one installed kind. Raises `ConfigurationError` when its package cannot be imported."""
    point = _installed()[name]
    try:
        kind = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f'the kind "{name}" is installed as {point.value}, but cannot be imported: {error}'
        ) from error
    if not isinstance(kind, AdapterKind):
        raise ConfigurationError(
            f'the entry point of the kind "{name}" ({point.value}) is no AdapterKind'
        )
    return cast("AdapterKind[AdapterConfig]", kind)


__all__ = ["GROUP", "known_kinds", "load_kind"]
