"""The console as the composition root knows it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from adapters.contract import Rights
from gateway.access.protocol import Access
from gateway.console.mesh.contents import MeshContents
from gateway.console.mesh.figures import MeshFigures
from gateway.console.mesh.finder import StreamFinder
from gateway.console.part import ConsolePart
from gateway.console.sources import Sources
from gateway.contract import GatewayRuntime
from gateway.part import PartKind
from schemas.errors import ConfigurationError
from schemas.gateway import GatewaySection
from schemas.gateway.console import ConsoleSection
from schemas.subjects import SiteId


def rights(section: GatewaySection, site: SiteId) -> Rights:
    """To open what the configuration lets the console open; the rights of operators come with its clients."""
    own = section.console or ConsoleSection()
    return Rights(subscribe=own.contents)


def build(section: GatewaySection, runtime: GatewayRuntime, access: Access) -> ConsolePart:
    """The console of a gateway on a real mesh. Raises `ConfigurationError` for a runtime that shows nothing."""
    operations = runtime.operations
    if operations is None:
        raise ConfigurationError("this gateway has no sight of the mesh for its console")
    own = section.console or ConsoleSection()
    transport, site = operations.transport, runtime.site
    contents = MeshContents(transport.store, site, operations.inspector, own.contents)
    figures = MeshFigures(transport, site, operations.adapters)
    sources = Sources(
        figures=figures,
        letters=operations.letters,
        finder=StreamFinder(
            transport, site, contents, operations.letters, site_key=runtime.site_key
        ),
        contents=contents,
    )
    return ConsolePart(section, runtime, access, sources, version=_version())


def _version() -> str:
    try:
        return version("medmesh")
    except PackageNotFoundError:
        return ""


CONSOLE: Final = PartKind(
    name="console",
    is_wanted=lambda section: section.console is not None,
    rights=rights,
    build=build,
)

__all__ = ["CONSOLE", "build", "rights"]
