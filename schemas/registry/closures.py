"""Descriptor closures: a message type's file and everything it imports, in one canonical form that its hash names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import zstandard
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from schemas.registry.errors import SchemaError

MAX_RAW_BYTES: Final = 8 << 20
MAX_STORED_BYTES: Final = 512 << 10
"""Fits a NATS message of 1 MiB with everything around it."""
_LEVEL: Final = 19
_MAX_FILES: Final = 2048


@dataclass(frozen=True)
class Closure:
    """A canonical descriptor closure: files before those that import them, without comments."""

    raw: bytes = field(repr=False)

    @cached_property
    def schema(self) -> str:
        """SHA-256 of the canonical bytes, 64 hexadecimal digits."""
        return hashlib.sha256(self.raw).hexdigest()

    @cached_property
    def files(self) -> descriptor_pb2.FileDescriptorSet:
        """The files, those that are imported first."""
        return descriptor_pb2.FileDescriptorSet.FromString(self.raw)

    def stored(self) -> bytes:
        """As it lies in the bucket: compressed. Raises `SchemaError` when it is too large for it."""
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(self.raw)
        if len(packed) > MAX_STORED_BYTES:
            raise SchemaError(
                f"the schema has {len(packed)} bytes compressed; at most {MAX_STORED_BYTES} can be stored"
            )
        return packed

    def message_class(self, message: str) -> type[Message]:
        """A class of its own for a message type. Raises `SchemaError` when the closure does not have it."""
        pool = descriptor_pool.DescriptorPool()
        try:
            for file in self.files.file:
                pool.Add(file)
            return message_factory.GetMessageClass(pool.FindMessageTypeByName(message))
        except (KeyError, TypeError, ValueError):
            raise SchemaError(
                f"schema {self.schema[:16]} has no usable message {message}"
            ) from None


def closure_of(files: descriptor_pb2.FileDescriptorSet, message: str, *others: str) -> Closure:
    """The canonical closure of one or more message types within a set of files. Raises `SchemaError`.

    The set must be complete (`buf build`, `protoc --include_imports`).
    """
    by_name = {one.name: one for one in files.file}
    if len(by_name) > _MAX_FILES:
        raise SchemaError(f"the set has {len(by_name)} files; at most {_MAX_FILES} are read")
    ordered: dict[str, None] = {}
    for wanted in (message, *others):
        _collect(by_name, _home(by_name, wanted), ordered, ())
    canonical = descriptor_pb2.FileDescriptorSet()
    for name in ordered:
        canonical.file.add().CopyFrom(by_name[name])
        canonical.file[-1].ClearField("source_code_info")
    closure = Closure(canonical.SerializeToString(deterministic=True))
    if len(closure.raw) > MAX_RAW_BYTES:
        raise SchemaError(
            f"the schema has {len(closure.raw)} bytes; at most {MAX_RAW_BYTES} are allowed"
        )
    for wanted in (message, *others):
        closure.message_class(wanted)
    return closure


def _home(files: dict[str, descriptor_pb2.FileDescriptorProto], message: str) -> str:
    for one in files.values():
        if message in messages_of(one):
            return one.name
    known = sorted(name for one in files.values() for name in messages_of(one))
    raise SchemaError(
        f"the schema has no message {message!r}; it has {', '.join(known[:10]) or 'none'}"
    )


def _collect(
    files: dict[str, descriptor_pb2.FileDescriptorProto],
    name: str,
    ordered: dict[str, None],
    above: tuple[str, ...],
) -> None:
    if name in ordered:
        return
    if name in above:
        raise SchemaError(f"{name} imports itself")
    if name not in files:
        raise SchemaError(
            f"{name} is imported but not in the set: build it with imports (`buf build -o x.binpb`, "
            "`protoc --include_imports -o x.binpb`)"
        )
    for imported in sorted(files[name].dependency):
        _collect(files, imported, ordered, (*above, name))
    ordered[name] = None


def messages_of(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    """Full names of the top-level message types of a file."""
    prefix = f"{file.package}." if file.package else ""
    return [prefix + one.name for one in file.message_type]


def read_set(raw: bytes) -> descriptor_pb2.FileDescriptorSet:
    """Read a descriptor set as protoc and buf write it. Raises `SchemaError`."""
    if len(raw) > MAX_RAW_BYTES * 4:
        raise SchemaError(f"{len(raw)} bytes are no schema: at most {MAX_RAW_BYTES * 4} are read")
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(raw)
    except DecodeError:
        raise SchemaError("this is no protobuf descriptor set (FileDescriptorSet)") from None
    if not files.file or not all(one.name for one in files.file):
        raise SchemaError("this is no protobuf descriptor set (FileDescriptorSet)")
    return files


def from_stored(packed: bytes, schema: str) -> Closure:
    """What `stored` gave, if it is what its hash names. Raises `SchemaError`."""
    if len(packed) > MAX_STORED_BYTES:
        raise SchemaError(f"the stored schema {schema[:16]} is too large")
    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
            raw = reader.read(MAX_RAW_BYTES + 1)
    except zstandard.ZstdError:
        raise SchemaError(f"the stored schema {schema[:16]} cannot be decompressed") from None
    if len(raw) > MAX_RAW_BYTES or hashlib.sha256(raw).hexdigest() != schema:
        raise SchemaError(f"the stored schema {schema[:16]} is not what its hash names")
    return Closure(raw)


__all__ = [
    "MAX_RAW_BYTES",
    "MAX_STORED_BYTES",
    "Closure",
    "closure_of",
    "from_stored",
    "messages_of",
    "read_set",
]
