"""The descriptors of a release in one file: an index, then one compressed part for each `.proto` file.

Layout: `MAGIC`, the size of the compressed index (4 bytes, big endian), the index (msgpack under zstd), the
parts (zstd). The part of the data types comes first and is the dictionary of the others, which all import it:
reading one resource unpacks two parts, never the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import msgspec
import zstandard

MAGIC: Final = b"MMFHIR1\n"
DATATYPES: Final = "datatypes"
_SIZE_BYTES: Final = 4
_LEVEL: Final = 19


class Part(msgspec.Struct, frozen=True):
    """What is kept of one `.proto` file."""

    descriptor: bytes
    """A serialised `google.protobuf.FileDescriptorProto`."""
    decimals: dict[str, list[int]]
    """Message name to the numbers of its decimals, which a descriptor cannot tell from other strings."""


class _Index(msgspec.Struct, frozen=True):
    resources: dict[str, str]
    """Resource type to the stem of its file."""
    places: dict[str, tuple[int, int]]
    """File stem to the offset of its part behind the index, and its size."""


def pack(parts: Mapping[str, Part], resources: Mapping[str, str]) -> bytes:
    """An archive of these parts (file stem to part) for these resource types (name to file stem)."""
    encode = msgspec.msgpack.encode
    shared = encode(parts[DATATYPES])
    frames = {DATATYPES: zstandard.ZstdCompressor(level=_LEVEL).compress(shared)}
    compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=_dictionary(shared))
    for stem, part in sorted(parts.items()):
        if stem != DATATYPES:
            frames[stem] = compressor.compress(encode(part))
    places = {}
    offset = 0
    for stem, frame in frames.items():
        places[stem] = (offset, len(frame))
        offset += len(frame)
    index = zstandard.ZstdCompressor(level=_LEVEL).compress(
        encode(_Index(dict(sorted(resources.items())), places))
    )
    return b"".join((MAGIC, len(index).to_bytes(_SIZE_BYTES), index, *frames.values()))


class Archive:
    """Reads an archive part by part. Raises `ValueError` when the bytes are none."""

    def __init__(self, raw: bytes) -> None:
        start = len(MAGIC) + _SIZE_BYTES
        if raw[: len(MAGIC)] != MAGIC:
            raise ValueError("no archive of FHIR descriptors")
        self._raw = memoryview(raw)
        self._base = start + int.from_bytes(raw[len(MAGIC) : start])
        index = zstandard.ZstdDecompressor().decompress(raw[start : self._base])
        self._index = msgspec.msgpack.decode(index, type=_Index)

    @property
    def resources(self) -> Mapping[str, str]:
        """Resource type to the stem of its file."""
        return self._index.resources

    def part(self, stem: str) -> Part:
        """One part; `KeyError` when there is no file of that stem."""
        if stem == DATATYPES:
            return msgspec.msgpack.decode(self._shared, type=Part)
        unpacked = self._decompressor.decompress(self._frame(stem))
        return msgspec.msgpack.decode(unpacked, type=Part)

    def stems(self) -> list[str]:
        """The stems of all files."""
        return list(self._index.places)

    def _frame(self, stem: str) -> memoryview:
        offset, size = self._index.places[stem]
        return self._raw[self._base + offset : self._base + offset + size]

    @cached_property
    def _shared(self) -> bytes:
        return zstandard.ZstdDecompressor().decompress(self._frame(DATATYPES))

    @cached_property
    def _decompressor(self) -> zstandard.ZstdDecompressor:
        return zstandard.ZstdDecompressor(dict_data=_dictionary(self._shared))


def _dictionary(shared: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(shared, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


__all__ = ["DATATYPES", "MAGIC", "Archive", "Part", "pack"]
