"""Where descriptors come from: ourselves, files of the configuration, the schema registry. Followed while it runs.

From the registry come the closures that running services name for their own gRPC services (metadata `grpc.schema`, a
hash each), and those of protobuf bindings. What a hash names is verified against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from google.protobuf import descriptor_pb2

from adapters.contract import OpenRecords
from bus.catalogue import Catalogue, DescriptorStore
from bus.catalogue.buckets import SCHEMAS
from bus.telemetry.counters import Counters
from bus.telemetry.log import logger
from gateway.grpc.descriptors import DescriptorIndex, DescriptorSet, descriptor_set
from gateway.grpc.foreign import own_files
from schemas.errors import ConfigurationError, MeshError
from schemas.generated.medmesh.gateway.v1 import mesh_pb2
from schemas.registry.closures import read_set
from schemas.registry.errors import SchemaError
from schemas.registry.models import Kind

OWN: Final = 0
FILES: Final = 1
ANNOUNCED: Final = 2
BOUND: Final = 3
_LOOK_S: Final = 2.0
_log = logger(__name__)


class DescriptorSources:
    """Fills an index; `start`, `look`, `stop`."""

    def __init__(
        self,
        index: DescriptorIndex,
        *,
        files: tuple[Path, ...],
        announced: Callable[[], Mapping[str, frozenset[str]]],
        catalogue: Catalogue | None,
        records: OpenRecords,
        counters: Counters,
    ) -> None:
        self._index = index
        self._files = files
        self._announced = announced
        self._catalogue = catalogue
        self._records = records
        self._counters = counters
        self._store: DescriptorStore | None = None
        self._failed: set[str] = set()
        self._described: dict[str, tuple[str, ...]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the files, look once, and go on looking. Raises `ConfigurationError` for a file that cannot be used."""
        self._index.put("medmesh", descriptor_set(_own()), rank=OWN)
        for path in self._files:
            found = await asyncio.to_thread(_read_file, path)
            self._index.put(str(path), found, rank=FILES)
        await self.look()
        self._task = asyncio.create_task(self._run(), name="grpc-descriptors")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 -- the task's outermost edge: what is known holds, it looks again
                self._counters.add("grpc_descriptors_failed", reason=type(error).__name__)
                _log.error("grpc_descriptors_failed", error_type=type(error).__name__)

    async def look(self) -> None:
        """Take in what is named now and not known yet, forget what is named no more."""
        announced = self._announced()
        for schema, services in announced.items():
            names = tuple(sorted(services))
            if self._described.get(schema) != names:
                found = await self._fetch(schema)
                if found is not None:
                    self._put(schema, found.limited(names), rank=ANNOUNCED)
                    self._described[schema] = names
        bound = self._bound()
        for schema in bound - self._index.origins(BOUND):
            found = await self._fetch(schema)
            if found is not None:
                self._put(schema, found, rank=BOUND)
        self._index.keep_only(BOUND, bound)
        self._forget(announced)
        self._failed &= bound | announced.keys()

    def _forget(self, announced: Mapping[str, frozenset[str]]) -> None:
        """Forget closures that were replaced; services that are away for a moment keep their description."""
        described = {name for schema in announced for name in self._described.get(schema, ())}
        for schema in self._described.keys() - announced.keys():
            if described.issuperset(self._described[schema]):
                del self._described[schema]
        self._index.keep_only(ANNOUNCED, self._described)

    def _bound(self) -> frozenset[str]:
        if self._catalogue is None:
            return frozenset()
        revisions = (one.revision.binding for one in self._catalogue.bindings())
        return frozenset(one.schema for one in revisions if one.kind is Kind.PROTOBUF)

    async def _fetch(self, schema: str) -> DescriptorSet | None:
        try:
            if self._store is None:
                self._store = DescriptorStore(await self._records(SCHEMAS))
            closure = await self._store.get(schema)
            return await asyncio.to_thread(descriptor_set, closure.files.file)
        except MeshError as error:
            self._not_had(schema, error.code)
            return None

    def _put(self, origin: str, found: DescriptorSet, *, rank: int) -> None:
        try:
            self._index.put(origin, found, rank=rank)
        except SchemaError as error:
            self._not_had(origin, error.code)

    def _not_had(self, schema: str, reason: str) -> None:
        self._counters.add("grpc_descriptor_missing", reason=reason)
        if schema not in self._failed:  # it is asked for again and again; told once
            self._failed.add(schema)
            _log.warning("grpc_descriptor_missing", reason=reason, where=schema[:16])

    async def stop(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _own() -> list[descriptor_pb2.FileDescriptorProto]:
    ours = descriptor_pb2.FileDescriptorProto()
    mesh_pb2.DESCRIPTOR.CopyToProto(ours)
    return [ours, *own_files()]


def _read_file(path: Path) -> DescriptorSet:
    try:
        return descriptor_set(read_set(path.read_bytes()).file)
    except (OSError, SchemaError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"gateway.grpc.descriptors: {path}: {words}") from None


__all__ = ["ANNOUNCED", "BOUND", "FILES", "OWN", "DescriptorSources"]
