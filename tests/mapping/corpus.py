"""Every message of the shared data, one by one, out of batches too."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from adapters.hl7v2.codec import MessageFound, split_messages
from tests.shared_data import shared_path

FOLDER: Final = "data/hl7v2"
_SUFFIXES: Final = frozenset({".hl7", ".txt"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One message as its file holds it. `name` is the file within the folder and the message's number in it."""

    name: str
    raw: bytes


def samples() -> list[Sample]:
    """All messages, in a fixed order."""
    return list(_samples())


@lru_cache(maxsize=1)
def _samples() -> tuple[Sample, ...]:
    folder = shared_path(FOLDER)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    return tuple(sample for path in files for sample in _messages(folder, path))


def some(count: int, seed: int) -> list[Sample]:
    """A sample of the messages by seed; all of them with MEDMESH_FULL=1."""
    found = samples()
    if os.environ.get("MEDMESH_FULL") == "1" or count >= len(found):
        return found
    return random.Random(seed).sample(found, count)


def _messages(folder: Path, path: Path) -> Iterator[Sample]:
    raw = path.read_bytes()
    if b"MSH|" not in raw and b"MSH^" not in raw:
        return
    name = path.relative_to(folder).as_posix()
    for event in split_messages([raw]):
        if isinstance(event, MessageFound):
            yield Sample(f"{name}#{event.index}", event.raw)


__all__ = ["FOLDER", "Sample", "samples", "some"]
