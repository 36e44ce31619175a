"""medmesh: the message mesh of a hospital group.

`from medmesh import Mesh` is the public API; names are imported when they are first used, which keeps the command line
quick. Errors all descend from `MeshError`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medmesh.facade import Mesh
    from medmesh.subscription import MeshEvent, Subscription
    from schemas.errors import (
        Closed,
        ConfigurationError,
        DeadlineExceeded,
        MeshError,
        PermissionRefused,
        ResourceExhausted,
        Unavailable,
    )

_PUBLIC = {
    "Mesh": "medmesh.facade",
    "MeshEvent": "medmesh.subscription",
    "Subscription": "medmesh.subscription",
    "Closed": "schemas.errors",
    "ConfigurationError": "schemas.errors",
    "DeadlineExceeded": "schemas.errors",
    "MeshError": "schemas.errors",
    "PermissionRefused": "schemas.errors",
    "ResourceExhausted": "schemas.errors",
    "Unavailable": "schemas.errors",
}


def _refuse_shadows() -> None:
    """A file of the user's called `schemas.py` would be imported in place of ours: say so instead of failing oddly."""
    house = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs --help 3 ms
    for package in ("schemas", "bus", "adapters"):
        loaded = sys.modules.get(package)
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(package)
        found = spec.origin if spec is not None else None
        if found is not None and not os.path.abspath(found).startswith(house + os.sep):  # noqa: PTH100 - as above
            raise ImportError(
                f"{found} shadows medmesh's own package {package!r}: rename that file or folder, "
                "or keep it out of the folder that Python starts in (sys.path)"
            )


_refuse_shadows()


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'medmesh' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Closed",
    "ConfigurationError",
    "DeadlineExceeded",
    "Mesh",
    "MeshError",
    "MeshEvent",
    "PermissionRefused",
    "ResourceExhausted",
    "Subscription",
    "Unavailable",
]
