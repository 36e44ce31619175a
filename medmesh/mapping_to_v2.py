"""What `medmesh map --to hl7v2` does, without its words: read FHIR JSON from files and write messages of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from adapters.hl7v2.mapping import Json, Layer
from adapters.hl7v2.reverse import (
    WriteContext,
    Writer,
    compile_writer,
    default_writer,
    load_reverse_tables,
    read_fhir_json,
)
from adapters.hl7v2.reverse.loading import STANDARD
from medmesh.mapping import layers_of

_MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_CONTROL_ID_DIGITS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenResource:
    """One bundle or resource of a file, or why there is none."""

    file: Path
    number: int
    value: Json = None
    error: str = ""
    control_id: str = ""
    """Made of the bytes: the same resource gives the same."""

    @property
    def name(self) -> str:
        """`order.json`, `orders.ndjson#3`."""
        return f"{self.file}#{self.number}" if self.number > 1 else str(self.file)


def resources_of(file: Path) -> Iterator[TakenResource]:
    """The document of a file, or one for each line. Raises `OSError`."""
    if file.stat().st_size > _MAX_FILE_BYTES:
        yield TakenResource(file=file, number=1, error=f"larger than {_MAX_FILE_BYTES} bytes")
        return
    raw = file.read_bytes()
    whole = _taken(file, 1, raw)
    lines = [line for line in raw.splitlines() if line.strip()]
    if not whole.error or len(lines) < 2 or not lines[0].rstrip().endswith(b"}"):
        yield whole
        return
    for number, line in enumerate(lines, 1):
        yield _taken(file, number, line)


def _taken(file: Path, number: int, raw: bytes) -> TakenResource:
    try:
        value = read_fhir_json(raw.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        return TakenResource(file=file, number=number, error=str(error))
    digest = hashlib.sha256(raw).hexdigest()[:_CONTROL_ID_DIGITS].upper()
    return TakenResource(file=file, number=number, value=value, control_id=digest)


def writer_of(names: Sequence[str]) -> Writer:
    """The standard tables, then the layers named. Raises `TablesError`."""
    if not names:
        return default_writer()
    layers: list[Layer | str] = [STANDARD, *layers_of(names)[1:]]
    return compile_writer(load_reverse_tables(layers))


def context_of(taken: TakenResource, settings: Mapping[str, str], now: datetime) -> WriteContext:
    """The context of one message, its version and charset by setting. Raises `ConfigurationError`."""
    rest = {key: value for key, value in settings.items() if key not in ("version", "charset")}
    return WriteContext(
        time=now,
        control_id=taken.control_id,
        version=settings.get("version", "2.5.1"),
        charset=settings.get("charset", "UNICODE UTF-8"),
        parameters=rest,
    )


__all__ = ["TakenResource", "context_of", "resources_of", "writer_of"]
