"""What is known of gRPC services: descriptor sets from files, the registry and ourselves. Pure; no I/O.

Sets stay apart from each other, as they came: two of them may hold different files of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from google.protobuf import descriptor_pb2 as pb
from google.protobuf import descriptor_pool

from schemas.registry.errors import SchemaError

MAX_SETS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a method is called."""

    is_client_streaming: bool = False
    is_server_streaming: bool = False
    is_idempotent: bool = False
    """By its option `idempotency_level`: a call whose answer is lost may be tried again."""

    @property
    def is_unary(self) -> bool:
        """One message in, one out."""
        return not (self.is_client_streaming or self.is_server_streaming)


@dataclass(frozen=True, slots=True)
class DescriptorSet:
    """One set, checked and looked through."""

    files: dict[str, pb.FileDescriptorProto] = field(repr=False)
    symbols: dict[str, str] = field(repr=False)
    """Full name of a service, method, message, enum or extension, to its file."""
    shapes: dict[str, Shape] = field(repr=False)
    """Path to shape."""
    services: tuple[str, ...]

    def limited(self, services: Iterable[str]) -> DescriptorSet:
        """The set, as far as it describes these services: whoever describes another one's is not asked."""
        wanted = frozenset(services)
        shapes = {path: one for path, one in self.shapes.items() if path.split("/")[1] in wanted}
        named = tuple(name for name in self.services if name in wanted)
        return DescriptorSet(self.files, self.symbols, shapes, named)

    def with_imports(self, name: str) -> list[bytes]:
        """A file and all that it imports, itself first."""
        ordered: dict[str, None] = {}
        waiting = [name]
        while waiting:
            one = waiting.pop(0)
            if one not in ordered:
                ordered[one] = None
                waiting += self.files[one].dependency
        return [self.files[one].SerializeToString() for one in ordered]


def descriptor_set(files: Iterable[pb.FileDescriptorProto]) -> DescriptorSet:
    """Check a complete set, imported files first or not. Raises `SchemaError`."""
    by_name = {one.name: one for one in files}
    pool = descriptor_pool.DescriptorPool()
    loaded: set[str] = set()
    try:
        for name in by_name:
            _load(pool, by_name, name, loaded)
        for name in by_name:
            pool.FindFileByName(name)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise SchemaError(
            "the descriptor set is not complete or not consistent: build it with imports "
            "(`buf build -o x.binpb`, `protoc --include_imports -o x.binpb`)"
        ) from None
    symbols = {symbol: one.name for one in by_name.values() for symbol in _symbols(one)}
    shapes = dict(shape for one in by_name.values() for shape in _shapes(one))
    services = tuple(sorted({path.split("/")[1] for path in shapes}))
    return DescriptorSet(by_name, symbols, shapes, services)


def _load(
    pool: descriptor_pool.DescriptorPool,
    files: dict[str, pb.FileDescriptorProto],
    name: str,
    loaded: set[str],
) -> None:
    if name in loaded:
        return
    loaded.add(name)
    for imported in files[name].dependency:
        _load(pool, files, imported, loaded)
    pool.Add(files[name])


def _shapes(file: pb.FileDescriptorProto) -> Iterator[tuple[str, Shape]]:
    prefix = f"{file.package}." if file.package else ""
    for service in file.service:
        for method in service.method:
            level = method.options.idempotency_level
            yield (
                f"/{prefix}{service.name}/{method.name}",
                Shape(
                    is_client_streaming=method.client_streaming,
                    is_server_streaming=method.server_streaming,
                    is_idempotent=level
                    in (pb.MethodOptions.NO_SIDE_EFFECTS, pb.MethodOptions.IDEMPOTENT),
                ),
            )


def _symbols(file: pb.FileDescriptorProto) -> Iterator[str]:
    prefix = f"{file.package}." if file.package else ""
    for service in file.service:
        yield prefix + service.name
        yield from (f"{prefix}{service.name}.{method.name}" for method in service.method)
    yield from (prefix + enum.name for enum in file.enum_type)
    yield from (prefix + extension.name for extension in file.extension)
    for message in file.message_type:
        yield from _in_message(prefix, message)


def _in_message(prefix: str, message: pb.DescriptorProto) -> Iterator[str]:
    name = prefix + message.name
    yield name
    yield from (f"{name}.{enum.name}" for enum in message.enum_type)
    yield from (f"{name}.{extension.name}" for extension in message.extension)
    for nested in message.nested_type:
        yield from _in_message(f"{name}.", nested)


class DescriptorIndex:
    """Sets by their origin; where two know the same name the one of the lower rank holds."""

    def __init__(self) -> None:
        self._sets: dict[tuple[int, str], DescriptorSet] = {}
        self._shapes: dict[str, Shape] = {}
        self._services: dict[str, DescriptorSet] = {}

    def put(self, origin: str, found: DescriptorSet, *, rank: int) -> None:
        """Take a set in; lower ranks come first. Raises `SchemaError` above `MAX_SETS`."""
        if len(self._sets) >= MAX_SETS and (rank, origin) not in self._sets:
            raise SchemaError(f"more than {MAX_SETS} descriptor sets")
        self._sets[rank, origin] = found
        self._index()

    def keep_only(self, rank: int, origins: Iterable[str]) -> None:
        """Forget the sets of a rank whose origin is not among these."""
        wanted = set(origins)
        gone = [key for key in self._sets if key[0] == rank and key[1] not in wanted]
        for key in gone:
            del self._sets[key]
        if gone:
            self._index()

    def origins(self, rank: int) -> frozenset[str]:
        """What is known of a rank."""
        return frozenset(origin for one, origin in self._sets if one == rank)

    def _index(self) -> None:
        self._shapes.clear()
        self._services.clear()
        for key in sorted(self._sets, reverse=True):
            found = self._sets[key]
            self._services.update(dict.fromkeys(found.services, found))
        for found in self._services.values():
            for path, shape in found.shapes.items():
                if self._services[path.split("/")[1]] is found:
                    self._shapes[path] = shape

    def shape(self, path: str) -> Shape | None:
        """How a method is called, where that is known."""
        return self._shapes.get(path)

    def is_described(self, service: str) -> bool:
        """Whether a service's descriptor is known."""
        return service in self._services

    def services(self) -> tuple[str, ...]:
        """Every described service."""
        return tuple(sorted(self._services))

    def symbol(self, name: str) -> list[bytes]:
        """The file that declares a name, with all it imports; empty where none does."""
        for found in self._ordered():
            if name in found.symbols:
                return found.with_imports(found.symbols[name])
        return []

    def file(self, name: str) -> list[bytes]:
        """A file by its name, with all it imports; empty where none is called so."""
        for found in self._ordered():
            if name in found.files:
                return found.with_imports(name)
        return []

    def _ordered(self) -> Iterator[DescriptorSet]:
        return (self._sets[key] for key in sorted(self._sets))


__all__ = ["MAX_SETS", "DescriptorIndex", "DescriptorSet", "Shape", "descriptor_set"]
