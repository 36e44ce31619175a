"""The tables of a running view: shipped layers, the site's folder, the site's shelf; replaced whole when they change.

Tables that do not load never replace tables that do: the old ones go on, and health says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from adapters.hl7v2.mapping import Layer
from adapters.hl7v2.views.shelf import LayerRefused, Shelf, Shelved
from bus.telemetry.log import logger
from bus.transport.protocol import Subscription
from schemas.errors import MeshError

_log: Final = logger("hl7v2.views")
LOOK_S: Final = 5.0
"""How often the folder is looked at."""


class Compiled(Protocol):
    """What tables become: a mapper to FHIR, a writer of messages."""

    @property
    def version(self) -> str:
        """Hash of the tables."""
        ...


T = TypeVar("T", bound=Compiled)


class LiveTables(Generic[T]):
    """Compiles and recompiles; `start`, `stop`. `compiled` is the newest that loaded."""

    def __init__(
        self,
        name: str,
        *,
        ground: tuple[str, ...],
        compiles: Callable[[tuple[Layer | str, ...]], T],
        folder: Path | None,
        shelf: Shelf,
        count: Callable[[str, str], None],
    ) -> None:
        self._name = name
        self._ground = ground
        self._compiles = compiles
        self._folder = folder
        self._shelf = shelf
        self._count = count
        self._compiled: T | None = None
        self._shelved: Mapping[str, bytes] = {}
        self._refusal = ""
        self._built: tuple[Layer, ...] | None = None
        self._failed: tuple[Layer, ...] | None = None
        self._changed = asyncio.Event()
        self._watch: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""
        """Why the newest tables are not in use; empty when they are."""

    @property
    def compiled(self) -> T:
        """The newest that loaded. Only after `start`."""
        if self._compiled is None:
            raise RuntimeError("the tables were not started")
        return self._compiled

    async def start(self) -> None:
        """Load and compile. Raises `ConfigurationError` when the shipped or the site's folder do not load."""
        try:
            self._take(await self._shelf.read(self._name))
        except LookupError:
            pass
        except LayerRefused as refused:
            self._take(refused)
        self._watch = await self._shelf.follow(self._name, self._take)
        try:
            await self._build()
        except MeshError as error:
            if not self._shelved:
                raise
            self._tell(error)  # a bad layer on the shelf must not keep a whole site from starting
            await self._build(without_shelf=True)
        self._task = asyncio.create_task(self._follow(), name=f"tables-{self._name}")

    async def stop(self) -> None:
        """End following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._watch is not None:
            await self._watch.close()
            self._watch = None

    def _take(self, layer: Shelved | LayerRefused | None) -> None:
        if isinstance(layer, LayerRefused):
            self._refusal = str(layer)
        else:
            self._refusal = ""
            self._shelved = layer.files if layer else {}
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                if self._folder is None:
                    continue
            self._changed.clear()
            try:
                await self._build()
            except MeshError as error:
                self._tell(error)

    async def _build(self, *, without_shelf: bool = False) -> None:
        shelved = {} if without_shelf else self._shelved
        wanted = await asyncio.to_thread(self._layers_over, shelved)
        if wanted == self._built:
            self.trouble = self._refusal
            return
        if wanted == self._failed:
            return
        try:
            compiled = await asyncio.to_thread(self._compiles, (*self._ground, *wanted))
        except MeshError:
            self._failed = wanted
            raise
        self._count("tables_loaded", "")
        _log.info("tables_loaded", unit=self._name, version=compiled.version[:12])
        self._compiled, self._built = compiled, wanted
        if not without_shelf:
            self.trouble = self._refusal

    def _layers_over(self, shelved: Mapping[str, bytes]) -> tuple[Layer, ...]:
        """What the site puts over the shipped layers, as it is now."""
        found = [Layer.directory(self._folder, name="site")] if self._folder else []
        if shelved:
            found.append(Layer(name="link", files=shelved))
        return tuple(found)

    def _tell(self, error: MeshError) -> None:
        if self.trouble != str(error):
            self._count("tables_refused", error.code)
            _log.warning("tables_refused", unit=self._name, code=error.code, detail=str(error))
        self.trouble = str(error)


__all__ = ["Compiled", "LiveTables"]
