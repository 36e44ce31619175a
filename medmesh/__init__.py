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
    from bus.flow.priority import Priority
    from bus.services.callers.settings import Hedge
    from bus.services.declare import endpoint, service
    from bus.services.protocol import (
        CallContext,
        CallFailed,
        CallRefused,
        InvalidRequest,
        NoInstance,
        NotFoundThere,
        Overloaded,
    )
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
    from schemas.registry.errors import SchemaRefused

_PUBLIC = {
    "Mesh": "medmesh.facade",
    "service": "bus.services.declare",
    "endpoint": "bus.services.declare",
    "CallContext": "bus.services.protocol",
    "CallFailed": "bus.services.protocol",
    "CallRefused": "bus.services.protocol",
    "InvalidRequest": "bus.services.protocol",
    "NotFoundThere": "bus.services.protocol",
    "NoInstance": "bus.services.protocol",
    "Overloaded": "bus.services.protocol",
    "Priority": "bus.flow.priority",
    "Hedge": "bus.services.callers.settings",
    "MeshEvent": "medmesh.subscription",
    "Subscription": "medmesh.subscription",
    "Closed": "schemas.errors",
    "ConfigurationError": "schemas.errors",
    "DeadlineExceeded": "schemas.errors",
    "MeshError": "schemas.errors",
    "PermissionRefused": "schemas.errors",
    "ResourceExhausted": "schemas.errors",
    "SchemaRefused": "schemas.registry.errors",
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
    "CallContext",
    "CallFailed",
    "CallRefused",
    "Closed",
    "ConfigurationError",
    "DeadlineExceeded",
    "Hedge",
    "InvalidRequest",
    "Mesh",
    "MeshError",
    "MeshEvent",
    "NoInstance",
    "NotFoundThere",
    "Overloaded",
    "PermissionRefused",
    "Priority",
    "ResourceExhausted",
    "SchemaRefused",
    "Subscription",
    "Unavailable",
    "endpoint",
    "service",
]
