"""Descriptor closures in their bucket: written once under their own hash, verified against it when they are read."""

from __future__ import annotations

from typing import Final

from bus.catalogue.buckets import answered
from bus.transport.protocol import KeyValue, NotFound, WrongRevision
from schemas.registry.closures import Closure, from_stored
from schemas.registry.errors import SchemaError
from schemas.registry.patterns import schema_key

_PREFIX: Final = "sha256."
MIN_PREFIX: Final = 8
"""The fewest digits by which a schema can be asked for."""


class DescriptorStore:
    """Reads and writes closures; what was read once is kept."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._known: dict[str, Closure] = {}

    async def put(self, closure: Closure) -> bool:
        """Store a closure; False when it is there already. Raises `SchemaError` when its place holds something else."""
        key = schema_key(closure.schema)
        try:
            await answered(self._bucket.swap(key, closure.stored(), revision=0))
        except WrongRevision:
            await self._read(closure.schema)
            return False
        self._known[closure.schema] = closure
        return True

    async def get(self, schema: str) -> Closure:
        """The closure of a hash. Raises `NotFound`, `SchemaError` when it is not what its hash names."""
        return self._known.get(schema) or await self._read(schema)

    async def _read(self, schema: str) -> Closure:
        entry = await answered(self._bucket.get(schema_key(schema)))
        closure = self._known[schema] = from_stored(entry.value or b"", schema)
        return closure

    async def schemas(self) -> list[str]:
        """The hashes of everything stored."""
        keys = await answered(self._bucket.keys())
        return [key.removeprefix(_PREFIX) for key in keys if key.startswith(_PREFIX)]

    async def find(self, prefix: str) -> str:
        """The one hash that begins so. Raises `NotFound`, `SchemaError` when several do."""
        wanted = prefix.removeprefix(_PREFIX)
        if len(wanted) < MIN_PREFIX:
            raise SchemaError(
                f"{wanted!r} is too short for a schema: give {MIN_PREFIX} digits or more"
            )
        found = [one for one in await self.schemas() if one.startswith(wanted)]
        if not found:
            raise NotFound(f"the registry has no schema {wanted}")
        if len(found) > 1:
            raise SchemaError(f"{len(found)} schemas begin with {wanted}: give more digits")
        return found[0]


__all__ = ["MIN_PREFIX", "DescriptorStore"]
