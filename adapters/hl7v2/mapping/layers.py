"""Layers of tables: where their files come from, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from adapters.hl7v2.mapping.errors import TablesError, nearest

FOLDERS: Final = ("messages", "segments", "datatypes", "codes")
_ENDINGS: Final = {"messages": ".yaml", "segments": ".yaml", "datatypes": ".yaml", "codes": ".csv"}
MAX_FILES: Final = 4_096
MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its name and its files, by a name such as `segments/pid.yaml`."""

    name: str
    files: Mapping[str, bytes]

    @classmethod
    def package(cls, name: str) -> Layer:
        """A layer that ships with medmesh: `std`. Raises `TablesError` for one that does not exist."""
        maps = files("adapters.hl7v2").joinpath("maps")
        known = [one.name for one in maps.iterdir() if one.is_dir()] if maps.is_dir() else []
        if name not in known:
            raise TablesError(f"no layer {name!r} ships with medmesh{nearest(name, known)}")
        return cls(name=name, files=dict(_walk(maps.joinpath(name))))

    @classmethod
    def directory(cls, path: Path | str, name: str = "") -> Layer:
        """A layer from a folder; its name is the folder's unless one is given. Raises `TablesError`."""
        folder = Path(path)
        if not folder.is_dir():
            raise TablesError(f"{folder}: no folder of mapping tables is there")
        return cls(name=name or folder.name, files=dict(_walk(folder)))

    def check(self) -> None:
        """Refuse what is too large or not named as tables are. Raises `TablesError`."""
        size = sum(map(len, self.files.values()))
        if len(self.files) > MAX_FILES or size > MAX_BYTES:
            raise TablesError(
                f"{self.name}: {len(self.files)} files of {size} bytes; "
                f"{MAX_FILES} files and {MAX_BYTES} bytes are allowed"
            )
        for file in self.files:
            folder, _, rest = file.partition("/")
            if folder not in FOLDERS:
                raise TablesError(
                    f"{self.name}/{file}: a file lies in one of {', '.join(FOLDERS)}"
                    f"{nearest(folder, FOLDERS)}"
                )
            if not rest.endswith(_ENDINGS[folder]):
                raise TablesError(f"{self.name}/{file}: ends with {_ENDINGS[folder]!r} in {folder}")


def _walk(folder: Traversable) -> Iterator[tuple[str, bytes]]:
    for name in FOLDERS:
        inner = folder.joinpath(name)
        if not inner.is_dir():
            continue
        for file in sorted(inner.iterdir(), key=lambda one: one.name):
            if file.is_file() and file.name.endswith(_ENDINGS[name]):
                yield f"{name}/{file.name}", file.read_bytes()


def fingerprint(layers: Sequence[Layer]) -> str:
    """A hash over all names and bytes, in order: the version of the tables."""
    digest = hashlib.sha256()
    for layer in layers:
        digest.update(f"{len(layer.name)}:{layer.name}".encode())
        for file in sorted(layer.files):
            raw = layer.files[file]
            digest.update(f"{len(file)}:{file}{len(raw)}:".encode())
            digest.update(raw)
    return digest.hexdigest()[:32]


__all__ = ["FOLDERS", "Layer", "fingerprint"]
