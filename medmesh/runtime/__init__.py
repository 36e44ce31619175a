"""Composition: from a configuration to a running site."""

from medmesh.runtime.events import ReportEvent, RuntimeEvent
from medmesh.runtime.site import MeshRuntime

__all__ = ["MeshRuntime", "ReportEvent", "RuntimeEvent"]
