"""What `medmesh map` does, without its words: read messages from files, map them, compare and count."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final, cast

from adapters.hl7v2.codec import Hl7Error, Message, MessageFound, MessageRefused, split_messages
from adapters.hl7v2.mapping import Json, Layer, Mapped, Tables, TablesError, to_json

_CHUNK_BYTES: Final = 1024 * 1024
_EXECUTABLE: Final = frozenset({"implemented", "unsupported", "left out"})
"""States of official rows that a machine could carry out; `narrative` is for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One message of a file, or why there is none."""

    file: Path
    number: int
    """Its place in the file, from 1."""
    message: Message | None
    error: str = ""

    @property
    def name(self) -> str:
        """`adt.hl7`, `batch.hl7#3`."""
        return f"{self.file}#{self.number}" if self.number > 1 else str(self.file)


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those in folders named, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(
                one for one in path.rglob("*") if one.is_file() and not one.name.startswith(".")
            )
        else:
            yield path


def messages_of(
    file: Path,
    *,
    charset: str | None,
    fallback: Sequence[str],
    has_read: Callable[[int], None] = lambda count: None,
) -> Iterator[Taken]:
    """Each message of a file, a batch, or many behind each other; `has_read` is told how many bytes were read.

    Raises `OSError`.
    """
    number = 0
    try:
        for event in split_messages(_chunks(file, has_read)):
            if not isinstance(event, MessageFound | MessageRefused):
                continue
            number += 1
            if isinstance(event, MessageRefused):
                yield Taken(file=file, number=number, message=None, error=str(event.error))
                continue
            try:
                message = Message.parse(event.raw, charset=charset, fallback=fallback)
            except Hl7Error as error:
                yield Taken(file=file, number=number, message=None, error=str(error))
            else:
                yield Taken(file=file, number=number, message=message)
    except Hl7Error as error:
        yield Taken(file=file, number=number + 1, message=None, error=str(error))
        return
    if not number:
        yield Taken(file=file, number=1, message=None, error="no HL7 v2 message: no MSH was found")


def _chunks(file: Path, has_read: Callable[[int], None]) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
            has_read(len(chunk))


def layers_of(names: Sequence[str]) -> tuple[Layer | str, ...]:
    """`std`, then the layers named: folders, or those that ship with medmesh. Raises `TablesError`."""
    found: list[Layer | str] = ["std"]
    for name in names:
        folder = Path(name)
        is_folder = folder.is_dir() or "/" in name
        found.append(folder_layer(folder, name=folder.resolve().name) if is_folder else name)
    return tuple(found)


def folder_layer(folder: Path, *, name: str, may_be_empty: bool = False) -> Layer:
    """The layer in a folder, where every file counts: one that tables cannot be, or none at all, is refused.

    A table in a wrong place, or named `.yml`, would otherwise be passed over without a word. Raises `TablesError`.
    """
    try:
        layer = Layer.directory(folder, name=name)
        others = [one for one in _others(folder) if one not in layer.files]
    except OSError as error:
        raise TablesError(f"{error.filename or folder}: {error.strerror}") from None
    if others:
        raise TablesError(
            f"{folder}/{others[0]}: is no table: messages/*.yaml, segments/*.yaml, datatypes/*.yaml and codes/*.csv are"
        )
    if not layer.files and not may_be_empty:
        raise TablesError(f"{folder}: holds no tables")
    return layer


def _others(folder: Path) -> Iterator[str]:
    """What lies in the folder by its path there; hidden files, pages of text and broken links are people's own."""
    for one in sorted(folder.rglob("*")):
        path = one.relative_to(folder)
        is_own = any(part.startswith(".") for part in path.parts) or one.suffix in (".md", ".txt")
        if one.is_file() and not is_own:
            yield path.as_posix()


def pointers(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every leaf of a document with its path, such as `entry[0].resource.name[0].family`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from pointers(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from pointers(inner, f"{path}[{i}]")
    else:
        yield path, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that differs between two versions of the tables."""

    where: str
    """Resource type, its place among those of its type, and the path: `Patient[0].gender`."""
    before: str
    after: str


def changes(before: Mapped, after: Mapped) -> list[Change]:
    """What an edit of the tables changes for one message; empty texts stand for what is not there."""
    old, new = _leaves(before), _leaves(after)
    return [
        Change(where=where, before=old.get(where, ""), after=new.get(where, ""))
        for where in sorted(old.keys() | new.keys())
        if old.get(where) != new.get(where)
    ]


def _leaves(mapped: Mapped) -> dict[str, str]:
    counts: Counter[str] = Counter()
    found: dict[str, str] = {}
    for resource in mapped.resources:
        kind = str(resource.get("resourceType"))
        for path, value in pointers(cast("Json", resource)):
            found[f"{kind}[{counts[kind]}].{path}"] = to_json(value).decode()
        counts[kind] += 1
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Official rows and what the tables do with them."""

    implemented: int
    executable: int
    states: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[tuple[str, str, str], ...] = ()
    """Table, row and reason of what a machine could do and the tables do not."""

    @property
    def share(self) -> float:
        """Implemented rows of the executable ones, 0 to 1."""
        return self.implemented / self.executable if self.executable else 0.0


def coverage(tables: Tables) -> Coverage:
    """Count the official rows that rules name, against those that the list of the others says could be carried out."""
    named = {
        row
        for documents in (tables.segments, tables.datatypes)
        for document in documents.values()
        for rule in document.rules.values()
        for row in rule.ig
    }
    done = set(named)
    states: Counter[str] = Counter()
    missing: list[tuple[str, str, str]] = []
    for document, row, state, reason in _listed():
        if f"{document}/{row}" in named:
            continue
        if state == "implemented" and "[" not in document:
            done.add(f"{document}/{row}")  # message documents have no `ig`: the list alone knows
            continue
        is_gone = state == "implemented"
        states["unsupported" if is_gone else state] += 1
        if state in _EXECUTABLE:
            missing.append((document, row, "no rule names it any more" if is_gone else reason))
    states["implemented"] = len(done)
    executable = sum(count for state, count in states.items() if state in _EXECUTABLE)
    return Coverage(
        implemented=len(done), executable=executable, states=dict(states), missing=tuple(missing)
    )


def _listed() -> Iterator[tuple[str, str, str, str]]:
    listed = files("adapters.hl7v2").joinpath("maps/std/coverage.csv")
    if not listed.is_file():
        return
    for row in csv.DictReader(listed.read_text(encoding="utf-8").splitlines()):
        yield row["document"], row["row"], row["state"], row["reason"]


__all__ = [
    "Change",
    "Coverage",
    "Taken",
    "changes",
    "coverage",
    "files_of",
    "folder_layer",
    "layers_of",
    "messages_of",
    "pointers",
]
