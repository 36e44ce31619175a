"""The public sample messages, each as it lies in its file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from adapters.hl7v2.codec.batch import MessageFound, split_messages
from tests.shared_data import shared_path


def files() -> list[Path]:
    """Every shared file that holds v2."""
    found = sorted(shared_path("data/hl7v2").rglob("*"))
    return [path for path in found if path.suffix in (".hl7", ".txt")]


@lru_cache(maxsize=1)
def messages() -> list[bytes]:
    """Every message of every file."""
    return [
        event.raw
        for path in files()
        for event in split_messages([path.read_bytes()])
        if isinstance(event, MessageFound)
    ]
