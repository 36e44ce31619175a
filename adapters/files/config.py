"""Configuration of the file adapters: each field's description is its manual."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from adapters.contract import AdapterConfig
from adapters.files.names import check_template
from schemas import subjects

MIB = 1024 * 1024


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


SubjectPattern = Annotated[str, AfterValidator(subjects.pattern)]
Token = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]


class WriterConfig(AdapterConfig):
    """`kind = "files.writer"`: each event becomes one file."""

    folder: Path = Field(description="Where the files go; created at the start when it is missing.")
    subscribe: Annotated[tuple[SubjectPattern, ...], BeforeValidator(_one_or_many)] = Field(
        min_length=1, description="Subject pattern or patterns of what is written."
    )
    file_name: Annotated[str, AfterValidator(check_template)] = Field(
        default="{time}-{seq}-{id}",
        description="Name from {time} (when the message came in, UTC), {seq} (its number in the stream) and {id}.",
    )
    extension: str = Field(
        default="",
        pattern=r"^(\.[A-Za-z0-9]{1,10})?$",
        description="Extension of every file, e.g. .hl7; empty: by the type of the event.",
    )
    daily_folders: bool = Field(
        default=False, description="A subfolder for each day (UTC): 2026-11-22/."
    )
    lanes: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Files written at a time. Each costs three fsyncs, so more lanes go faster.",
    )
    deliver_new: bool = Field(
        default=False,
        description="At the very first start: begin with new events instead of the oldest stored.",
    )


class Complete(StrEnum):
    """How the reader knows that a file is whole."""

    RENAMED = "renamed"
    STABLE = "stable"
    MARKER = "marker"


class ReaderConfig(AdapterConfig):
    """`kind = "files.reader"`: each file becomes one event."""

    folder: Path = Field(description="Folder to read; done/ and failed/ are made inside it.")
    pattern: str = Field(default="*", min_length=1, description="Names that are read, e.g. *.hl7.")
    type: str = Field(
        default="application/octet-stream",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.+^_/-]{0,99}$",
        description="Type of the events, e.g. application/pdf or hl7v2.",
    )
    event: Token = Field(
        default="file", description="Events go to evt.<site>.raw.<event>.<partition>."
    )
    complete: Complete = Field(
        default=Complete.STABLE,
        description="When a file is whole. stable: unchanged for stable_s and closed by its writer. "
        "renamed: at once, since writers rename whole files in. marker: when <name>.done stands beside it.",
    )
    stable_s: float = Field(
        default=2.0,
        ge=0,
        le=3600,
        description="How long a file must rest with complete = stable; longer is safer for slow writers.",
    )
    interval_s: float = Field(
        default=1.0, gt=0, le=3600, description="Pause between two looks into the folder."
    )
    max_file_bytes: int = Field(
        default=16 * MIB, ge=1, le=512 * MIB, description="Larger files go to failed/."
    )
    publish_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="A file that is not stored by then stays and is tried again.",
    )


__all__ = ["Complete", "ReaderConfig", "WriterConfig"]
